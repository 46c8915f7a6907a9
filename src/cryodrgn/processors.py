"""Processors: how many this process was granted, how many others leave free, how threads wait.

Nothing here loads torch: libraries of threads read their settings once, when they are loaded.
"""

import functools
import logging
import math
import os
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

logger = logging.getLogger(__name__)

STATISTICS, GROUPS = Path("/proc/stat"), Path("/sys/fs/cgroup")
# Columns of /proc/stat after the processor's name in which it did something for a process:
# user, system, irq, softirq. What is nice gives way to us, unless we are nice ourselves.
BUSY, NICE = (0, 2, 5, 6), 1
# What tells libgomp and Intel's OpenMP that threads wait asleep, unless a user has said more.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
USERS_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
# Seconds between two measurements of what is free; seconds between two lines of the log.
INTERVAL, SAID_EVERY = 2.0, 600.0
# Share of a processor that others may use while a thread of ours keeps it, and while one more
# thread takes it up: a thread too many makes the others wait, one too few leaves time unused.
KEPT, TAKEN_UP = 0.5, 0.25


def wait_without_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait for one another sleep, and be as many as were granted.

    By default they ask again and again for some milliseconds. On a machine that others use as
    well, the thread that is waited for does not get this time: two threads beside six busy
    processes trained at a fifth of the rate of one.

    What the user has set is left as it is. To be called before torch, numba or scikit-learn are
    loaded; the setting holds for the whole process and its children, so it belongs to programs.
    """
    if not any(name in environment for name in USERS_WAITING):
        environment.update(WAITING)
    granted = granted_processors()
    if users_threads(environment) is None and granted < len(_allowed()):
        environment["OMP_NUM_THREADS"] = str(granted)


def users_threads(environment: MutableMapping[str, str] = os.environ) -> int | None:
    """Number of threads that OMP_NUM_THREADS asks for; None if it asks for nothing."""
    first = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def granted_processors(groups: Path = GROUPS) -> int:
    """Number of processors that affinity and control group grant to this process, 1 at least.

    Args:
        groups: Where the system shows the control group, of version 1 or 2.
    """
    quotas = []
    for quota, period in (
        ("cpu.max", None),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        try:
            words = (groups / quota).read_text().split()
            words += (groups / period).read_text().split() if period else []
            quotas.append(int(words[0]) / int(words[1]))
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            continue  # absent, or "max"
    granted = [math.ceil(quota) for quota in quotas if quota > 0]
    return max(1, min([len(_allowed()), *granted]))


class Watch:
    """Number of threads that find a free processor, measured every few seconds.

    Others' work is what processors were busy with beside this process; where the system does
    not tell, nobody else works.

    Args:
        most: Number of threads on an idle machine.
        statistics: Where the system counts what its processors do.
        own_seconds: Processor time of this process.
        clock: Time by the wall.
    """

    def __init__(
        self,
        most: int,
        statistics: Path = STATISTICS,
        own_seconds: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self._statistics, self._own_seconds, self._clock = statistics, own_seconds, clock
        self._count, self._last, self._said = most, self._measure(), -math.inf

    def count(self) -> int:
        """Threads to compute with now."""
        if self.most == 1 or self._clock() - self._last[0] < INTERVAL:
            return self._count
        before, self._last = self._last, self._measure()
        seconds, busy, own = (b - a for a, b in zip(before, self._last, strict=True))
        others = max(0.0, (busy - own) / seconds)
        free = len(_allowed()) - others
        count = max(1, min(self.most, math.floor(free + TAKEN_UP)))
        if count > self._count or free < self._count - KEPT:
            self._change(count, others)
        return self._count

    def _change(self, count: int, others: float) -> None:
        if count == self._count:
            return
        self._count, now = count, self._clock()
        level = logging.INFO if now - self._said > SAID_EVERY else logging.DEBUG
        logger.log(
            level,
            "computing with %d of %d threads, because other processes use %.1f CPUs; the "
            "results are the same (OMP_NUM_THREADS sets a fixed number)",
            count,
            self.most,
            others,
        )
        if level == logging.INFO:
            self._said = now

    def _measure(self) -> tuple[float, float, float]:
        """Time by the wall, of busy processors, and of this process, in seconds."""
        columns = (*BUSY, NICE) if os.nice(0) > 0 else BUSY
        names, ticks = {f"cpu{number}" for number in _allowed()}, 0
        try:
            lines = self._statistics.read_text().splitlines()
        except OSError:
            lines = []
        for line in lines:
            name, *numbers = line.split()[:11] or [""]
            if name in names:
                ticks += sum(int(numbers[column]) for column in columns)
        return self._clock(), ticks / os.sysconf("SC_CLK_TCK"), self._own_seconds()


@functools.cache
def processor_watch() -> Watch | None:
    """The watch of this process, begun by the first call; None where the user set a number."""
    return None if users_threads() else Watch(granted_processors())


def most_threads() -> int:
    """Number of threads on an idle machine."""
    watch = processor_watch()
    return users_threads() or 1 if watch is None else watch.most


def useful_threads() -> int:
    """Number of threads that find a free processor now, or that the user has set."""
    watch = processor_watch()
    return most_threads() if watch is None else watch.count()


def _allowed() -> set[int]:
    """Numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
