"""Choice of the device and of the precision of networks, and waits for the device."""

import functools
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError

logger = logging.getLogger(__name__)

# Units of x86 processors that multiply bfloat16 numbers, by their names in /proc/cpuinfo.
BFLOAT16_UNITS = frozenset({"avx512_bf16", "amx_bf16"})
PROCESSORS = Path("/proc/cpuinfo")
# The first generation of cards that multiplies bfloat16 numbers, as a compute capability.
BFLOAT16_CARDS = (8, 0)
# What the library of products on cards must be told before its sums have one order.
PRODUCTS_IN_ORDER = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# Files that NVIDIA's driver makes, on Linux and under Windows' subsystem for it.
DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))


def choose_device(name: str = "auto", number: int = 0) -> torch.device:
    """The device to compute on; a CUDA device always has its index.

    Args:
        name: ``auto`` takes a CUDA device if there is one that computes, then Apple's MPS, then
            the processor. A bare number is that of a CUDA device; without any, the log says so
            and the choice is that of ``auto``. Any other name is taken as it is.
        number: Which of several CUDA devices ``auto`` and ``cuda`` take.

    Raises:
        ConfigError: The named device is not available on this machine.
    """
    problem = cuda_problem()
    is_number = name.isascii() and name.isdigit()
    if name == "auto" or (is_number and problem is not None):
        name = _fastest(name, number, problem)
    elif is_number:
        name = f"cuda:{name}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"device {name!r} cannot be used (none has that name); try `device` auto or cpu"
        raise ConfigError(msg) from error
    if device.type == "cuda":
        return _indexed(device, number, problem)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f"device {name!r} cannot be used ({reason}); try `device` auto or cpu"
        raise ConfigError(msg) from error
    return device


def _fastest(asked: str, number: int, problem: str | None) -> str:
    """Name of the fastest device that computes; the log says what keeps a card from it."""
    others = "mps" if torch.backends.mps.is_available() else "cpu"
    if problem is None:
        card = _nth_card(number)
        reason = _failure(card)
        if reason is None:
            return "cuda"
        logger.warning("%s cannot be used (%s); computing on %s instead", card, reason, others)
    elif asked != "auto":
        logger.warning("`device` %s: %s; computing on %s instead", asked, problem, others)
    elif has_driver():
        logger.warning("%s; computing on %s instead", problem, others)
    return others


def _indexed(device: torch.device, number: int, problem: str | None) -> torch.device:
    """A CUDA device with its index, after it has been tried."""
    if problem is not None:
        msg = f"device '{device}' cannot be used: {problem}; try `device` auto or cpu"
        raise ConfigError(msg)
    count = torch.cuda.device_count()
    index = number % count if device.index is None else device.index
    if index >= count:
        last = count - 1
        msg = (
            f"device '{device}' cannot be used: the last of the {count} CUDA devices that "
            f"PyTorch finds is cuda:{last}; try `device` auto or cuda:{last}"
        )
        raise ConfigError(msg)
    device = torch.device("cuda", index)
    reason = _failure(device)
    if reason is not None:
        msg = f"device '{device}' cannot be used ({reason}); try `device` auto or cpu"
        raise ConfigError(msg)
    return device


def _nth_card(number: int) -> torch.device:
    """One of the CUDA devices; their numbers begin again after the last."""
    return torch.device("cuda", number % torch.cuda.device_count())


def _failure(device: torch.device) -> str | None:
    """Reason why a CUDA device cannot compute: it or its memory is taken, or it is too old."""
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


def cuda_problem() -> str | None:
    """Reason why CUDA cannot be used on this machine, as half a sentence; None if it can."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    if not has_driver():
        return "PyTorch finds no CUDA device on this machine"
    if torch.version.cuda is None:
        return (
            "this machine has a driver of NVIDIA, but the installed PyTorch "
            f"{torch.__version__} is built without CUDA"
        )
    said = " ".join(str(caught[-1].message).split()) if caught else "it gives no reason"
    return (
        "this machine has a driver of NVIDIA, but PyTorch cannot use it with CUDA "
        f"{torch.version.cuda} ({said})"
    )


def has_driver() -> bool:
    """True if NVIDIA's driver is installed, of whatever version."""
    return any(path.exists() for path in DRIVERS)


