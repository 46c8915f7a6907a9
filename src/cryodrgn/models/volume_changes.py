"""Changes of the volumes of a linear model, which learn along with a network on them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.fourier.half_grid import RfftVolumeGrid, interpolation_envelope
from cryodrgn.kernels.gridding import interpolate

# Length of their steps, as a share of that of the network's, which answers in the same units.
RATE = 0.1


class VolumeChanges(nn.Module):
    """Transforms of changes of volumes, on the half grid of their box.

    A step of the optimiser of length s changes the transform at k by 0.1 s a(|k|), a(|k|) being
    the unit of the network there. Slices are trilinear between the points of the grid.

    Args:
        count: Number of volumes.
        box_size: Their side.
    """

    has_tiny_gradients = True

    def __init__(self, count: int, box_size: int) -> None:
        super().__init__()
        self.grid = RfftVolumeGrid(box_size)
        rows = math.prod(self.grid.shape)
        # Real parts of all volumes, then imaginary parts, as slices are read off them.
        self.steps = nn.Parameter(torch.zeros(rows, 2 * count))
        self.register_buffer("units", torch.zeros(rows, 1), persistent=False)

    @staticmethod
    def num_weights(count: int, box_size: int) -> int:
        """Number of weights of the changes of so many volumes."""
        return 2 * count * math.prod(RfftVolumeGrid(box_size).shape)

    def measure_in(self, units: Float[Tensor, "z y x 1"]) -> None:
        """Take these for the units at the points of the grid."""
        with torch.inference_mode(mode=False), torch.no_grad():
            is_inside = self.grid.radii(units.device) < self.grid.box_size // 2
            self.units = (RATE * units * is_inside[..., None]).flatten(0, 2).clone()

    def table(self) -> Float[Tensor, "voxels columns"]:
        """The transforms, those of real volumes: at kx = 0, k and −k are conjugated."""
        table = (self.steps * self.get_buffer("units")).view(*self.grid.shape, -1)
        plane = table[:, :, :1]
        real, imaginary = plane.flip(0, 1).chunk(2, dim=-1)
        plane = (plane + torch.cat([real, -imaginary], dim=-1)) / 2
        return torch.cat([plane, table[:, :, 1:]], dim=2).flatten(0, 2)

    def forward(
        self,
        frequencies: Float[Tensor, "batch points 3"],
        coefficients: Float[Tensor, "batch volumes"],
        table: Float[Tensor, "voxels columns"] | None = None,
    ) -> Float[Tensor, "batch points 2"]:
        """Transforms of sums of the changes.

        Args:
            frequencies: (kx, ky, kz) in cycles per pixel.
            coefficients: How much of each change is in the sums.
            table: That of :meth:`table`, where it is known.
        """
        points = (frequencies * self.grid.box_size).reshape(-1, 3)
        read = interpolate(self.grid, self.table() if table is None else table, points)
        slices = read.view(*frequencies.shape[:2], 2, -1)
        return (slices.flatten(1, 2) @ coefficients[..., None]).view(slices.shape[:3])

    def volume(self, coefficients: Float[Tensor, " volumes"]) -> Float[Tensor, "box box box"]:
        """A sum of the changes in real space."""
        side = self.grid.box_size
        real, imaginary = (part @ coefficients for part in self.table().chunk(2, dim=1))
        spectrum = torch.complex(real, imaginary).view(self.grid.shape)
        volume = self.grid.volume_of(spectrum)
        return volume * interpolation_envelope(side, side, volume.device)
