"""What commands cost: seconds by the clock, and of the processors."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took.

    Attributes:
        seconds: By the clock on the wall.
        processor_seconds: Of all processors together, in user and system mode, in this process
            and the commands that it ran. Waiting is not in them, but a processor whose caches
            and memory others use is slower, by up to a factor of two.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.seconds + other.seconds, self.processor_seconds + other.processor_seconds
        )


def costed(call: Callable[[], Result]) -> tuple[Result, Cost]:
    """The result of a call, and its cost."""
    wall, processor = time.perf_counter(), _processor_seconds()
    result = call()
    return result, Cost(time.perf_counter() - wall, _processor_seconds() - processor)


def command(*words: object, threads: int) -> Cost:
    """Run a command line of cryodrgn in a process of its own."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
    }
    arguments = [sys.executable, "-m", "cryodrgn", *map(str, words)]
    done, cost = costed(
        lambda: subprocess.run(arguments, env=environment, capture_output=True, text=True)
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return cost


def _processor_seconds() -> float:
    """Seconds of this process, and of the processes that it has waited for."""
    usages = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
