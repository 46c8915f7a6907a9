"""Posterior of the latents of a linear model in closed form, from inner products alone.

An image is y = a C P (V_0 + Σ_k z_k V_k) plus noise, with z of the prior N(0, I) and the
contrast a of the prior N(1, s²) (probabilistic principal components, Tipping & Bishop 1999).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

CONTRAST_ROUNDS = 3
# Contrasts below this of images that show something are not to be believed.
LEAST_LEVEL = 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Posterior:
    """Posterior of latents and contrasts, which are taken for independent of one another.

    Attributes:
        mean: Mean of z.
        covariance: Its covariance.
        contrast: Mean of a.
        contrast_square: Mean of a².
    """

    mean: Float[Tensor, "batch z"]
    covariance: Float[Tensor, "batch z z"]
    contrast: Float[Tensor, " batch"]
    contrast_square: Float[Tensor, " batch"]

    def contrast_level(self) -> float:
        """Median contrast, which junk among the images hardly moves."""
        return float(self.contrast.median().clamp_min(LEAST_LEVEL))

    def coefficients(self) -> Float[Tensor, "batch volumes"]:
        """Means of a (1, z): how much of each volume is in an image."""
        return self.contrast[:, None] * with_one(self.mean)

    def products(self) -> Float[Tensor, "batch products"]:
        """Means of a² (1, z)(1, z)ᵀ, upper triangle row by row."""
        return self.contrast_square[:, None] * pair_products(self.mean, self.covariance)

    def divergence(self) -> Float[Tensor, " batch"]:
        """KL divergence of the posterior of z from N(0, I)."""
        dimensions = self.mean.shape[1]
        trace = self.covariance.diagonal(dim1=1, dim2=2).sum(1)
        quadratic = self.mean.square().sum(1)
        return (trace + quadratic - dimensions - torch.logdet(self.covariance)) / 2


def with_one(latents: Float[Tensor, "batch z"]) -> Float[Tensor, "batch volumes"]:
    """(1, z): the mean volume has the coefficient 1."""
    return torch.cat([latents.new_ones(len(latents), 1), latents], dim=1)


def pair_products(
    latents: Float[Tensor, "batch z"], covariances: Float[Tensor, "batch z z"] | None
) -> Float[Tensor, "batch products"]:
    """Means of (1, z)(1, z)ᵀ, upper triangle row by row."""
    vectors = with_one(latents)
    outer = vectors[:, :, None] * vectors[:, None, :]
    if covariances is not None:
        outer[:, 1:, 1:] += covariances
    first, second = torch.triu_indices(*2 * (vectors.shape[1],), device=latents.device)
    return outer[:, first, second]


def posterior_of(
    gram: Float[Tensor, "batch columns columns"], contrast_spread: float
) -> Posterior:
    """Posterior from the inner products of slices (mean first) and image (last).

    Given the contrast a, z has the precision H = I + a² G and the mean H⁻¹ (a g_y − a² g_0).
    Given z, a is Gaussian, too; the two are found in turns.

    Args:
        gram: Inner products in units of the noise.
        contrast_spread: Standard deviation of the contrasts' prior N(1, s²).
    """
    inner = slice(1, -1)
    identity = torch.eye(gram.shape[-1] - 2, device=gram.device)
    contrast = gram.new_ones(len(gram))
    square = contrast

    def latents() -> tuple[Tensor, Tensor]:
        precision = identity + square[:, None, None] * gram[:, inner, inner]
        covariance = torch.cholesky_inverse(torch.linalg.cholesky_ex(precision).L)
        pull = contrast[:, None] * gram[:, inner, -1] - square[:, None] * gram[:, inner, 0]
        return (covariance @ pull[..., None])[..., 0], covariance

    mean, covariance = latents()
    for _ in range(CONTRAST_ROUNDS if contrast_spread > 0 else 0):
        vectors = with_one(mean)
        second = vectors[:, :, None] * vectors[:, None, :]
        second[:, 1:, 1:] += covariance
        precision = contrast_spread**-2 + (second * gram[:, :-1, :-1]).sum((1, 2))
        matched = (vectors * gram[:, :-1, -1]).sum(1)
        contrast = (contrast_spread**-2 + matched) / precision
        square = contrast.square() + 1 / precision
        mean, covariance = latents()
    return Posterior(
        mean=mean, covariance=covariance, contrast=contrast, contrast_square=square
    )
