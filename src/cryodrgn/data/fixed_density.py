"""A known density that stands beside what a model says, in every image."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.kernels.gridding import interpolate, table_of_volumes


class FixedDensity:
    """A volume whose slices are part of every predicted image.

    Args:
        volume: The volume, in units of normalised images.
        device: Where slices are wanted.
    """

    def __init__(self, volume: Float[Tensor, "box box box"], device: torch.device) -> None:
        self.volume = volume
        side = len(volume)
        self._grid = RfftVolumeGrid(side)
        self._table = table_of_volumes(volume.to(device)[None], side // 2)

    def slices(
        self, coordinates: Float[Tensor, "images points 3"]
    ) -> Float[Tensor, "images points 2"]:
        """The transform, trilinear between the points of its grid.

        Args:
            coordinates: (kx, ky, kz) in cycles per pixel.
        """
        points = (coordinates * self._grid.box_size).reshape(-1, 3)
        return interpolate(self._grid, self._table, points).view(*coordinates.shape[:2], 2)
