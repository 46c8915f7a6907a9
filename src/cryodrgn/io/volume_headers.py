"""Recognition of volumes, given in place of images, by their header."""

from pathlib import Path

from cryodrgn.errors import InputFileError
from cryodrgn.io.mrc import read_header

# MRC2014: space group 1 is a volume, 401 and more a stack of volumes, 0 images.
VOLUME, STACK_OF_VOLUMES = 1, 401


def volume_in_words(path: Path) -> str | None:
    """The volume that a file holds by its header; None if it may hold images.

    Programs disagree about the space group of image stacks, so that alone makes no volume:
    a volume is as high as it is wide, and its header counts its sections as one unit cell
    (``mz``) or names the space group of volumes.

    Raises:
        InputFileError: The header cannot be read.
    """
    header = read_header(path)
    group, (columns, rows, sections) = (
        int(header["ispg"]),
        (int(header[f"n{a}"]) for a in "xyz"),
    )
    cell = int(header["mz"])
    if group >= STACK_OF_VOLUMES:
        return f"a stack of volumes (space group {group} in its header)"
    is_cube = columns == rows == sections > 1
    if is_cube and (group == VOLUME or cell == sections):
        return (
            f"a volume ({columns} × {rows} × {sections} voxels, space group {group} and mz "
            f"{cell} in its header)"
        )
    return None


def refuse_volume(path: Path) -> None:
    """Refuse a volume where images are wanted.

    Raises:
        InputFileError: The file is one.
    """
    words = volume_in_words(path)
    if words is not None:
        msg = (
            f"{path} is {words}, expected images; pass a stack of particles, or give the file "
            "a name that ends in .mrcs if it holds images after all"
        )
        raise InputFileError(msg)
