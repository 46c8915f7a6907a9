"""Compilation of loops, and threads that share them.

The loops release the interpreter's lock. Every sum runs over the images in their order,
whatever the number of threads: the result is the same bit for bit.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch

try:
    from numba import njit
except ImportError:  # torch takes over
    njit = None

IS_AVAILABLE = njit is not None


def compile_loop(function: Callable) -> Callable:
    """Compile a function of numbers and arrays where numba is installed."""
    if njit is None:
        return function
    return njit(nogil=True, cache=True, fastmath=True)(function)


def compile_exact_loop(function: Callable) -> Callable:
    """Compile a loop whose result is that of the same operations elsewhere, bit for bit."""
    return function if njit is None else njit(nogil=True, cache=True)(function)


def compile_inline(function: Callable) -> Callable:
    """Compile a function that is inlined into the compiled loops that call it."""
    return function if njit is None else njit(inline="always", fastmath=True)(function)


def in_threads(work: Callable[[int, int], None], bounds: list[int]) -> None:
    """Call ``work`` for every pair of neighbouring bounds."""
    pairs = [(first, last) for first, last in pairwise(bounds) if first < last]
    if len(pairs) < 2:
        for pair in pairs:
            work(*pair)
        return
    with ThreadPoolExecutor(len(pairs)) as pool:
        list(pool.map(lambda pair: work(*pair), pairs))


def even_bounds(count: int) -> list[int]:
    """Bounds of as many even parts of a count as torch has threads."""
    return np.linspace(0, count, torch.get_num_threads() + 1).astype(int).tolist()
