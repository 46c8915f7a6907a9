"""MRC volumes and image stacks.

Whether a file holds a volume or a stack of images is decided by the caller, never by the
header: programs disagree about its flags.
"""

import logging
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
from cryodrgn.io.map_geometry import (
    BOX_TOLERANCE,
    STANDARD_ORDER,
    MapGeometry,
    axis_order,
    geometry_of,
)
from cryodrgn.io.recognise import BEGINNING, MRC, refuse_mistaken, unreadable
from cryodrgn.io.text import require_plain_file

logger = logging.getLogger(__name__)

HEADER_BYTES = 1024
# Where the header says the byte order; the modes there are.
STAMP = 212
MODES = frozenset({0, 1, 2, 4, 6, 12})
LABEL = "written by cryodrgn"


@dataclass(frozen=True, kw_only=True, slots=True)
class MrcFile:
    """An MRC file on disk, of which only the header has been read.

    Attributes:
        path: The file.
        shape: Sections, rows and columns.
        dtype: Type of the stored numbers, byte order included.
        data_offset: Where the numbers begin, in bytes.
        order: Axes that columns, rows and sections run along: 1, 2, 3 for x, y, z.
        geometry: Sampling, and place along x, y and z.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    data_offset: int
    order: tuple[int, int, int]
    geometry: MapGeometry

    @property
    def pixel_size(self) -> float | None:
        """Sampling in Å/px, None where the header gives none."""
        return self.geometry.pixel_size

    @classmethod
    def open(cls, path: Path) -> "MrcFile":
        """Read the header and check that the data behind it is complete.

        Raises:
            InputFileError: The file is missing, is no MRC file, holds numbers that are no
                real images, is shorter than its header says, or names no order of the axes.
        """
        header = read_header(path)
        shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
        try:
            order = header.dtype["mode"].byteorder
            dtype = dtype_from_mode(header["mode"]).newbyteorder(order)
        except ValueError as error:
            msg = f"{path} cannot be read as an MRC file: {error}"
            raise InputFileError(unreadable(path, MRC, msg)) from error
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
        order = axis_order(header, path)
        return cls(
            path=path,
            shape=shape,
            dtype=dtype,
            data_offset=offset,
            order=order,
            geometry=geometry_of(header, order, path),
        )

    def stored_axis(self, axis: int) -> int:
        """The axis of the stored sections (0), rows (1) or columns (2) along x (1), y or z."""
        return 2 - self.order.index(axis)

    def require_images(self) -> None:
        """Refuse a stack whose sections are no images of rows along y and columns along x.

        Raises:
            InputFileError: The axes of the file are in another order.
        """
        if self.order != STANDARD_ORDER:
            columns, rows, sections = self.order
            msg = (
                f"{self.path} is stored in axis order {columns}, {rows}, {sections} (MAPC, "
                "MAPR, MAPS in its header), expected 1, 2, 3 in a stack of images; write it "
                "again in that order"
            )
            raise InputFileError(msg)

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
        InputFileError: The file is missing, too short, or by its first bytes no MRC file.
    """
    require_plain_file(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
    except OSError as error:
        msg = f"{path} cannot be read as an MRC file: {error.strerror}"
        raise InputFileError(msg) from error
    refuse_mistaken(path, beginning)
    content = beginning[:HEADER_BYTES]
    if len(content) < HEADER_BYTES:
        msg = f"{path} cannot be read as an MRC file: it has {len(content)} bytes"
        raise InputFileError(unreadable(path, MRC, msg))
    stamp = content[STAMP]
    first, second = (">", "<") if stamp == 0x11 else ("<", ">")
    records = [_record(content, order) for order in (first, second)]
    # Some programs write the wrong stamp; a mode that exists tells.
    known = [record for record in records if int(record["mode"]) in MODES]
    return (known or records)[0].copy()


def _record(content: bytes, order: Literal["<", ">"]) -> np.ndarray:
    return np.frombuffer(content, HEADER_DTYPE.newbyteorder(order))[0]


def read_volume(path: Path) -> tuple[Float[np.ndarray, "box box box"], float | None]:
    """A cubic volume as float32, and its pixel size in Å if the header gives one.

    Raises:
        InputFileError: The file cannot be read, is no cube, or holds numbers that are not
            finite.
    """
    volume, geometry = read_map(path, cubic=True)
    return volume, geometry.pixel_size


def read_map(
    path: Path, *, cubic: bool = False
) -> tuple[Float[np.ndarray, "z y x"], MapGeometry]:
    """A volume as float32 with its sampling and place, in whatever axis order it is stored.

    Args:
        path: The file.
        cubic: Whether to refuse volumes of unequal sides.

    Raises:
        InputFileError: The file cannot be read, is no cube though it should be, or holds
            numbers that are not finite.
    """
    file = MrcFile.open(path)
    if cubic and len(set(file.shape)) != 1:
        sides = " × ".join(str(side) for side in file.shape)
        msg = f"{path} is no cubic volume: {sides}; give a map, not images"
        raise InputFileError(msg)
    _say_if_voxels_are_no_cubes(path)
    if file.order != STANDARD_ORDER:
        logger.info("%s is stored in axis order %d, %d, %d; read as 1, 2, 3", path, *file.order)
    stored = file.sections().transpose([file.stored_axis(axis) for axis in (3, 2, 1)])
    with np.errstate(over="ignore"):
        volume = np.array(stored, dtype=np.float32, order="C")
    if not np.isfinite(volume).all():
        msg = f"{path} holds values that are not finite"
        raise InputFileError(msg)
    return volume, file.geometry


def _say_if_voxels_are_no_cubes(path: Path) -> None:
    header = read_header(path)
    intervals = [int(header[name]) for name in ("mx", "my", "mz")]
    lengths = [float(header["cella"][axis]) for axis in "xyz"]
    if min(intervals) <= 0 or not np.isfinite(lengths).all() or min(lengths) <= 0:
        return
    sides = np.divide(lengths, intervals)
    if np.ptp(sides) > BOX_TOLERANCE * sides[1]:
        logger.warning(
            "%s has voxels of %.4g × %.4g × %.4g Å by its header: they are taken for cubes of "
            "%.4g Å",
            path,
            *sides,
            sides[1],
        )


def write_volume(
    path: Path, volume: Float[np.ndarray, "z y x"], geometry: MapGeometry | float
) -> None:
    """Write a volume in float32, in the standard axis order.

    Args:
        path: The file to write.
        volume: The densities.
        geometry: Sampling and place; or only the pixel size in Å/px, which places the first
            voxel at zero.
    """
    header, values = _volume_parts(volume, geometry)
    with (
        atomic_path(path, HEADER_BYTES + values.nbytes) as partial,
        partial.open("wb") as file,
    ):
        file.write(header)
        file.write(values.data)


def volume_bytes(volume: Float[np.ndarray, "z y x"], geometry: MapGeometry | float) -> bytes:
    """The content of the file that :func:`write_volume` writes."""
    header, values = _volume_parts(volume, geometry)
    return header + values.tobytes()


def _volume_parts(
    volume: Float[np.ndarray, "z y x"], geometry: MapGeometry | float
) -> tuple[bytes, np.ndarray]:
    """Header and values of a volume's file."""
    if isinstance(geometry, float | int):
        geometry = MapGeometry(pixel_size=float(geometry))
    values = np.ascontiguousarray(volume, dtype=np.float32)
    header = _new_header(values, geometry.pixel_size or 0.0, is_volume=True)
    geometry.write_to(header)
    return header.tobytes(), values


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
