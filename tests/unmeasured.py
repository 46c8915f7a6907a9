"""Plans without measurements, which take longer than a short run takes to learn.

What a plan would measure is done the first time that a process is asked for it, of few points,
and is said to take a moment. Tests of the measurements ask for the fixture ``measured``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType

import pytest
import torch

from cryodrgn.preflight import cost
from cryodrgn.training import cost as training_cost

MOMENT = 1e-6
# Numbers of pixels and points, and bytes of a table, in place of those that take a moment.
FEW = {"PIXELS": 1 << 13, "POINTS": 1 << 12, "LEAST_POINTS": 400, "TABLE_BYTES": 1 << 18}
MANY = {name: getattr(cost, name) for name in FEW}
RATE = 1e10
_measure = training_cost.shortest_time
_rate = cost.operations_per_second
_done: set[CodeType] = set()


def done_once(step: Callable[[], object], _: torch.device) -> float:
    """Do what would be measured, unless this process did it before."""
    if step.__code__ not in _done:
        step()
        _done.add(step.__code__)
    return MOMENT


def not_done(step: Callable[[], object], _: torch.device) -> float:
    """Do nothing of what would be measured."""
    return MOMENT


def known_rate(_: torch.device) -> float:
    """Operations per second that nobody has measured."""
    return RATE


@contextmanager
def without_measurements() -> Iterator[None]:
    """No plan of this process measures anything."""
    with pytest.MonkeyPatch.context() as patch:
        _replace(patch, done_once, known_rate, FEW)
        yield


def measure_nothing() -> None:
    """Nothing is measured in this process any more."""
    _replace(pytest.MonkeyPatch(), not_done, known_rate, FEW)


@contextmanager
def with_measurements() -> Iterator[None]:
    """Plans measure as ever."""
    with pytest.MonkeyPatch.context() as patch:
        _replace(patch, _measure, _rate, MANY)
        forget_measurements()
        yield
    forget_measurements()


def forget_measurements() -> None:
    """All is measured anew."""
    for value in vars(cost).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def _replace(
    patch: pytest.MonkeyPatch,
    measure: Callable[[Callable[[], object], torch.device], float],
    rate: Callable[[torch.device], float],
    numbers: dict[str, int],
) -> None:
    for module in (cost, training_cost):
        patch.setattr(module, "shortest_time", measure)
    patch.setattr(cost, "operations_per_second", rate)
    for name, number in numbers.items():
        patch.setattr(cost, name, number)
