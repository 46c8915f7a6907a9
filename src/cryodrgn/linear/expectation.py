"""E step: posterior of the latents, given the volumes."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.batch import Batch
from cryodrgn.imaging.ewald import Sidebands
from cryodrgn.imaging.likelihood import expected_squares, in_units_of_noise
from cryodrgn.imaging.linear_posterior import Posterior, posterior_of
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.kernels.backends import kernels_for
from cryodrgn.kernels.gridding import interpolate
from cryodrgn.kernels.torch_kernels import shell_products
from cryodrgn.linear.subspace import Subspace

LEAST_RESIDUAL = 1e-6


class Expectation:
    """The E step.

    Args:
        subspace: The volumes.
        noise: The noise of the images.
        num_points: Points of the lattice within the radius of the volumes, ordered by radius.
        contrast_spread: Standard deviation s of contrasts; 0 where they are all 1.
    """

    def __init__(
        self,
        subspace: Subspace,
        noise: NoiseModel,
        num_points: int,
        contrast_spread: float = 0.0,
    ) -> None:
        self._noise = noise
        self._contrast_spread = contrast_spread
        self._grid, self._table = subspace.grid, subspace.table()
        counts = noise.points_of_shells(num_points)
        self._starts = [0, *counts.cumsum(0).tolist()]

    def __call__(
        self, batch: Batch, box_size: int
    ) -> tuple[Posterior, Float[Tensor, "images shells"]]:
        """Posterior of a batch, and the squares of what its images leave unexplained.

        Args:
            batch: Particles, their images restricted to the points within the radius.
            box_size: Side of the images.

        Returns:
            The posterior of every particle and, for every image, the mean square of the
            residual's real and imaginary part under it, summed over the points of every shell.
        """
        by_shell = self._by_shell(batch, box_size)
        posterior = posterior_of(self._weighted(by_shell, batch), self._contrast_spread)
        moments = batch.grouping.spread(residual_moments(posterior))
        squares = expected_squares(by_shell, moments)
        # What is next to nothing beside the image is lost in rounding.
        least = LEAST_RESIDUAL * by_shell[..., -1, -1]
        return posterior, torch.maximum(squares, least) / 2

    def gram(self, batch: Batch, box_size: int) -> Float[Tensor, "batch columns columns"]:
        """Inner products of slices (mean first) and images (last), in units of the noise.

        They are sums over the images of every particle.
        """
        return self._weighted(self._by_shell(batch, box_size), batch)

    def _by_shell(
        self, batch: Batch, box_size: int
    ) -> Float[Tensor, "images shells columns columns"]:
        if batch.sidebands is not None:
            return self._of_sidebands(batch, batch.sidebands, box_size)
        images, transfer = batch.images, batch.transfer()
        if transfer is None:
            transfer = images.new_ones(images.shape[:2])
        return kernels_for(images.device).inner_products(
            self._grid,
            self._table,
            batch.coordinates,
            images,
            transfer,
            self._starts,
            box_size,
        )

    def _of_sidebands(
        self, batch: Batch, bands: Sidebands, box_size: int
    ) -> Float[Tensor, "images shells columns columns"]:
        """Inner products of images that are sums of two side bands of the volumes."""
        shape = (*batch.images.shape[:2], 2, -1)
        first, second = (
            interpolate(self._grid, self._table, points.reshape(-1, 3) * box_size)
            .view(shape)
            .mT
            for points in bands.points(batch.coordinates)
        )
        slices = bands.predicted(first, second).mT
        if batch.weights is not None:
            slices = slices * batch.weights[..., None, None]
        return shell_products(slices, batch.images, self._starts)

    def _weighted(
        self, by_shell: Float[Tensor, "images shells columns columns"], batch: Batch
    ) -> Float[Tensor, "batch columns columns"]:
        variances = self._noise.variances(batch.image_rows)[:, : by_shell.shape[1]]
        return batch.grouping.total(in_units_of_noise(by_shell, variances))


def residual_moments(posterior: Posterior) -> Float[Tensor, "batch columns columns"]:
    """Means of r rᵀ, r being how much of each slice and of the image is in the residual."""
    mean = -posterior.coefficients()
    vectors = torch.cat([mean, torch.ones_like(mean[:, :1])], dim=1)
    products = vectors[:, :, None] * vectors[:, None, :]
    doubt = posterior.contrast_square[:, None, None] * posterior.covariance
    products[:, 1:-1, 1:-1] += doubt
    return products
