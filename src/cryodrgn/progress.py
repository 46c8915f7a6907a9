"""Progress of long work: a bar on a terminal, a line now and then in a log file."""

import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)
Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 20.0
# How long the steps after the present one will take, where it is one of several.
_seconds_after: ContextVar[float | None] = ContextVar("seconds_after", default=None)


@contextmanager
def followed_by(seconds: float) -> Iterator[None]:
    """While it lasts, lines of progress also count work of that duration that comes after."""
    token = _seconds_after.set(seconds)
    try:
        yield
    finally:
        _seconds_after.reset(token)


def format_duration(seconds: float) -> str:
    """A duration as people say it: ``4 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Counts finished units of work and shows how long the rest will take.

    On a terminal this is a bar. Elsewhere (a batch job, a pipe) a line is logged
    every twenty seconds, and none at all for work that ends sooner.

    Args:
        total: Units of work in all.
        description: What is being done, for instance ``"downsampling"``.
        unit: What one unit is called.
        initial: Units that were already done when the work began.
        describe_rate: Says something of a number of units per second, for lines of the log.
    """

    def __init__(
        self,
        total: int,
        description: str,
        unit: str = "img",
        initial: int = 0,
        describe_rate: Callable[[float], str] | None = None,
    ) -> None:
        self._total = total
        self._description = description
        self._unit = unit
        self._describe_rate = describe_rate
        self._done = initial
        self._last_line = time.monotonic()
        # When how much was done: at the beginning, then at the line before the last. What a
        # first step costs once says nothing of those that follow.
        self._since = self._before = (self._last_line, initial)
        self._bar = (
            tqdm(total=total, desc=description, unit=unit, initial=initial, file=sys.stderr)
            if sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)
            else None
        )

    def advance(self, count: int = 1, note: str = "") -> None:
        """Record that ``count`` more units are done; ``note`` is shown beside the count."""
        self._done += count
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES and self._done < self._total:
            self._last_line = now
            logger.info(self._line(now, note))
            self._since, self._before = self._before, (now, self._done)

    def _line(self, now: float, note: str) -> str:
        since, done = self._since
        line = (
            f"{self._description}: {self._done} of {self._total} {self._units} "
            f"({100 * self._done / max(self._total, 1):.0f} %)"
        )
        if self._done == done:
            # Nothing tells how long the rest takes.
            return f"{line}, {note}" if note else line
        rate = (self._done - done) / max(now - since, 1e-9)
        seconds = (self._total - self._done) / rate
        line += f", {format_duration(seconds)} left"
        after = _seconds_after.get()
        if after is not None:
            line += f", with all steps after it {format_duration(seconds + after)}"
        if self._describe_rate is not None:
            line += f", {self._describe_rate(rate)}"
        return f"{line}, {note}" if note else line

    @property
    def _units(self) -> str:
        """Name of several units; "img" is short for images."""
        is_plural = self._unit in {"", "img"} or self._unit.endswith("s")
        return self._unit if is_plural else f"{self._unit}s"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def track(items: Iterable[Item], total: int, description: str, unit: str) -> Iterator[Item]:
    """Yield ``items`` one by one and show the progress through them."""
    with Progress(total, description, unit) as progress:
        for item in items:
            yield item
            progress.advance()


def bar_options(description: str, steps: str) -> dict[str, Any]:
    """Options for the tqdm bar of another library: a bar on a terminal, else lines of the log.

    Args:
        description: What is being done.
        steps: What its steps are called, in the plural.
    """
    if sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
        return {"desc": description, "file": sys.stderr}
    form = "{desc}: {n_fmt} of {total_fmt} STEPS ({percentage:.0f} %), {remaining} left"
    return {
        "desc": description,
        "file": _LogLines(),
        "mininterval": SECONDS_BETWEEN_LINES,
        "delay": SECONDS_BETWEEN_LINES,
        "leave": False,
        "bar_format": form.replace("STEPS", steps),
    }


class _LogLines(io.TextIOBase):
    """A file whose lines are lines of the log."""

    def write(self, text: str) -> int:
        """Log a text that is not blank."""
        if text.strip():
            logger.info(text.strip())
        return len(text)
