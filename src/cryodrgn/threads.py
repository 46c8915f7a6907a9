"""Threads that share a computation, each of which computes by itself.

Libraries divide single operations among threads that meet at the end of each. How sums are
divided, and so their last digits, depends on their number; and beside other work, all wait for
the one that has no processor. Here threads take whole pieces of the work. Pieces and the order
of their sum do not depend on the number of threads, which may therefore change at any moment.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from cryodrgn.processors import most_threads, useful_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let operations that this thread begins be divided among so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_order(work: Callable[[Item], Result], pieces: Sequence[Item]) -> Iterator[Result]:
    """Results of work on pieces, in their order, computed by the threads that are useful now.

    Where there are fewer pieces than processors, every piece gets some; their number is one of
    the machine, not of the moment.

    Args:
        work: Called once for every piece, in the same grad mode as here.
        pieces: Parts of the work. Few results are held at a time.
    """
    inside = max(1, most_threads() // max(1, len(pieces)))
    count = min(len(pieces), max(1, useful_threads() // inside))
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def settled(piece: Item) -> Result:
        with (
            torch_threads(inside),
            torch.inference_mode(inference),
            torch.set_grad_enabled(grad),
        ):
            return work(piece)

    if count < 2:
        yield from map(settled, pieces)
        return
    pool, pending = _pool(count), deque[Future[Result]]()
    try:
        for piece in pieces:
            pending.append(pool.submit(settled, piece))
            if len(pending) > 2 * count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # After an error nobody works on.
        for future in pending:
            if not future.cancel():
                future.exception()


def one_ahead(work: Callable[[Item], Result], pieces: Sequence[Item]) -> Iterator[Result]:
    """Results of work on pieces that must follow one another.

    Random numbers of one generator are such pieces. A thread works on the next one while the
    caller uses this one.

    Args:
        work: Called once for every piece, in their order.
        pieces: Parts of the work.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="cryodrgn-ahead") as pool:
        pending: Future[Result] | None = None
        for piece in pieces:
            following = pool.submit(work, piece)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


@functools.cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="cryodrgn")
