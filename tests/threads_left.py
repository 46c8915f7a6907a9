"""Threads of a team that are left as a command of tests/children.py ends."""

import os
import sys
from pathlib import Path


def say_at_the_end() -> None:
    """Let this process say how many there are, before it ends."""
    leave = os._exit

    def say_and_leave(status: int) -> None:
        tasks = Path("/proc/self/task").iterdir()
        left = sum("gloo" in task.joinpath("comm").read_text() for task in tasks)
        sys.stdout.write(f"{left} threads of the team are left\n")
        sys.stdout.flush()
        leave(status)

    os._exit = say_and_leave
