"""Processes of a job: one for every device, and a stop when a signal asks for it."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from cryodrgn.jobs.options import DeviceOptions

if TYPE_CHECKING:
    import torch

    from cryodrgn.parallel import Team

logger = logging.getLogger(__name__)


@contextmanager
def joined(where: DeviceOptions) -> "Iterator[tuple[Team, torch.device]]":
    """The team of this process and the device that it computes on.

    With ``--multigpu`` the command first starts itself once for every GPU, as ``torchrun``
    would. With ``--deterministic`` sums have one order in all that is done meanwhile.

    Raises:
        ConfigError: The device cannot be used, or not so.
        TeamError: The other processes cannot be reached.
    """
    import torch

    from cryodrgn.devices import choose_device, deterministic
    from cryodrgn.io.log import log_from
    from cryodrgn.parallel import join_team

    in_order = getattr(where, "deterministic", False)
    if getattr(where, "multigpu", False) and "WORLD_SIZE" not in os.environ:
        _start_all()
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = choose_device(_name_for_all(where.device, rank), rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with deterministic(device, wanted=in_order), join_team(device.type) as team:
        if not team.is_writer:
            log_from(logging.ERROR)
        yield team, device


def _name_for_all(name: str, rank: int) -> str:
    """The device asked for, without the number of a GPU where every process has its own.

    Two processes on one GPU cannot talk to one another.
    """
    count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if count == 1 or not (name.isdecimal() or name.startswith("cuda:")):
        return name
    if rank == 0:
        logger.warning(
            "`device` %s has no effect: each of %d processes takes a GPU of its own",
            name,
            count,
        )
    return "auto" if name.isdecimal() else "cuda"


def _start_all() -> None:
    """Become the launcher of as many processes as there are GPUs, if there are several."""
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        logger.warning("`multigpu` has no effect: this machine has %d GPUs", count)
        return
    sys.stdout.flush()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    words = [sys.executable, *launcher, "-m", "cryodrgn", *sys.argv[1:]]
    os.execv(sys.executable, words)


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """While it lasts, SIGTERM and Ctrl-C ask for a stop; a second Ctrl-C interrupts at once.

    Outside the main thread, which alone receives signals, nothing asks for one.

    Raises:
        KeyboardInterrupt: The work has stopped after Ctrl-C; what follows must not go on with
            a run that is half trained. After SIGTERM, which schedulers send, it ends as usual.
    """
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        logger.info("%s: writing a checkpoint", signal.Signals(number).name)

    receives = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGINT) if receives else ()
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in asked:
        raise KeyboardInterrupt
