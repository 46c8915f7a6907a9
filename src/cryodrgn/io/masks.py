"""Masks that a user gives, fitted to the volumes they are for."""

import logging
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.io.map_geometry import BOX_TOLERANCE
from cryodrgn.io.mrc import read_volume

logger = logging.getLogger(__name__)

# A mask is 1 somewhere. Resampled ones may fall short of it; a map of density does by far.
LEAST_MAXIMUM = 0.5


def read_mask(
    path: Path, box_size: int, pixel_size: float | None
) -> Float[Tensor, "box box box"]:
    """A mask with values from 0 to 1, resampled if it was made at another pixel size.

    Masks come from refinements, whose images are often larger than those of a training. One
    of another number of voxels is resampled if its header says that it fills the same box. One
    of the same number is taken as it is; a header that says another pixel size is warned of.

    Args:
        path: A cubic volume (.mrc).
        box_size: Side in voxels of the volumes that the mask is for.
        pixel_size: Theirs, Å; None if it is unknown.

    Raises:
        InputFileError: The file cannot be read or is no cubic volume.
        ConfigError: Values outside 0 to 1, or nowhere near 1, as those of a map.
        ShapeMismatchError: The box is another one, or there is no telling.
    """
    volume, own_pixel_size = read_volume(path)
    if volume.min() < -1e-3 or not LEAST_MAXIMUM <= volume.max() < 1 + 1e-3:
        msg = (
            f"{path} is no mask: its values run from {volume.min():g} to {volume.max():g}, "
            "expected from 0 outside to 1 inside; gen_mask makes one of a map"
        )
        raise ConfigError(msg)
    mask = torch.from_numpy(volume).clamp(0, 1)
    if len(mask) == box_size:
        _warn_of_other_pixels(path, own_pixel_size, pixel_size)
        return mask
    sides = f"the mask {path} has {len(mask)} voxels a side, expected {box_size}"
    if own_pixel_size is None or pixel_size is None or len(mask) % 2:
        msg = (
            f"{sides}; it is resampled only if its side is even and its header holds the pixel "
            "size, which add_psize sets"
        )
        raise ShapeMismatchError(msg)
    lengths = len(mask) * own_pixel_size, box_size * pixel_size
    if abs(lengths[0] / lengths[1] - 1) > BOX_TOLERANCE:
        msg = (
            f"{sides}, and fills a box of {lengths[0]:.1f} Å instead of {lengths[1]:.1f} Å; "
            "correct its pixel size with add_psize, or make a mask in that box"
        )
        raise ShapeMismatchError(msg)
    logger.info("%s was resampled from %d to %d voxels a side", path, len(mask), box_size)
    return resize_mask(mask, box_size)


def _warn_of_other_pixels(path: Path, own: float | None, pixel_size: float | None) -> None:
    if own is None or pixel_size is None or abs(own / pixel_size - 1) <= BOX_TOLERANCE:
        return
    logger.warning(
        "the mask %s has %.4g Å/px by its header, the volumes that it is for have %.4g: it is "
        "taken voxel by voxel; if it was made for a map of another size, make one of these "
        "volumes with gen_mask, and if its header is wrong, add_psize corrects it",
        path,
        own,
        pixel_size,
    )
