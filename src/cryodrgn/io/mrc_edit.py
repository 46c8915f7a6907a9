"""Changes to MRC files that leave the rest of the header, and if possible the data, alone."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cryodrgn.errors import ConfigError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.mrc import MrcFile, read_header

logger = logging.getLogger(__name__)

MODE_FLOAT32 = 2
BYTES_AT_A_TIME = 2**26


def rewrite_map(
    source: Path,
    output: Path,
    *,
    pixel_size: float | None = None,
    reverse: bool = False,
    negate: bool = False,
) -> None:
    """Copy a volume or stack with another pixel size, sign, or direction of the z axis.

    Everything else is kept: origin, axis order, labels, extended header, byte order, and the
    type of the numbers, which becomes float32 only where the sign changes.

    Args:
        source: The file.
        output: Where the changed copy goes; may be the same path.
        pixel_size: Å/px to write into the header; None leaves it.
        reverse: Whether to reverse the z axis, which mirrors a volume.
        negate: Whether to change the sign of all values.

    Raises:
        ConfigError: The pixel size is not positive.
        CryodrgnError: The file cannot be read or written.
    """
    if pixel_size is not None and not pixel_size > 0:
        msg = f"the pixel size must be positive, got {pixel_size:g}"
        raise ConfigError(msg)
    file = MrcFile.open(source)
    header = read_header(file.path)
    if reverse:
        _warn_of_images(file)
    if pixel_size is not None:
        _set_pixel_size(header, file, pixel_size)
    dtype = file.dtype
    if negate:
        dtype = np.dtype(f"{header.dtype['mode'].str[0]}f4")
        header["mode"] = MODE_FLOAT32
        # Statistics that are not set are marked by dmax < dmin or a mean below both.
        if header["dmin"] <= header["dmean"] <= header["dmax"]:
            low, high = -header["dmax"], -header["dmin"]
            header["dmin"], header["dmax"], header["dmean"] = low, high, -header["dmean"]
    with atomic_path(output) as partial, partial.open("wb") as target:
        target.write(header.tobytes())
        with source.open("rb") as content:
            content.seek(header.nbytes)
            target.write(content.read(file.data_offset - header.nbytes))
            if not (reverse or negate):
                shutil.copyfileobj(content, target)
        if reverse or negate:
            for part in _parts(file, reverse=reverse):
                # A negative comes out in the byte order of the machine.
                values = (-part.astype(np.float32)).astype(dtype) if negate else part
                target.write(np.ascontiguousarray(values).data)


def _set_pixel_size(header: np.ndarray, file: MrcFile, pixel_size: float) -> None:
    """Write Å/px into a header, whose cell may be unset."""
    for number, axis in enumerate("xyz", start=1):
        if header[f"m{axis}"] <= 0:
            header[f"m{axis}"] = file.shape[file.stored_axis(number)]
        header["cella"][axis] = pixel_size * header[f"m{axis}"]


def _warn_of_images(file: MrcFile) -> None:
    """Say so if sections that are put in reverse order look like images."""
    if len(set(file.shape)) != 1:
        logger.warning(
            "%s is no cubic volume (%s): its sections are put in reverse order, which mirrors "
            "no images",
            file.path,
            " × ".join(map(str, file.shape)),
        )


def describe_header(path: Path) -> list[str]:
    """The fields of a header, a line each, the labels as text."""
    file = MrcFile.open(path)
    header = read_header(file.path)
    lines = []
    for name in header.dtype.names or ():
        value = header[name]
        if name == "label":
            texts = [bytes(label).decode("ascii", "replace").strip() for label in value]
            lines += [f"label {number}: {text}" for number, text in enumerate(texts) if text]
        elif value.dtype.names:
            lines.append(f"{name}: {', '.join(f'{part:g}' for part in value.item())}")
        else:
            lines.append(f"{name}: {value.tolist()!r}")
    size = "unknown" if file.pixel_size is None else f"{file.pixel_size:g} Å/px"
    sections, rows, columns = file.shape
    lines.append(
        f"{sections} sections of {rows} × {columns} numbers of type {file.dtype.name}; "
        f"pixel size {size}"
    )
    return lines


def _parts(file: MrcFile, *, reverse: bool) -> Iterator[np.ndarray]:
    """The sections, some at a time, of the file or of one with the z axis reversed."""
    count = file.shape[0]
    axis = file.stored_axis(3) if reverse else None
    size = max(1, BYTES_AT_A_TIME // (file.shape[1] * file.shape[2] * file.dtype.itemsize))
    for start in range(0, count, size):
        stop = min(start + size, count)
        if axis is None:
            yield file.sections(start, stop)
        elif axis == 0:
            yield file.sections(count - stop, count - start)[::-1]
        else:
            yield np.flip(file.sections(start, stop), axis)
