"""Medians of repeated measurements, and the machine that they were made on."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cryodrgn.devices import describe_device, dtype_name, synchronize

FEWEST = 3


def median_seconds(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """The median time that some work takes, repeated for about as long as asked for.

    Args:
        work: What is measured; done once before, unmeasured.
        device: Where it computes.
        seconds: How long to go on; at least three measurements are made.
    """
    work()
    times: list[float] = []
    while len(times) < FEWEST or sum(times) < seconds:
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def describe_machine(device: torch.device, dtype: torch.dtype) -> dict[str, str | int]:
    """Machine, libraries and ``dtype`` of the matrix products, for every figure."""
    return {
        "device": describe_device(device),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "network_dtype": dtype_name(dtype),
    }


def product_ceilings(device: torch.device, seconds: float) -> dict[str, float]:
    """GFLOP/s of large matrix products, by number type: what no network can exceed."""
    ceilings = {}
    for dtype in (torch.float32, torch.bfloat16):
        rows = torch.randn(4096, 1024, device=device).to(dtype)
        weight = torch.randn(1024, 1024, device=device).to(dtype)
        product = lambda a=rows, b=weight: torch.nn.functional.linear(a, b)  # noqa: E731
        flops = 2 * rows.shape[0] * weight.numel()
        ceilings[dtype_name(dtype)] = flops / median_seconds(product, device, seconds) / 1e9
    return ceilings


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
