"""MRC volumes and image stacks.

Whether a file holds a volume or a stack of images is decided by the caller, never by the
header: programs disagree about its flags.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from jaxtyping import Float
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.mrcinterpreter import MrcInterpreter
from mrcfile.utils import data_dtype_from_header

from cryodrgn.errors import InputFileError
from cryodrgn.io.atomic import atomic_path

HEADER_BYTES = 1024
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
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                with mrcfile.open(path, permissive=True, header_only=True) as mrc:
                    header = _header(mrc)
                    dtype = data_dtype_from_header(header)
        except (OSError, ValueError) as error:
            msg = f"{path} cannot be read as an MRC file: {error}"
            raise InputFileError(msg) from error
        shape = (int(header.nz), int(header.ny), int(header.nx))
        if min(shape) <= 0 or dtype.kind == "c" or dtype.names:
            msg = f"{path} holds no real images, but {shape} values of type {dtype}"
            raise InputFileError(msg)

        offset = HEADER_BYTES + int(header.nsymbt)
        expected = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
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


def _pixel_size(header: np.recarray) -> float | None:
    # The y axis, because early versions of cryoDRGN exchanged mx and mz.
    intervals, length = int(header.my), float(header.cella.y)
    if intervals <= 0 or not np.isfinite(length) or length <= 0:
        return None
    return round(length / intervals, 6)


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
    with atomic_path(path) as partial, mrcfile.new(partial, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(volume, dtype=np.float32))
        mrc.set_volume()
        mrc.voxel_size = pixel_size
        _header(mrc).origin = (origin, origin, origin)
        _set_label(mrc)


class StackWriter:
    """Appends images to a stack and keeps the statistics its header needs.

    Made by :func:`stack_writer`.
    """

    def __init__(self, path: Path, template: np.ndarray, dtype: np.dtype) -> None:
        self._header = template
        self._dtype = dtype
        self._sum = self._sum_of_squares = 0.0
        self._low, self._high = np.inf, -np.inf
        self._count = 0
        self._file = path.open("wb")
        self._file.write(template.tobytes())

    def append(self, images: Float[np.ndarray, "batch box box"]) -> None:
        """Write images behind those that are there."""
        stored = np.ascontiguousarray(images, dtype=self._dtype)
        self._file.write(stored.data)
        self._count += len(stored)
        self._sum += float(stored.sum(dtype=np.float64))
        self._sum_of_squares += float(np.square(stored, dtype=np.float64).sum())
        self._low = min(self._low, float(stored.min()))
        self._high = max(self._high, float(stored.max()))

    def close(self) -> None:
        """Complete the header."""
        header = self._header
        pixels = self._count * int(header["ny"]) * int(header["nx"])
        mean = self._sum / max(pixels, 1)
        header["nz"] = self._count
        header["dmin"], header["dmax"], header["dmean"] = self._low, self._high, mean
        header["rms"] = np.sqrt(max(self._sum_of_squares / max(pixels, 1) - mean**2, 0.0))
        self._file.seek(0)
        self._file.write(header.tobytes())
        self._file.close()


@contextmanager
def stack_writer(
    path: Path, box_size: int, pixel_size: float | None, dtype: str = "float32"
) -> Iterator[StackWriter]:
    """A new stack, filled image by image, that appears at ``path`` when it is complete.

    Args:
        path: The stack to write.
        box_size: Side of the images in pixels.
        pixel_size: Å/px; None leaves it unknown.
        dtype: ``float32`` (mode 2) or ``float16`` (mode 12).
    """
    with atomic_path(path) as partial:
        with mrcfile.new(partial, overwrite=True) as mrc:
            mrc.set_data(np.zeros((1, box_size, box_size), dtype=dtype))
            mrc.set_image_stack()
            mrc.voxel_size = pixel_size or 0.0
            _set_label(mrc)
        template = np.fromfile(partial, dtype=HEADER_DTYPE, count=1)[0].copy()
        writer = StackWriter(partial, template, np.dtype(dtype))
        try:
            yield writer
        finally:
            writer.close()


def _header(mrc: MrcInterpreter) -> np.recarray:
    if mrc.header is None:
        msg = "the file has no header"
        raise ValueError(msg)
    return mrc.header


def _set_label(mrc: MrcInterpreter) -> None:
    """Replace mrcfile's label, which holds the time, so that equal data give equal files."""
    header = _header(mrc)
    header.nlabl = 1
    header.label[0] = LABEL
