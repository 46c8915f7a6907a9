"""Shifts that a pose search tries: a whole grid of them, and those around known poses."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.kernels.backends import kernels_for
from cryodrgn.orientation.comparison import WhitenedImages
from cryodrgn.orientation.settings import GridSettings
from cryodrgn.orientation.slices import PADDING, Slices

# A shift is told from the next one by a quarter of the shortest wave that is compared.
STEPS_PER_WAVE = 4


def local_pose_search(
    slices: Slices,
    points: Float[Tensor, "points 2"],
    observed: WhitenedImages,
    axes: Float[Tensor, "batch kept parts axes 3"],
    shifts: Float[Tensor, "batch kept 2"],
    steps: Float[Tensor, "steps 2"],
) -> tuple[Float[Tensor, "batch kept parts"], Int[Tensor, "batch kept parts"]]:
    """The gain of each slice at the best of the nearby shifts, and which of these it is.

    Gains are those of :func:`~cryodrgn.imaging.likelihood.log_likelihood_ratios`.

    Args:
        slices: The reference, of one map.
        points: (kx, ky) in cycles per box, within the radius of the slices.
        observed: The images, at these points.
        axes: Of the slices that each image is compared with, several around each kept pose, see
            :func:`~cryodrgn.imaging.slices.slice_axes`.
        shifts: (x, y) of the kept poses as fractions of the box.
        steps: Shifts that are tried, from there.
    """
    return kernels_for(points.device).local_pose_search(
        slices.grid,
        slices.table,
        PADDING,
        points,
        observed.images,
        observed.weights,
        axes,
        shifts,
        steps,
    )


def shift_grid(
    settings: GridSettings, level: int, radius: int, box_size: int
) -> tuple[Float[Tensor, "shifts 2"], float]:
    """The grid of shifts that is searched whole, and its spacing.

    Args:
        settings: Its extent and number of points.
        level: Level of the grid of rotations.
        radius: Of the frequencies compared, in cycles per box.
        box_size: Side of the images in pixels.

    Returns:
        (x, y) as fractions of the box, and the distance of neighbours.
    """
    extent = settings.shift_extent_px / box_size
    centre = torch.tensor(settings.shift_centre_px) / box_size
    if extent == 0:
        return centre[None], 0.0
    told_apart = math.ceil(2 * extent * STEPS_PER_WAVE * radius)
    count = max(1, min(settings.num_shifts * 2 ** (level - 1), told_apart))
    spacing = 2 * extent / count
    axis = (torch.arange(count) + 0.5) * spacing - extent
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2) + centre, spacing
