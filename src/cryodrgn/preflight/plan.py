"""The plan of long work, checked against what there is, and said before it begins."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cryodrgn.data.memory import memory_limits, resident_memory
from cryodrgn.errors import ConfigError, OutputFileError
from cryodrgn.io.atomic import format_size, free_bytes
from cryodrgn.outputs import existing_folder
from cryodrgn.progress import format_duration

logger = logging.getLogger(__name__)

PROCESSOR = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Plan of a command: its task, memory, room on disk, and time.

    Attributes:
        work: What it does and to how much, as a list of words.
        folder: Folder that it writes into.
        device: Where it computes.
        memory: Bytes that it takes beyond what the process holds, where it computes.
        images: Bytes of images, or of volumes that they are made of, which stay in the memory
            of the processor.
        in_file: Bytes of images that are kept in a scratch file instead.
        written: Bytes of all files that it writes, a scratch file among them.
        seconds: Measures the expected duration, once the work is known to be possible.
        is_least: Whether it takes longer, which cannot be told.
        advice: What to do where memory is too little.
    """

    work: str
    folder: Path
    device: torch.device = PROCESSOR
    memory: int = 0
    images: int = 0
    in_file: int = 0
    written: int = 0
    seconds: Callable[[], float]
    is_least: bool = False
    advice: str = "take a smaller box with `box_size`"

    def announce(self, name: str) -> None:
        """Compare it with what there is, and say it.

        Args:
            name: What is done, for messages.

        Raises:
            OutputFileError: The folder cannot be written, or has no room.
            ConfigError: There is too little memory.
        """
        require_output(self.folder, self.written)
        is_processor = self.device.type == "cpu"
        host = self.images + (self.memory if is_processor else 0)
        require_memory(host, name, self.advice)
        on_device = (
            ""
            if is_processor
            else f", {format_size(self.memory + self.images)} on {self.device}"
        )
        in_file = f" ({format_size(self.in_file)} of images in a file)" if self.in_file else ""
        logger.info(
            "plan: %s; memory %s%s%s; up to %s written to %s; %s %s",
            self.work,
            format_size(resident_memory() + host),
            on_device,
            in_file,
            format_size(self.written),
            self.folder,
            "at least" if self.is_least else "about",
            format_duration(self.seconds()),
        )


def require_output(folder: Path, size: int = 0) -> None:
    """Refuse a folder for results that cannot be written or has too little room.

    Args:
        folder: The folder; it need not exist yet.
        size: Bytes that will be written.

    Raises:
        OutputFileError: It cannot be used.
    """
    place = existing_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        msg = f"{folder} cannot be written: {error.strerror}; give another folder"
        raise OutputFileError(msg) from error
    if (free := free_bytes(place)) < size:
        msg = (
            f"{folder} cannot be written: it needs {format_size(size)}, but {place.resolve()} "
            f"has room for {format_size(free)}; make room there, or give another folder"
        )
        raise OutputFileError(msg)


def require_memory(size: int, what: str, advice: str) -> None:
    """Refuse work for which there is too little memory.

    Args:
        size: Bytes that it takes beyond what the process holds.
        what: The work, for messages.
        advice: What to do about it.

    Raises:
        ConfigError: A limit does not allow it.
    """
    name, available = min(memory_limits().items(), key=lambda pair: pair[1])
    if size > available:
        msg = (
            f"{what} needs {format_size(size)} of memory, but the {name} has "
            f"{format_size(max(available, 0))} left; {advice}"
        )
        raise ConfigError(msg)
