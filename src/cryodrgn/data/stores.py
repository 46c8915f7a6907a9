"""Stores of prepared images: in memory, or in a file that is read in large pieces."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.errors import OutputFileError
from cryodrgn.io.atomic import format_size

Rows = Int[np.ndarray, " rows"]
Values = Float[np.ndarray, "rows points 2"]


@runtime_checkable
class ImageStore(Protocol):
    """An array of one entry per image."""

    @property
    def resident(self) -> Tensor | None:
        """The whole array, if it is in memory."""
        ...

    def write(self, rows: Rows, values: Values) -> None:
        """Put the entries of some images in."""
        ...

    def read(self, rows: Rows) -> Values:
        """The entries of some images, in the order asked for."""
        ...


class MemoryStore:
    """Keeps the array in memory.

    Args:
        count: Number of images.
        points: Pairs of numbers per image.
    """

    def __init__(self, count: int, points: int) -> None:
        self._values = np.empty((count, points, 2), np.float32)

    @property
    def resident(self) -> Tensor | None:
        """The whole array."""
        return torch.from_numpy(self._values)

    def write(self, rows: Rows, values: Values) -> None:
        """Put the entries of some images in."""
        self._values[rows] = values

    def read(self, rows: Rows) -> Values:
        """The entries of some images."""
        return self._values[rows]


class FileStore:
    """Keeps the array in a file, which is not mapped: memory holds what is asked for only.

    Args:
        descriptor: The open file.
        points: Pairs of numbers per image.
        stored: The image at every place of the file.
    """

    resident = None

    def __init__(self, descriptor: int, points: int, stored: Int[Tensor, " images"]) -> None:
        self._descriptor = descriptor
        self._points = points
        self._row_bytes = 8 * points
        self._places = np.empty(len(stored), np.int64)
        self._places[stored.numpy()] = np.arange(len(stored))

    def __del__(self) -> None:
        os.close(self._descriptor)

    def write(self, rows: Rows, values: Values) -> None:
        """Put the entries of some images in."""
        order = np.argsort(self._places[rows])
        ordered = np.ascontiguousarray(values[order], np.float32)
        for place, part in self._runs(rows[order]):
            self._write_at(place * self._row_bytes, ordered[part])

    def read(self, rows: Rows) -> Values:
        """The entries of some images; neighbours in the file are read together."""
        order = np.argsort(self._places[rows])
        ordered = np.empty((len(rows), self._points, 2), np.float32)
        for place, part in self._runs(rows[order]):
            os.preadv(self._descriptor, [ordered[part].data], place * self._row_bytes)
        values = np.empty_like(ordered)
        values[order] = ordered
        return values

    def _write_at(self, offset: int, values: Values) -> None:
        written = 0
        try:
            written = os.pwrite(self._descriptor, values.data, offset)
        except OSError as error:
            self._refuse(error.strerror or str(error), error)
        if written < values.nbytes:
            self._refuse("the disk is full")

    def _refuse(self, reason: str, error: OSError | None = None) -> NoReturn:
        msg = (
            f"prepared images cannot be written to a scratch file ({reason}): they need "
            f"{format_size(self._row_bytes * len(self._places))}; choose a folder with room "
            "for them with `cache_dir`"
        )
        raise OutputFileError(msg) from error

    def _runs(self, rows: Rows) -> Iterator[tuple[int, slice]]:
        """Rows in the order of their places, in pieces that stand together in the file."""
        places = self._places[rows]
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        for start, stop in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            if stop > start:
                yield int(places[start]), slice(int(start), int(stop))


def open_nameless(folder: Path) -> int:
    """A file that vanishes when the process ends, however it ends.

    Raises:
        OutputFileError: It cannot be made.
    """
    path = folder / f".prepared.{os.getpid()}"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        path.unlink()
    except OSError as error:
        msg = f"a scratch file cannot be made in {folder}: {error.strerror}"
        raise OutputFileError(msg) from error
    return descriptor


class EpochStream:
    """Reads the images of an epoch a buffer ahead of their use.

    Args:
        store: Where they are.
        buffers: Images to read at a time, in the order in which they will be asked for.
    """

    def __init__(self, store: ImageStore, buffers: Sequence[Int[Tensor, " _"]]) -> None:
        self._store = store
        self._buffers = [buffer.numpy() for buffer in buffers]
        size = max((int(buffer.max()) + 1 for buffer in buffers if len(buffer)), default=0)
        self._buffer_of = np.zeros(size, np.int32)
        self._slot_of = np.zeros(size, np.int64)
        for number, buffer in enumerate(self._buffers):
            self._buffer_of[buffer] = number
            self._slot_of[buffer] = np.arange(len(buffer))
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._loading: dict[int, Future[Values]] = {}

    def read(self, rows: Rows) -> Values:
        """Some images; what was asked for before them may be forgotten."""
        numbers = self._buffer_of[rows]
        first, last = int(numbers.min()), int(numbers.max())
        for number in list(self._loading):
            if number < first:
                del self._loading[number]
        values = np.empty((0,), np.float32)
        for number in range(first, last + 1):
            buffer = self._buffer(number)
            if not values.size:
                values = np.empty((len(rows), *buffer.shape[1:]), np.float32)
            chosen = numbers == number
            values[chosen] = buffer[self._slot_of[rows[chosen]]]
        self._request(last + 1)
        return values

    def close(self) -> None:
        """Stop reading."""
        self._reader.shutdown(cancel_futures=True)
        self._loading.clear()

    def _buffer(self, number: int) -> Values:
        self._request(number)
        return self._loading[number].result()

    def _request(self, number: int) -> None:
        if number < len(self._buffers) and number not in self._loading:
            rows = self._buffers[number]
            self._loading[number] = self._reader.submit(self._store.read, rows)
