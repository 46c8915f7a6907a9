"""The map that a user gives for other volumes to lie on."""

import logging
from dataclasses import replace
from pathlib import Path

from cryodrgn.errors import InputFileError, ShapeMismatchError
from cryodrgn.io.map_geometry import BOX_TOLERANCE, MapGeometry
from cryodrgn.io.mrc import MrcFile

logger = logging.getLogger(__name__)


def geometry_like(path: Path | None, box_size: int, pixel_size: float) -> MapGeometry:
    """Sampling of volumes, and the place at which they lie on a given map.

    Args:
        path: A cubic map of the same box, at any pixel size; None places volumes at zero.
        box_size: Side of the volumes in voxels.
        pixel_size: Theirs, Å.

    Raises:
        InputFileError: The map cannot be read, is no cube of even side, or its pixel size is
            unknown.
        ShapeMismatchError: Its box is another one.
    """
    if path is None:
        return MapGeometry(pixel_size=pixel_size)
    file = MrcFile.open(path)
    side, found = file.shape[0], file.geometry
    if len(set(file.shape)) != 1 or side % 2:
        sides = " × ".join(str(side) for side in file.shape)
        msg = f"volumes can lie on a cubic map of even sides only, but {path} is {sides} voxels"
        raise InputFileError(msg)
    if found.pixel_size is None:
        msg = f"the header of {path} holds no pixel size; set it with add_psize"
        raise InputFileError(msg)
    lengths = side * found.pixel_size, box_size * pixel_size
    if abs(lengths[0] / lengths[1] - 1) > BOX_TOLERANCE:
        msg = (
            f"{path} fills a box of {lengths[0]:.1f} Å, but the volumes fill one of "
            f"{lengths[1]:.1f} Å ({box_size} voxels of {pixel_size:g} Å) and cannot lie on it; "
            "give the map that the poses come from, or correct its pixel size with add_psize"
        )
        raise ShapeMismatchError(msg)
    placed = replace(found.resampled(side, box_size), pixel_size=pixel_size)
    logger.info(
        "volumes will lie on %s: origin (x y z) %g %g %g Å, NXSTART, NYSTART, NZSTART %d %d %d",
        path,
        *placed.origin,
        *placed.start,
    )
    return placed
