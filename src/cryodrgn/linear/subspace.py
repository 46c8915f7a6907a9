"""A mean volume and components about it, up to a radius in Fourier space."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.resample import resize_volume
from cryodrgn.kernels.gridding import table_of_volumes

# Voxels of a grid beyond the radius that interpolation still asks for.
MARGIN = 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subspace:
    """Volumes V_0 (the mean), V_1 … V_K (components of latents of unit variance).

    They stand in a box just large enough for their radius, of the same side in Å as the images.

    Attributes:
        volumes: The volumes, masked.
        prior: Variance of each volume's transform by shell, as if it filled the whole box.
        radius: Where the transforms end, in cycles per box.
    """

    volumes: Float[Tensor, "volumes box box box"]
    prior: Float[Tensor, "volumes shells"]
    radius: int

    @property
    def num_components(self) -> int:
        """Number K of components."""
        return len(self.volumes) - 1

    @property
    def grid(self) -> RfftVolumeGrid:
        """The grid of the volumes' transforms."""
        return RfftVolumeGrid(self.volumes.shape[-1])

    def table(self) -> Float[Tensor, "voxels columns"]:
        """Transforms to read slices from."""
        return table_of_volumes(self.volumes, self.radius)

    def power(self) -> Float[Tensor, "volumes shells"]:
        """Mean square of the real numbers of each volume's transform, by shell."""
        squares = self.table().square().unflatten(1, (2, -1)).mean(1)
        return shell_averages(self.grid, squares, self.radius).T

    def grown(self, radius: int, box_size: int) -> "Subspace":
        """These volumes in the box for a larger radius; images are of ``box_size``."""
        side = grid_size(radius, box_size)
        volumes = torch.stack([resize_volume(volume, side) for volume in self.volumes])
        missing = radius - self.radius
        last = self.prior[:, -1:].expand(-1, missing)
        return Subspace(
            volumes=volumes, prior=torch.cat([self.prior, last], dim=1), radius=radius
        )


def grid_size(radius: int, box_size: int) -> int:
    """Side of the smallest box whose half grid serves a radius, at most that of the images."""
    return min(2 * (radius + MARGIN), box_size)


def grid_shells(
    grid: RfftVolumeGrid, radius: int, device: torch.device
) -> Int[Tensor, " voxels"]:
    """Shell of every point of a half grid, ``radius`` + 1 for those further out."""
    return grid.radii(device).flatten().round().long().clamp_max(radius + 1)


def shell_averages(
    grid: RfftVolumeGrid, quantity: Float[Tensor, "voxels columns"], radius: int
) -> Float[Tensor, "shells columns"]:
    """Means over the shells 0 … ``radius`` + 1 of quantities on a half grid."""
    shells = grid_shells(grid, radius, quantity.device)
    inside = grid.radii(quantity.device).flatten() <= radius + 1
    sums = quantity.new_zeros(radius + 2, quantity.shape[1])
    sums.index_add_(0, shells[inside], quantity[inside])
    counts = torch.bincount(shells[inside], minlength=radius + 2)
    return sums / counts[:, None].clamp_min(1)


def principal_directions(
    components: Float[Tensor, "components values"], mean: Float[Tensor, " values"]
) -> Float[Tensor, "components directions"]:
    """Orthogonal combinations of components, as columns, the one of most power first.

    Their signs are such that going along one adds to what the mean has: without a rule, last
    digits would decide them.
    """
    _, directions = torch.linalg.eigh((components @ components.T).double())
    directions = directions.flip(1).float()
    overlap = directions.T @ (components @ mean)
    return torch.where(overlap < 0, -directions, directions)
