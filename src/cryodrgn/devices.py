"""Choice of the device and of the precision of networks."""

import time
from pathlib import Path

import torch

from cryodrgn.errors import ConfigError

# Units of x86 processors that multiply bfloat16 numbers, by their names in /proc/cpuinfo.
BFLOAT16_UNITS = frozenset({"avx512_bf16", "amx_bf16"})
PROCESSORS = Path("/proc/cpuinfo")
PRODUCT_OPERATIONS = 2 * 4096 * 256 * 256


def choose_device(name: str = "auto", number: int = 0) -> torch.device:
    """The device to compute on.

    Args:
        name: ``auto`` takes a CUDA device if there is one, then Apple's MPS, then the
            processor; any other name is taken as it is.
        number: Which of several CUDA devices ``auto`` and ``cuda`` take.

    Raises:
        ConfigError: The named device is not available on this machine.
    """
    if name == "auto":
        others = "mps" if torch.backends.mps.is_available() else "cpu"
        name = "cuda" if torch.cuda.is_available() else others
    if name == "cuda" and torch.cuda.device_count() > 1:
        name = f"cuda:{number % torch.cuda.device_count()}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"device {name!r} cannot be used (none has that name); try --device auto or cpu"
        raise ConfigError(msg) from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f"device {name!r} cannot be used ({reason}); try --device auto or cpu"
        raise ConfigError(msg) from error
    return device


def describe_device(device: torch.device) -> str:
    """The device in words, for the log."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return str(device)


def choose_network_dtype(device: torch.device, processors: Path = PROCESSORS) -> torch.dtype:
    """The number type in which the matrix products of networks run fastest.

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
        has_units = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if has_units else torch.float32
    if device.type != "cpu" or not processors.is_file():
        return torch.float32
    words = processors.read_text().split()
    return torch.float32 if BFLOAT16_UNITS.isdisjoint(words) else torch.bfloat16


def operations_per_second(device: torch.device) -> float:
    """Floating point operations of matrix products in float32, as measured in a moment.

    The shape is the one that dominates training, and the shortest time of several counts. On
    the processor it is that which this thread had of it: what others take of a busy machine
    for a moment says nothing of the product.
    """
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    weight = torch.ones(256, 256, device=device)
    rows = torch.ones(4096, 256, device=device)
    seconds = []
    for _ in range(10):
        synchronize(device)
        started = clock()
        torch.nn.functional.linear(rows, weight)
        synchronize(device)
        seconds.append(clock() - started)
    return PRODUCT_OPERATIONS / max(min(seconds), 1e-9)


def dtype_name(dtype: torch.dtype) -> str:
    """A number type as options and files call it."""
    return str(dtype).removeprefix("torch.")


def synchronize(device: torch.device) -> None:
    """Wait for what a device is still computing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
