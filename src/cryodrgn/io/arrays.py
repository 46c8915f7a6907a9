"""numpy's files of arrays (``.npy``, ``.npz``), given no more memory than they hold."""

import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cryodrgn.errors import InputFileError
from cryodrgn.io.recognise import ARRAY, unreadable
from cryodrgn.io.text import require_file

# Bytes that an archive may unpack to, besides so many times its own size.
SMALL_ARCHIVE, LARGEST_RATIO = 2**26, 50
LONGEST_HEADER = 100_000


def read_npy(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file; types that hold Python objects are refused.

    Raises:
        InputFileError: The file cannot be read, or is shorter than its header says.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise InputFileError(msg) from error
    except Exception as error:
        # A damaged header makes numpy raise nearly anything.
        msg = f"{path} cannot be read as a numpy array: {_reason(error)}"
        raise InputFileError(unreadable(path, ARRAY, msg)) from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by name.

    Raises:
        InputFileError: The file cannot be read, or would unpack to far more than it holds.
    """
    require_file(path, may_be_zip=True)
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
            most = max(SMALL_ARCHIVE, LARGEST_RATIO * path.stat().st_size)
            if total > most:
                msg = f"it would unpack to {total} bytes"
                raise ValueError(msg)
            arrays = {}
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    arrays[entry.filename.removesuffix(".npy")] = _read(file, entry.file_size)
            return arrays
    except Exception as error:
        msg = f"{path} cannot be read as numpy arrays: {_reason(error)}"
        raise InputFileError(msg) from error


def _read(file: Any, size: int) -> np.ndarray:
    """An array, after a check that the file is as long as its header says."""
    shape, is_fortran, dtype = _header(file)
    expected = math.prod(shape) * dtype.itemsize
    available = size - file.tell()
    if dtype.hasobject:
        msg = "it holds Python objects, which are not read"
        raise ValueError(msg)
    if min(shape, default=0) < 0 or expected > available:
        msg = (
            f"the header announces an array of shape {shape} and type {dtype.kind}"
            f"{dtype.itemsize}, but {available} bytes follow"
        )
        raise ValueError(msg)
    if 0 in shape and math.prod(n for n in shape if n) > LONGEST_HEADER:
        msg = f"an array of shape {shape} holds nothing"
        raise ValueError(msg)
    array = np.frombuffer(bytearray(file.read(expected)), dtype, count=math.prod(shape))
    return array.reshape(shape, order="F" if is_fortran else "C")


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
    except ValueError as error:
        msg = "it does not begin with \\x93NUMPY, as .cs and .npy files do"
        raise ValueError(msg) from error
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file, max_header_size=LONGEST_HEADER)
    return np.lib.format.read_array_header_2_0(file, max_header_size=LONGEST_HEADER)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
