"""Slices of reference maps, read off one table for all rotations that are compared."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid, interpolation_envelope
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.kernels.gridding import interpolate, slice_table

PADDING = 2


def box_within(radius: int) -> int:
    """Side in voxels of the smallest maps that hold all frequencies up to a radius."""
    return 2 * (radius + 1)


class Slices:
    """Slices of maps within a radius.

    Args:
        volumes: Real maps of the side :func:`box_within` of the radius: those of the whole box
            with the frequencies beyond left out.
        radius: Where slices end, in cycles per box.

    Attributes:
        num_maps: Number of maps.
        radius: Where slices end.
        grid: Layout of the padded half grid.
        table: Their transforms on it, see :func:`~cryodrgn.kernels.gridding.slice_table`.
    """

    def __init__(self, volumes: Float[Tensor, "maps box box box"], radius: int) -> None:
        box_size = volumes.shape[-1]
        padded = PADDING * box_size
        self.num_maps, self.radius = len(volumes), radius
        self.grid = RfftVolumeGrid(padded)
        envelope = interpolation_envelope(box_size, padded, volumes.device)
        margin = (padded - box_size) // 2
        spread = torch.nn.functional.pad(volumes / envelope, (margin,) * 6)
        # The grid points around a point within the radius may lie just beyond it.
        reach = PADDING * radius + math.sqrt(3)
        self.table = slice_table(self.grid, spread, reach)

    def at(
        self, points: Float[Tensor, "points 2"], axes: Float[Tensor, "*some axes 3"]
    ) -> Float[Tensor, "maps *some points 2"]:
        """Slices as pairs (real, imaginary).

        Args:
            points: (kx, ky) in cycles per box.
            axes: Of the slices, see :func:`~cryodrgn.imaging.slices.slice_axes`.
        """
        flat = axes.reshape(-1, *axes.shape[-2:])
        coordinates = slice_coordinates(PADDING * points, flat, float(PADDING * self.radius))
        values = interpolate(self.grid, self.table, coordinates.reshape(-1, 3))
        pairs = values.view(-1, 2, self.num_maps).permute(2, 0, 1)
        return pairs.reshape(self.num_maps, *axes.shape[:-2], len(points), 2)
