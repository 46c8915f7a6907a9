"""Volumes from sums over images: regularised least squares, voxel by voxel."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.half_grid import interpolation_envelope
from cryodrgn.kernels.backends import kernels_for
from cryodrgn.kernels.gridding import SliceAccumulator
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
    sums: SliceAccumulator,
    prior: Float[Tensor, "volumes shells"],
    mask: Float[Tensor, "volumes box box box"] | None,
    radius: int,
) -> Float[Tensor, "volumes box box box"]:
    """Most probable volumes under Gaussian priors, multiplied by masks.

    Args:
        sums: Σ C y (1, z)ᵀ / σ² and Σ C² (1, z)(1, z)ᵀ / σ² on a half grid.
        prior: Variance of each volume's transform, by shell.
        mask: One mask per volume; None for none.
        radius: Where the transforms end.
    """
    return _volumes(sums, prior, mask, radius, None)


def solve_with_covariance(
    sums: SliceAccumulator,
    prior: Float[Tensor, "volumes shells"],
    mask: Float[Tensor, "volumes box box box"],
    radius: int,
) -> Solution:
    """Solve the normal equations, and return the covariance of the solution, too."""
    count = len(prior)
    covariance = torch.zeros(radius + 2, count, count, device=sums.device)
    volumes = _volumes(sums, prior, mask, radius, covariance)
    return Solution(volumes=volumes, covariance=covariance, noise=noise_of(sums, radius))


def _volumes(
    sums: SliceAccumulator,
    prior: Float[Tensor, "volumes shells"],
    mask: Float[Tensor, "volumes box box box"] | None,
    radius: int,
    covariance: Float[Tensor, "shells volumes volumes"] | None,
) -> Float[Tensor, "volumes box box box"]:
    """The volumes; their covariance is put where there is room for it."""
    grid, device, count = sums.grid, sums.device, len(prior)
    shells = grid_shells(grid, radius, device)
    inside = torch.nonzero(grid.radii(device).flatten() <= radius + 1).squeeze(1)
    table = sums.table()
    spectra = torch.zeros(count, len(table), 2, device=device)
    for voxels in inside.split(VOXELS_PER_BATCH):
        places = shells[voxels]
        found, inverses = kernels_for(device).solve_systems(
            table, voxels, places, 1 / prior, with_inverses=covariance is not None
        )
        spectra[:, voxels] = found.transpose(0, 1)
        if covariance is not None and inverses is not None:
            covariance.index_add_(0, places, inverses)
    if covariance is not None:
        counts = torch.bincount(shells[inside], minlength=radius + 2)
        covariance /= counts[:, None, None].clamp_min(1)
    complex_spectra = torch.view_as_complex(spectra).view(count, *grid.shape)
    volumes = torch.stack([grid.volume_of(spectrum) for spectrum in complex_spectra])
    volumes /= interpolation_envelope(grid.box_size, grid.box_size, device)
    return volumes if mask is None else volumes.mul_(mask)


def noise_of(sums: SliceAccumulator, radius: int) -> Float[Tensor, " shells"]:
    """Variance that a volume of coefficient 1 would have without prior, by shell."""
    _, products = sums.totals()
    weights = shell_averages(sums.grid, products[:, :1], radius)[:, 0]
    return 1 / weights.clamp_min(1e-12)
