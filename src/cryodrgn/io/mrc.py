"""MRC volumes and image stacks.

Whether a file holds a volume or a stack of images is decided by the caller, never by the
header: programs disagree about its flags.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.mrcobject import MrcObject
from mrcfile.utils import dtype_from_mode

from cryodrgn.errors import InputFileError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.text import require_file

HEADER_BYTES = 1024
# Where the header says the byte order; the modes there are; how compressed files begin.
STAMP = 212
MODES = frozenset({0, 1, 2, 4, 6, 12})
COMPRESSED = (b"\x1f\x8b", b"BZh")
LABEL = "written by cryodrgn"


@dataclass(frozen=True, kw_only=True, slots=True)
class MrcFile:
    """An MRC file on disk, of which only the header has been read.

    Attributes:
        path: The file.
        shape: Sections, rows and columns.
        dtype: Type of the stored numbers, byte order included.
        data_offset: Where the numbers begin, in bytes.
        pixel_size: Sampling in Å/px, None where the header gives none.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    data_offset: int
    pixel_size: float | None

    @classmethod
    def open(cls, path: Path) -> "MrcFile":
        """Read the header and check that the data behind it is complete.

        Raises:
            InputFileError: The file is missing, is no MRC file, holds numbers that are no
                real images, or is shorter than its header says.
        """
        header = read_header(path)
        shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
        try:
            order = header.dtype["mode"].byteorder
            dtype = dtype_from_mode(header["mode"]).newbyteorder(order)
        except ValueError as error:
            msg = f"{path} cannot be read as an MRC file: {error}"
            raise InputFileError(msg) from error
        if min(shape) <= 0 or dtype.kind == "c" or dtype.names:
            msg = f"{path} holds no real images, but {shape} values of type {dtype}"
            raise InputFileError(msg)

        offset = HEADER_BYTES + max(int(header["nsymbt"]), 0)
        expected = offset + math.prod(shape) * dtype.itemsize
        found = path.stat().st_size
        if found < expected:
            msg = (
                f"{path} is truncated: its header announces {shape[0]} × {shape[1]} × "
                f"{shape[2]} values, {expected} bytes in all, but the file has {found}"
            )
            raise InputFileError(msg)
        return cls(
            path=path,
            shape=shape,
            dtype=dtype,
            data_offset=offset,
            pixel_size=_pixel_size(header),
        )

    def sections(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Sections ``start`` to ``stop`` as a memory map in the type of the file."""
        count = (self.shape[0] if stop is None else stop) - start
        bytes_per_section = self.shape[1] * self.shape[2] * self.dtype.itemsize
        try:
            return np.memmap(
                self.path,
                dtype=self.dtype,
                mode="r",
                offset=self.data_offset + start * bytes_per_section,
                shape=(count, *self.shape[1:]),
            )
        except (OSError, ValueError) as error:
            msg = f"{self.path} cannot be read: {error}"
            raise InputFileError(msg) from error


def read_header(path: Path) -> np.ndarray:
    """The header of a file as it stands there, as one record in the byte order of the file.

    Raises:
        InputFileError: The file is missing, too short, or compressed.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(HEADER_BYTES)
    except OSError as error:
        msg = f"{path} cannot be read as an MRC file: {error.strerror}"
        raise InputFileError(msg) from error
    if content.startswith(COMPRESSED):
        msg = f"{path} is compressed; unpack it first"
        raise InputFileError(msg)
    if len(content) < HEADER_BYTES:
        msg = f"{path} cannot be read as an MRC file: it has {len(content)} bytes"
        raise InputFileError(msg)
    stamp = content[STAMP]
    first, second = (">", "<") if stamp == 0x11 else ("<", ">")
    records = [_record(content, order) for order in (first, second)]
    # Some programs write the wrong stamp; a mode that exists tells.
    known = [record for record in records if int(record["mode"]) in MODES]
    return (known or records)[0].copy()


def _record(content: bytes, order: Literal["<", ">"]) -> np.ndarray:
    return np.frombuffer(content, HEADER_DTYPE.newbyteorder(order))[0]


def _pixel_size(header: np.ndarray) -> float | None:
    # The y axis, because early versions of cryoDRGN exchanged mx and mz.
    intervals, length = int(header["my"]), float(header["cella"]["y"])
    if intervals <= 0 or not np.isfinite(length) or length <= 0:
        return None
    return round(length / intervals, 6) or None


def read_volume(path: Path) -> tuple[Float[np.ndarray, "box box box"], float | None]:
    """A cubic volume as float32, and its pixel size in Å if the header gives one.

    Raises:
        InputFileError: The file cannot be read, is no cube, or holds numbers that are not
            finite.
    """
    volume, pixel_size = read_map(path)
    if len(set(volume.shape)) != 1:
        sides = " × ".join(str(side) for side in volume.shape)
        msg = f"{path} is no cubic volume: {sides}"
        raise InputFileError(msg)
    return volume, pixel_size


def read_map(path: Path) -> tuple[Float[np.ndarray, "z y x"], float | None]:
    """A volume of any sides as float32, and its pixel size in Å if the header gives one.

    Raises:
        InputFileError: The file cannot be read or holds numbers that are not finite.
    """
    file = MrcFile.open(path)
    with np.errstate(over="ignore"):
        volume = np.array(file.sections(), dtype=np.float32)
    if not np.isfinite(volume).all():
        msg = f"{path} holds values that are not finite"
        raise InputFileError(msg)
    return volume, file.pixel_size


def write_volume(
    path: Path,
    volume: Float[np.ndarray, "z y x"],
    pixel_size: float,
    origin: float = 0.0,
) -> None:
    """Write a volume in float32.

    Args:
        path: The file to write.
        volume: The densities.
        pixel_size: Å/px.
        origin: Position of the first voxel on each axis, in Å.
    """
    values = np.ascontiguousarray(volume, dtype=np.float32)
    header = _new_header(values, pixel_size, is_volume=True)
    header["origin"] = (origin, origin, origin)
    with (
        atomic_path(path, HEADER_BYTES + values.nbytes) as partial,
        partial.open("wb") as file,
    ):
        file.write(header.tobytes())
        file.write(values.data)


class StackWriter:
    """Appends images to a stack and keeps the statistics its header needs.

    Made by :func:`stack_writer`.

    Args:
        path: The file.
        template: Its header.
        dtype: Type of the stored numbers.
        state: What :meth:`state` said of the part that is there already; None begins.
    """

    def __init__(
        self,
        path: Path,
        template: np.ndarray,
        dtype: np.dtype,
        state: Mapping[str, float] | None = None,
    ) -> None:
        self._header = template
        self._dtype = dtype
        begin = {"count": 0, "sum": 0.0, "squares": 0.0, "low": math.inf, "high": -math.inf}
        state = state or begin
        self.count = int(state["count"])
        self._sum, self._sum_of_squares = state["sum"], state["squares"]
        self._low, self._high = state["low"], state["high"]
        self._file = path.open("r+b" if self.count else "wb")
        if self.count:
            pixels = self.count * int(template["ny"]) * int(template["nx"])
            self._file.truncate(HEADER_BYTES + pixels * dtype.itemsize)
            self._file.seek(0, 2)
        else:
            self._file.write(template.tobytes())

    def append(self, images: Float[np.ndarray, "batch box box"]) -> None:
        """Write images behind those that are there."""
        with np.errstate(invalid="ignore", over="ignore"):
            stored = np.ascontiguousarray(images, dtype=self._dtype)
            self._file.write(stored.data)
            self.count += len(stored)
            finite = stored if np.isfinite(stored).all() else stored[np.isfinite(stored)]
            self._sum += float(finite.sum(dtype=np.float64))
            self._sum_of_squares += float(np.square(finite, dtype=np.float64).sum())
        if finite.size:
            self._low = min(self._low, float(finite.min()))
            self._high = max(self._high, float(finite.max()))

    def state(self) -> dict[str, float]:
        """State from which the writer can resume behind the images already written."""
        return {
            "count": self.count,
            "sum": self._sum,
            "squares": self._sum_of_squares,
            "low": self._low,
            "high": self._high,
        }

    def sync(self) -> None:
        """Wait until what was appended has reached the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Complete the header."""
        header = self._header
        pixels = self.count * int(header["ny"]) * int(header["nx"])
        mean = self._sum / max(pixels, 1)
        header["nz"] = self.count
        header["dmin"], header["dmax"], header["dmean"] = self._low, self._high, mean
        header["rms"] = np.sqrt(max(self._sum_of_squares / max(pixels, 1) - mean**2, 0.0))
        with self._file:
            self._file.seek(0)
            self._file.write(header.tobytes())


def stack_header(box_size: int, pixel_size: float | None, dtype: str) -> np.ndarray:
    """The header of a stack of no images yet."""
    return _new_header(np.zeros((1, box_size, box_size), dtype), pixel_size or 0.0)


def _new_header(
    values: np.ndarray, pixel_size: float, *, is_volume: bool = False
) -> np.ndarray:
    """The header of a volume or of a stack of images."""
    mrc = MrcObject()
    mrc._create_default_attributes()
    mrc.set_data(values)
    (mrc.set_volume if is_volume else mrc.set_image_stack)()
    mrc.voxel_size = pixel_size
    header = np.array(mrc.header)
    # mrcfile's label holds the time; equal data give equal files.
    header["nlabl"] = 1
    header["label"][0] = LABEL
    return header


@contextmanager
def stack_writer(
    path: Path,
    box_size: int,
    pixel_size: float | None,
    dtype: str = "float32",
    count: int | None = None,
) -> Iterator[StackWriter]:
    """A new stack, filled image by image, that appears at ``path`` when it is complete.

    Args:
        path: The stack to write.
        box_size: Side of the images in pixels.
        pixel_size: Å/px; None leaves it unknown.
        dtype: ``float32`` (mode 2) or ``float16`` (mode 12).
        count: Images that it will hold, if that is known; the disk must have room for them.
    """
    number = np.dtype(dtype)
    size = None if count is None else HEADER_BYTES + count * box_size**2 * number.itemsize
    with atomic_path(path, size) as partial:
        writer = StackWriter(partial, stack_header(box_size, pixel_size, dtype), number)
        try:
            yield writer
        finally:
            writer.close()
