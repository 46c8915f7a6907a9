"""Where and in which precision networks run."""

import time

import torch

from cryodrgn.errors import ConfigError

# A lower precision must be clearly faster before it is used: it costs accuracy, and a
# narrow margin would be decided by the noise of the measurement.
REQUIRED_SPEEDUP = 1.3
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


def choose_network_dtype(device: torch.device) -> torch.dtype:
    """The number type in which the matrix products of networks run fastest.

    The default network is what is measured, so that the answer is one of the machine and does
    not change with the model.

    Returns:
        ``torch.bfloat16`` where a measurement shows that it is at least 1.3 times faster
        than ``torch.float32``, which is returned otherwise.
    """
    if device.type == "mps":
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float32
    single, half = (_seconds_per_product(device, t) for t in (torch.float32, torch.bfloat16))
    return torch.bfloat16 if single > REQUIRED_SPEEDUP * half else torch.float32


def operations_per_second(device: torch.device) -> float:
    """Floating point operations of matrix products in float32, as measured in a moment."""
    return PRODUCT_OPERATIONS / max(_seconds_per_product(device, torch.float32), 1e-9)


def dtype_name(dtype: torch.dtype) -> str:
    """A number type as options and files call it."""
    return str(dtype).removeprefix("torch.")


def _seconds_per_product(device: torch.device, dtype: torch.dtype) -> float:
    """Shortest time of several products of the shape that dominates training.

    On the processor it is that which this thread had of it: what others take of a busy machine
    for a moment says nothing of the product.
    """
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    weight = torch.ones(256, 256, device=device, dtype=dtype)
    rows = torch.ones(4096, 256, device=device, dtype=dtype)
    seconds = []
    for _ in range(10):
        synchronize(device)
        started = clock()
        torch.nn.functional.linear(rows, weight)
        synchronize(device)
        seconds.append(clock() - started)
    return min(seconds)


def synchronize(device: torch.device) -> None:
    """Wait for what a device is still computing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
