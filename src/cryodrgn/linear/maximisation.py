"""Volumes from sums over images: regularised least squares, voxel by voxel."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.gridding import SliceSums
from cryodrgn.fourier.half_grid import interpolation_envelope
from cryodrgn.linear.subspace import grid_shells, shell_averages

VOXELS_PER_BATCH = 20_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Solution:
    """Volumes and how certain they are.

    Attributes:
        volumes: The volumes, masked.
        covariance: Posterior covariance of a voxel's values across volumes, by shell.
        noise: Variance that a volume of coefficient 1 would have without prior, by shell.
    """

    volumes: Float[Tensor, "volumes box box box"]
    covariance: Float[Tensor, "shells volumes volumes"]
    noise: Float[Tensor, " shells"]


def solve(
    sums: SliceSums,
    prior: Float[Tensor, "volumes shells"],
    mask: Float[Tensor, "volumes box box box"] | None,
    radius: int,
) -> Solution:
    """Most probable volumes under Gaussian priors, multiplied by masks.

    Args:
        sums: Σ C y (1, z)ᵀ / σ² and Σ C² (1, z)(1, z)ᵀ / σ² on a half grid.
        prior: Variance of each volume's transform, by shell.
        mask: One mask per volume; None for none.
        radius: Where the transforms end.
    """
    grid, device = sums.grid, sums.device
    values, products = sums.totals()
    count = values.shape[1]
    first, second = torch.triu_indices(count, count, device=device)
    shells = grid_shells(grid, radius, device)
    inside = torch.nonzero(grid.radii(device).flatten() <= radius + 1).squeeze(1)
    spectra = torch.zeros(count, len(values), 2, device=device)
    covariance = torch.zeros(radius + 2, count, count, device=device)
    for voxels in inside.split(VOXELS_PER_BATCH):
        precision = torch.zeros(len(voxels), count, count, device=device)
        precision[:, first, second] = precision[:, second, first] = products[voxels]
        precision.diagonal(dim1=1, dim2=2).add_((1 / prior[:, shells[voxels]]).T)
        factor = torch.linalg.cholesky(precision)
        spectra[:, voxels] = torch.cholesky_solve(values[voxels], factor).transpose(0, 1)
        covariance.index_add_(0, shells[voxels], torch.cholesky_inverse(factor))
    covariance /= torch.bincount(shells[inside], minlength=radius + 2)[:, None, None]
    complex_spectra = torch.view_as_complex(spectra).view(count, *grid.shape)
    volumes = torch.stack([grid.volume_of(spectrum) for spectrum in complex_spectra])
    volumes /= interpolation_envelope(grid.box_size, grid.box_size, device)
    return Solution(
        volumes=volumes if mask is None else volumes * mask,
        covariance=covariance,
        noise=noise_of(sums, radius),
    )


def noise_of(sums: SliceSums, radius: int) -> Float[Tensor, " shells"]:
    """Variance that a volume of coefficient 1 would have without prior, by shell."""
    _, products = sums.totals()
    weights = shell_averages(sums.grid, products[:, :1], radius)[:, 0]
    return 1 / weights.clamp_min(1e-12)
