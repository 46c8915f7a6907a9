"""Projections of volumes by way of their central slices."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.grids import HalfLattice
from cryodrgn.fourier.half_grid import HalfGrid, interpolation_envelope
from cryodrgn.imaging.slices import slice_coordinates

# Interpolation errors fall with the square of the padding, its memory grows with the cube.
PADDING, PADDING_OF_LARGE_BOXES, LARGE_BOX = 3, 2, 160


class VolumeSlicer:
    """Slices of the transform of one volume.

    The volume is divided by the envelope of trilinear interpolation and padded with zeros to
    three times its box (twice, if that is large) before its transform is interpolated.

    Args:
        volume: The volume.
    """

    def __init__(self, volume: Float[Tensor, "box box box"]) -> None:
        self.box_size = volume.shape[0]
        self._padding = PADDING if self.box_size < LARGE_BOX else PADDING_OF_LARGE_BOXES
        padded = self._padding * self.box_size
        envelope = interpolation_envelope(self.box_size, padded, volume.device)
        margin = (padded - self.box_size) // 2
        self._grid = HalfGrid(padded)
        spectrum = self._grid.spectrum_of(
            torch.nn.functional.pad(volume / envelope, (margin,) * 6)
        )
        self._spectrum = torch.view_as_real(spectrum).reshape(-1, 2)

    def slices(
        self, lattice: HalfLattice, rotations: Float[Tensor, "batch 3 3"]
    ) -> Float[Tensor, "batch points 2"]:
        """The transforms of projections.

        Args:
            lattice: Frequencies wanted, for images of the volume's box size.
            rotations: From the volume's frame to the image's.
        """
        points = slice_coordinates(self._padding * lattice.points.float(), rotations)
        points = points.reshape(-1, 3)
        sign, neighbours = self._grid.neighbours(points)
        values = torch.zeros(len(points), 2, device=points.device)
        for places, shares in neighbours:
            values += self._spectrum[places] * shares[:, None]
        values[:, 1] *= sign
        return values.reshape(len(rotations), -1, 2)
