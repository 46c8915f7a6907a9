"""Large stacks whose writing goes on where an earlier process was stopped."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import CryodrgnError, InputFileError, OutputFileError
from cryodrgn.io.atomic import atomic_path, put_in_place, require_space, why_not_written
from cryodrgn.io.mrc import HEADER_BYTES, StackWriter, stack_header
from cryodrgn.io.text import read_json

# What is lost at most when a process is killed.
SECONDS_BETWEEN_RECORDS = 5.0


class ResumableWriter:
    """Appends images to a stack, and records now and then how far it has come.

    Made by :func:`resumable_stack`.
    """

    def __init__(self, writer: StackWriter, record: Path, key: str) -> None:
        self._writer = writer
        self._record = record
        self._key = key
        self._last = time.monotonic()

    @property
    def count(self) -> int:
        """Images that are in the stack."""
        return self._writer.count

    def append(self, images: Float[np.ndarray, "batch box box"]) -> None:
        """Write images behind those that are there."""
        self._writer.append(images)
        if time.monotonic() - self._last >= SECONDS_BETWEEN_RECORDS:
            self.record()

    def record(self) -> None:
        """Remember how far the stack is, once its images have reached the disk."""
        self._writer.sync()
        write_record(self._record, {"key": self._key, "state": self._writer.state()})
        self._last = time.monotonic()


@contextmanager
def resumable_stack(
    path: Path, key: str, count: int, box_size: int, pixel_size: float | None
) -> Iterator[ResumableWriter]:
    """A new stack that appears at ``path`` when it is complete.

    When the process is killed or the disk is full, what was written stays beside it under a
    hidden name, and the next call with the same ``key`` begins behind it.

    Args:
        path: The stack to write, in float32.
        key: What the images are made from, and how.
        count: Images that it will hold.
        box_size: Side of the images in pixels.
        pixel_size: Å/px; None leaves it unknown.

    Raises:
        OutputFileError: It cannot be written, or another process is writing it.
    """
    partial, record = path.with_name(f".{path.name}.partial"), record_path(path)
    size = HEADER_BYTES + 4 * count * box_size**2
    keep = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as lock:
            _lock(lock.fileno(), path)
            state = _earlier_state(record, partial, key, box_size)
            there = partial.stat().st_size if state is not None else 0
            require_space(path, size - there)
            template = stack_header(box_size, pixel_size, "float32")
            writer = StackWriter(partial, template, np.dtype("float32"), state)
            try:
                yield ResumableWriter(writer, record, key)
            except CryodrgnError:
                raise
            except BaseException:
                keep = True
                raise
            finally:
                writer.close()
            put_in_place(partial, path)
    except OSError as error:
        keep = record.exists()
        raise OutputFileError(why_not_written(path, error, partial, size)) from error
    finally:
        if not keep:
            for left in (partial, record):
                with suppress(OSError):
                    left.unlink()


def record_path(path: Path) -> Path:
    """Path of the record that says how many images of a stack are written."""
    return path.with_name(f".{path.name}.progress.json")


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a record."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content))


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """A record, if it is there and of the same work."""
    try:
        content = read_json(path)
    except InputFileError:
        return None
    return content if isinstance(content, dict) and content.get("key") == key else None


def _earlier_state(
    record: Path, partial: Path, key: str, box_size: int
) -> dict[str, float] | None:
    """State of an interrupted call of the same work; None if it has to begin."""
    content = read_record(record, key)
    try:
        state = {name: float(value) for name, value in (content or {})["state"].items()}
        expected = HEADER_BYTES + 4 * int(state["count"]) * box_size**2
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return state if partial.stat().st_size >= expected else None


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        msg = f"{path} is being written by another process; wait for it, or give another name"
        raise OutputFileError(msg) from error
    except OSError:
        # A file system without locks: nothing can be said.
        os.fstat(descriptor)
