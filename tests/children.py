"""Commands in processes of their own, which cost no new imports and draw no pictures.

They are forked from a server that has imported everything and runs no threads: a process
forked from one with threads may wait for ever for a lock that none of its own threads holds.
"""

import contextlib
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from cryodrgn import jobs

JOBS = [path.stem for path in Path(jobs.__file__).parent.glob("[a-z]*.py")]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *(
            f"cryodrgn.jobs.{path.stem}"
            for path in Path(jobs.__file__).parent.glob("[a-z]*.py")
        ),
        "cryodrgn.analysis.trajectories",
        "cryodrgn.cli.main",
        "cryodrgn.cli.tools",
        "cryodrgn.diagnosis.convention_verdict",
        "cryodrgn.kernels.numba_kernels",
        "cryodrgn.linear.network_scores",
        "cryodrgn.linear.linear_run",
        "cryodrgn.linear.runner",
        "cryodrgn.preflight.rows",
        "cryodrgn.reconstruction.assumptions",
        "cryodrgn.training.runner",
        "cryodrgn.workflow.analyze",
        "cryodrgn.workflow.planted",
        "cryodrgn.workflow.power_report",
        "children",
        "coarse_surfaces",
        "compiled_ahead",
        "finished_run",
        "undrawn",
        "unmeasured",
    ]
)
Child = ForkServerProcess


def nothing() -> None:
    """What is prepared by default."""


def start(
    words: Sequence[object], log: Path | None = None, prepare: Callable[[], None] = nothing
) -> Child:
    """Begin a command; what it says goes to a log, or nowhere.

    Args:
        words: Its line; the word ``tool`` begins those of cryodrgn_utils.
        log: Where its output goes.
        prepare: Called in the new process before; must be picklable.
    """
    if log is not None:
        log.write_text("")
    return _start(words, log, prepare)


def _start(words: Sequence[object], log: Path | None, prepare: Callable[[], None]) -> Child:
    line = [str(word) for word in words]
    child = CONTEXT.Process(target=_run, args=(line, log, prepare))
    with _path_of_modules():
        child.start()
    return child


@contextlib.contextmanager
def _path_of_modules() -> Iterator[None]:
    """The server finds modules where this process does; multiprocessing does not tell it."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def start_team(
    words: Sequence[object],
    log: Path,
    size: int = 2,
    prepare: Callable[[], None] = nothing,
) -> list[Child]:
    """Begin a command in several processes that know of one another, as torchrun tells them.

    Args:
        words: Its line.
        log: Where the output of all goes.
        size: Number of processes.
        prepare: Called in every process before; must be picklable.
    """
    port = free_port()
    log.write_text("")
    shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    return [
        _start(
            words, log, partial(_become, shared | {"RANK": rank, "LOCAL_RANK": rank}, prepare)
        )
        for rank in range(size)
    ]


def free_port() -> int:
    """A port that nobody listens at, nor is given to anybody who asks for any.

    Workers begin at different ones, and those of connections lie higher.
    """
    for port in range(20000 + 10 * (os.getpid() % 1000), 32000):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    msg = "no port is free"
    raise RuntimeError(msg)


def _become(member: dict[str, int], prepare: Callable[[], None]) -> None:
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ |= {name: str(value) for name, value in member.items()}
    prepare()


def exit_status(child: Child) -> int:
    """Status of a process when it has ended; minus the signal that killed it."""
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def _run(words: list[str], log: Path | None, prepare: Callable[[], None]) -> None:
    from coarse_surfaces import COARSE, draw
    from cryodrgn.cli import tools
    from cryodrgn.cli.main import main
    from undrawn import leave_out_all
    from unmeasured import measure_nothing

    status = 1
    try:
        target = os.devnull if log is None else str(log)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        leave_out_all()
        measure_nothing()
        draw(pytest.MonkeyPatch(), COARSE)
        prepare()
        is_tool = words[0] == "tool"
        status = tools.main(words[1:]) if is_tool else main(words)
    except BaseException:  # noqa: BLE001 (the process must end here)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
