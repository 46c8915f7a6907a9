"""Sampling, place and axis order of a map, as the headers of MRC files hold them.

Words of the header are those of MRC2014 (Cheng et al. 2015, J. Struct. Biol. 192, 146):
NX, NY, NZ and NXSTART, NYSTART, NZSTART belong to columns, rows and sections; MX, MY, MZ, the
cell and ORIGIN to the axes x, y and z; MAPC, MAPR, MAPS say which axis columns, rows and
sections run along.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from cryodrgn.errors import InputFileError

logger = logging.getLogger(__name__)

# MAPC, MAPR, MAPS of a file whose columns run along x, rows along y, sections along z.
STANDARD_ORDER = (1, 2, 3)
# By what fraction the sides in Å of equal boxes may differ, since headers round pixel sizes.
BOX_TOLERANCE = 0.01
LARGEST_START = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class MapGeometry:
    """Sampling of a map and its place in space, along x, y and z.

    ChimeraX places the first voxel at the origin, or at start × pixel size where the origin is
    zero on all axes. Crystallographic programs go by start alone.

    Attributes:
        pixel_size: Å/px; None if it is unknown.
        origin: Position of the first voxel in Å.
        start: Number of the first voxel on the grid of the unit cell.
    """

    pixel_size: float | None
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    start: tuple[int, int, int] = (0, 0, 0)

    def resampled(self, old_box_size: int, new_box_size: int) -> "MapGeometry":
        """The geometry of the same cubic box on another grid.

        The first voxel stays where it is, as Fourier cropping leaves it. Where its number on
        the new grid is not whole, an origin in Å takes the place of start.

        Args:
            old_box_size: Side in voxels now.
            new_box_size: Side in voxels afterwards.
        """
        pixel_size = self.pixel_size and self.pixel_size * old_box_size / new_box_size
        starts = [Fraction(start * new_box_size, old_box_size) for start in self.start]
        return self._at(starts, pixel_size)

    def cropped(self, margin: int) -> "MapGeometry":
        """The geometry of what is left when so many voxels are cut off before each axis."""
        is_counted = any(self.start)
        length = margin * (self.pixel_size or 0.0)
        if is_counted and not any(self.origin):
            length = 0.0
        x, y, z = self.origin
        moved = replace(self, origin=(x + length, y + length, z + length))
        if not is_counted:
            return moved
        return moved._at([Fraction(start + margin) for start in self.start], self.pixel_size)

    def _at(self, starts: Sequence[Fraction], pixel_size: float | None) -> "MapGeometry":
        """The geometry with other starts, that of a header being whole and of 32 bits."""
        x, y, z = (min(max(round(start), -LARGEST_START), LARGEST_START) for start in starts)
        is_exact = [x, y, z] == list(starts)
        origin = self.origin
        if not is_exact and not any(origin) and pixel_size is not None:
            first, second, third = (float(start) * pixel_size for start in starts)
            origin = (first, second, third)
        if not is_exact:
            logger.info(
                "the map begins between voxels of the new grid: NXSTART, NYSTART, NZSTART are "
                "rounded to %d, %d, %d; %s",
                x,
                y,
                z,
                "the origin in Å is exact" if any(origin) else "there is no origin in Å",
            )
        return MapGeometry(pixel_size=pixel_size, origin=origin, start=(x, y, z))

    def write_to(self, header: np.ndarray) -> None:
        """Set the place of a map in the header of a file of standard axis order."""
        header["origin"] = self.origin
        header["nxstart"], header["nystart"], header["nzstart"] = self.start


def axis_order(header: np.ndarray, path: Path) -> tuple[int, int, int]:
    """The axes that columns, rows and sections run along: 1, 2, 3 for x, y, z.

    Old programs leave all three words zero, which means the standard order.

    Raises:
        InputFileError: The words are no order of the three axes.
    """
    order = (int(header["mapc"]), int(header["mapr"]), int(header["maps"]))
    if order == (0, 0, 0):
        return STANDARD_ORDER
    if set(order) != set(STANDARD_ORDER):
        msg = (
            f"{path} says that its columns, rows and sections run along axes {order[0]}, "
            f"{order[1]} and {order[2]} (MAPC, MAPR, MAPS in its header), expected 1, 2 and 3 "
            "in some order; write it again with a program that sets them"
        )
        raise InputFileError(msg)
    return order


def geometry_of(header: np.ndarray, order: tuple[int, int, int], path: Path) -> MapGeometry:
    """Sampling and place of a map from its header.

    Args:
        header: The header.
        order: What :func:`axis_order` found there.
        path: The file, for messages.
    """
    stored = header["nxstart"], header["nystart"], header["nzstart"]
    x, y, z = (int(stored[order.index(axis)]) for axis in STANDARD_ORDER)
    origin = (0.0, 0.0, 0.0)
    # Without this word the format is older and has something else in place of the origin.
    if bytes(header["map"]).startswith(b"MAP"):
        first, second, third = (float(header["origin"][axis]) for axis in "xyz")
        if np.isfinite([first, second, third]).all():
            origin = (first, second, third)
        else:
            logger.warning("%s has an origin that is not finite, taken for 0", path)
    return MapGeometry(pixel_size=_pixel_size(header), origin=origin, start=(x, y, z))


def _pixel_size(header: np.ndarray) -> float | None:
    # The y axis, because early versions of cryoDRGN exchanged mx and mz.
    intervals, length = int(header["my"]), float(header["cella"]["y"])
    if intervals <= 0 or not np.isfinite(length) or length <= 0:
        return None
    return round(length / intervals, 6) or None