def describe_device(device: torch.device) -> str:
    """The device in words, for the log."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if choose_network_dtype(device) == torch.bfloat16:
            return f"{device} ({name})"
        major, minor = torch.cuda.get_device_capability(device)
        return f"{device} ({name}, compute capability {major}.{minor}, too old for bfloat16)"
    if device.type == "cpu":
        return f"cpu ({counted(torch.get_num_threads(), 'thread')})"
    return str(device)


def choose_network_dtype(device: torch.device, processors: Path = PROCESSORS) -> torch.dtype:
    """The dtype in which the matrix products of networks run fastest.

    The answer is one of the machine. It is not measured: on a busy machine two runs of the same
    command would sometimes differ in it, and in their last digits.

    Args:
        device: Where they run.
        processors: What Linux says of its processors.

    Returns:
        ``torch.bfloat16`` where the device has units for it, which were measured to be 2.5 to 8
        times as fast on processors; ``torch.float32`` otherwise.
    """
    if device.type == "cuda":
        has_units = torch.cuda.get_device_capability(device) >= BFLOAT16_CARDS
        return torch.bfloat16 if has_units else torch.float32
    if device.type != "cpu" or not processors.is_file():
        return torch.float32
    words = processors.read_text().split()
    return torch.float32 if BFLOAT16_UNITS.isdisjoint(words) else torch.bfloat16


def operations_per_second(
    device: torch.device, dtype: torch.dtype = torch.float32, rows: int = 4096, width: int = 256
) -> float:
    """Floating point operations of matrix products, as measured once in a process.

    The shape is the one that dominates training, and the shortest time of several counts. On
    the processor it is that which this thread had of it: what others take of a busy machine
    for a moment says nothing of the product.

    Args:
        device: Where they are multiplied.
        dtype: Their number type.
        rows: Rows of the first factor.
        width: Its columns, and both sides of the second factor.
    """
    return _product_rate(device, dtype, rows, width, torch.get_num_threads())


@functools.cache
def _product_rate(
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    width: int,
    threads: int,  # noqa: ARG001 (on which the rate of a processor depends)
) -> float:
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    weight = torch.ones(width, width, device=device, dtype=dtype)
    values = torch.ones(rows, width, device=device, dtype=dtype)
    seconds = []
    for _ in range(10):
        synchronize(device)
        started = clock()
        torch.nn.functional.linear(values, weight)
        synchronize(device)
        seconds.append(clock() - started)
    return 2 * rows * width**2 / max(min(seconds), 1e-9)


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype by the name that options and files give it."""
    return str(dtype).removeprefix("torch.")


def synchronize(device: torch.device) -> None:
    """Wait for what a device is still computing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def sum_dtype(device: torch.device) -> torch.dtype:
    """The dtype of sums over many batches.

    Double precision on processors; on cards it is slow, or not there at all.
    """
    return torch.float64 if device.type == "cpu" else torch.float32


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, without waiting for it to arrive.

    CUDA copies behind the host's back only from memory that the system cannot move; PyTorch
    keeps such memory until the copy is done. Everywhere else this is :meth:`torch.Tensor.to`.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def deterministic(device: torch.device, *, wanted: bool) -> Iterator[None]:
    """Sums on a CUDA device in the same order in every run while it lasts, if that is wanted.

    Without it many of them are added up in the order in which they come, so that the last
    digits differ from run to run. On processors they always have one order.

    Args:
        device: Where is computed.
        wanted: Whether that is asked for.

    Raises:
        ConfigError: Something that is done has no such order there.
    """
    if wanted and device.type != "cuda":
        kept = (
            "have one order" if device.type == "cpu" else "may have another order in every run"
        )
        logger.warning("`deterministic` has no effect on %s: sums %s there", device, kept)
    if not wanted or device.type != "cuda":
        yield
        return
    # The library of products reads it when it is first used.
    os.environ.setdefault(*PRODUCTS_IN_ORDER)
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    before = torch.are_deterministic_algorithms_enabled()
    memory.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        reason = str(error).partition(". ")[0].splitlines()[0]
        msg = f"`deterministic` is not possible on {device} ({reason}); leave it out"
        raise ConfigError(msg) from error
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filled


_reasons: ContextVar[tuple[str, ...]] = ContextVar("reasons to wait", default=())


@contextmanager
def may_wait(reason: str) -> Iterator[None]:
    """Mark where the host waits for the device inside a step, and say why it must.

    Nothing changes for the program. Tests run every step on a simulated card
    (``tests/simulated_card.py``) and fail at any other wait: a number or an array that goes to
    the host, a mask in place of indices, a copy that is not sent by :func:`to_device`.

    Args:
        reason: What is needed on the host.
    """
    token = _reasons.set((*_reasons.get(), reason))
    try:
        yield
    finally:
        _reasons.reset(token)


def reason_to_wait() -> str | None:
    """Reason why the host may wait for the device here; None where it must not."""
    reasons = _reasons.get()
    return reasons[-1] if reasons else None
