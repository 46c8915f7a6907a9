"""Files that appear whole or not at all; every output is written through here."""

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryodrgn.errors import OutputFileError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# A disk with less than this is full, whatever the error of a library says.
NEARLY_NOTHING = 2**16
_ZEROS = 2**20


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        OutputFileError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {path} cannot be made: {error.strerror}"
        raise OutputFileError(msg) from error


@contextmanager
def atomic_path(path: Path, size: int | None = None) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    The folder is made if it is missing. If the block raises, the temporary file is removed
    and whatever stood at ``path`` is left as it was. A temporary file that a process which is
    gone has left behind is removed.

    Args:
        path: Where the finished file belongs.
        size: Bytes that the file takes, if that is known; the disk must have as many.

    Yields:
        Where to write it.

    Raises:
        OutputFileError: The file cannot be written.
    """
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        require_space(path, size)
        yield partial
        put_in_place(partial, path)
    except OSError as error:
        raise OutputFileError(why_not_written(path, error, partial, size)) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def partial_path(path: Path) -> Path:
    """Temporary path of a file until it is whole; the name holds the process number."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")


def put_in_place(partial: Path, path: Path) -> None:
    """Give a file that is whole its name, after it has reached the disk."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    # The name is on the disk when its folder is.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def free_bytes(folder: Path) -> int:
    """Bytes that can be written into a folder, or into the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def require_space(path: Path, size: int | None) -> None:
    """Refuse to begin a file for which the disk has no room.

    Raises:
        OutputFileError: It has not as many bytes.
    """
    if size is not None and (free := free_bytes(path.parent)) < size:
        raise OutputFileError(_too_little(path, format_size(size), free))


def reserve(path: Path, size: int) -> None:
    """Make a file of ``size`` bytes that are really there, so that it can be mapped."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        for start in range(0, size, _ZEROS):
            file.write(bytes(min(_ZEROS, size - start)))


def why_not_written(
    path: Path, error: OSError, partial: Path | None = None, size: int | None = None
) -> str:
    """Reason for which a file was not written, with the room it needs if the disk is full.

    Args:
        path: The file.
        error: What the system said.
        partial: As much of it as was written.
        size: Bytes that it takes, if known.
    """
    free = free_bytes(path.parent)
    if error.errno not in _NO_SPACE and free >= NEARLY_NOTHING:
        return f"{path} cannot be written: {error.strerror or error}"
    needed = "" if size is None else format_size(size)
    if size is None and partial is not None and partial.exists():
        needed = f"more than {format_size(partial.stat().st_size)}"
    return _too_little(path, needed or "more", free)


def format_size(count: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _too_little(path: Path, needed: str, free: int) -> str:
    return (
        f"{path} cannot be written: it needs {needed}, but {path.parent.resolve()} has room "
        f"for {format_size(free)}; make room there, or give another folder"
    )


def _remove_abandoned(path: Path) -> None:
    """Remove what processes of this machine left of the same file when they were killed."""
    name = re.escape(f".{path.name}.{socket.gethostname()}-") + r"(\d+)\.partial"
    for entry in os.scandir(path.parent):
        found = re.fullmatch(name, entry.name)
        if found and not _is_alive(int(found[1])):
            with suppress(OSError):
                os.unlink(entry.path)  # noqa: PTH108 (it is a name already)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
