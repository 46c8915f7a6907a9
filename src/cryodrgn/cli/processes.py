"""Commands that run as several processes: one for every device."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cryodrgn.parallel import Team

logger = logging.getLogger(__name__)


@contextmanager
def joined(args: argparse.Namespace) -> "Iterator[tuple[Team, torch.device]]":
    """The team of this process and the device that it computes on.

    With ``--multigpu`` the command first starts itself once for every GPU, as ``torchrun``
    would.

    Raises:
        ConfigError: The device cannot be used.
        TeamError: The other processes cannot be reached.
    """
    import torch

    from cryodrgn.devices import choose_device
    from cryodrgn.parallel import join_team

    if getattr(args, "multigpu", False) and "WORLD_SIZE" not in os.environ:
        _start_all()
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = choose_device(_name_for_all(args.device, rank), rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with join_team(device.type) as team:
        if not team.is_writer:
            logging.getLogger("cryodrgn").setLevel(logging.ERROR)
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
            "--device %s has no effect: each of %d processes takes a GPU of its own",
            name,
            count,
        )
    return "auto" if name.isdecimal() else "cuda"


def _start_all() -> None:
    """Become the launcher of as many processes as there are GPUs, if there are several."""
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        logger.warning("--multigpu has no effect: this machine has %d GPUs", count)
        return
    sys.stdout.flush()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    words = [sys.executable, *launcher, "-m", "cryodrgn", *sys.argv[1:]]
    os.execv(sys.executable, words)
