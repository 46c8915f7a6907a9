"""Likelihood ratio of every image with and without a piece of density.

The volumes of the particles are V_0 + Σ_k φ_k V_k, so the mean density within a mask is linear
in φ: s = s_0 + wᵀφ, w_k being the mean of V_k there. With the Gaussian prior of the functions'
own mean and covariance the posterior of φ, given an image, is that of a linear model, and what
the image alone says of the amount s, all else that differs between particles being integrated
out, is a normal distribution: its precision is that of the posterior less that of the prior.
Particles with the density and without it are two groups, whose amounts are normally distributed
about two means; shares, means and widths that make all images most probable are found by
expectation–maximisation (deconvolution of a mixture; Bovy, Hogg & Roweis 2011). The ratio of an
image's likelihood under the two, and the share, give the probability that the density is there.

Images of one half set are judged by the volumes of the other half.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.errors import ConfigError
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.imaging.noise import NoiseModel, ResidualPower
from cryodrgn.linear.contrasts import LARGEST_SPREAD
from cryodrgn.linear.embed import embed, subspace_of
from cryodrgn.linear.expectation import Expectation, Posterior
from cryodrgn.linear.fit import STARTING_CONTRAST_SPREAD
from cryodrgn.linear.halves import Halves
from cryodrgn.linear.iteration import DiscImages, joined
from cryodrgn.linear.regression import Regression, Spread
from cryodrgn.linear.subspace import Subspace
from cryodrgn.particles.copies import copies_per_particle

# Particles from which noise and contrasts are found, and how often they are found anew.
SAMPLE, ROUNDS = 1000, 2
MIXTURE_ROUNDS = 300
# Share of the amounts' variance below which two groups are not made any narrower.
LEAST_WIDTH = 1e-4
# Gain in log-likelihood, beyond three more parameters, that two groups must bring over one.
LEAST_GAIN = 6.0
# Correlation of the two halves' variation of density within a mask, over functions.
LEAST_AGREEMENT = 0.5
# Density without the feature, as a share of that with it, above which there is none.
MOST_REMAINING = 0.9
# The same share from which on particles have less of the density, rather than none of it.
LACKING = 0.25


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Amounts:
    """Amount of density within a mask, as every image by itself shows it.

    Attributes:
        values: Estimates, in standard deviations of the amount among the particles, 0 being the
            mean of all.
        variances: Their variances: infinite for images that say nothing of it.
        mean: Mean density within the mask over all particles, in the units of the images.
        spread: Its standard deviation among them.
        copies: Rows of a particle, on average.
    """

    values: Float[np.ndarray, " particles"]
    variances: Float[np.ndarray, " particles"]
    mean: float
    spread: float
    copies: float = 1.0

    def remaining(self, levels: Float[np.ndarray, " 2"]) -> float:
        """Density at the lower of two amounts as a share of that at the higher one."""
        low, high = self.mean + self.spread * levels
        return float(low / high) if high > 0 else -math.inf


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TwoGroups:
    """Two groups of particles that differ in the amount of density.

    Attributes:
        share: Share of the particles with the density.
        means: Mean amount without and with it.
        widths: Variance of the amount within either group.
        gain: Gain in log-likelihood of all different images over one group.
        log_ratios: Log-likelihood of every image with the density less that without.
    """

    share: float
    means: Float[np.ndarray, " 2"]
    widths: Float[np.ndarray, " 2"]
    gain: float
    log_ratios: Float[np.ndarray, " particles"]

    @property
    def probabilities(self) -> Float[np.ndarray, " particles"]:
        """Probability of every particle to have the density."""
        odds = self.log_ratios + math.log(self.share) - math.log1p(-self.share)
        return 1 / (1 + np.exp(-odds.clip(-700, 700)))


def amounts(
    images: DiscImages,
    halves: Halves,
    regression: Regression,
    noise: NoiseModel,
    mask: Float[Tensor, "size size size"],
) -> Amounts:
    """Amounts of density within a mask, images of each half by the volumes of the other.

    Args:
        images: The images.
        halves: Rows of those of each half.
        regression: Volumes of the states, from each half.
        noise: A first estimate of the noise.
        mask: Where the density may be.

    Raises:
        ConfigError: The states of the two halves do not differ there in the same way.
    """
    count = len(images)
    values, variances = np.zeros(count), np.full(count, np.inf)
    models = [_standardised(volumes, regression.spread) for volumes in regression.halves[::-1]]
    slopes = [_density(volumes[1:], mask) for volumes in models]
    _require_agreement(slopes[0], slopes[1])
    for rows, standard, slope in zip(halves, models, slopes, strict=True):
        direction = slope / slope.norm()
        posterior = _posterior(images, rows, standard, noise)
        mean = (posterior.mean @ direction).double().cpu().numpy()
        variance = torch.einsum("i,nij,j->n", direction, posterior.covariance, direction)
        # The prior of the amount is N(0, 1): what it says is taken out of the posterior.
        doubt = variance.double().cpu().numpy().clip(1e-9, 1 - 1e-9)
        places = rows.numpy()
        values[places] = mean / (1 - doubt)
        variances[places] = doubt / (1 - doubt)
    means = [float(_density(volumes[:1], mask)) for volumes in models]
    return Amounts(
        values=values,
        variances=variances,
        mean=sum(means) / 2,
        spread=float(slopes[0].norm() + slopes[1].norm()) / 2,
        copies=copies_per_particle(images.images.numbers),
    )


def two_groups(found: Amounts) -> TwoGroups:
    """Two groups of particles by their amounts of density, by expectation–maximisation.

    Raises:
        ConfigError: One group explains the images as well, or the density of the two is nearly
            the same.
    """
    values, noise = found.values, found.variances
    known = np.isfinite(noise)
    one = _mixture(values[known], noise[known], np.array([0.0]))
    starts = np.quantile(values[known], [0.2, 0.8])
    two = _mixture(values[known], noise[known], starts)
    gain = (two.log_likelihood - one.log_likelihood) / found.copies
    if gain < LEAST_GAIN:
        msg = (
            "the amount of density there does not fall into two groups (log-likelihood "
            f"{gain:.1f} above that of one, expected {LEAST_GAIN:g} at least): there is no "
            "telling particles with it from those without; give a place where density comes "
            "and goes, or a mask of the whole of it"
        )
        raise ConfigError(msg)
    low, high = found.mean + found.spread * two.means
    if high < -low:
        msg = (
            "within `feature` density is negative where it differs most between particles, so "
            "those with it cannot be told from those without; see with cryodrgn check whether "
            "the sign of the data is right, or give another place"
        )
        raise ConfigError(msg)
    remaining = found.remaining(two.means)
    if remaining > MOST_REMAINING:
        msg = (
            "within `feature` particles differ too little: the lower density is "
            f"{remaining:.0%} of the higher one, expected {MOST_REMAINING:.0%} at most; give a "
            "place where density comes and goes"
        )
        raise ConfigError(msg)
    logs = _log_normal(values, noise, two.means, two.widths)
    return TwoGroups(
        share=float(two.shares[1]),
        means=two.means,
        widths=two.widths,
        gain=gain,
        log_ratios=logs[:, 1] - logs[:, 0],
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Mixture:
    shares: Float[np.ndarray, " groups"]
    means: Float[np.ndarray, " groups"]
    widths: Float[np.ndarray, " groups"]
    log_likelihood: float


def _mixture(
    values: Float[np.ndarray, " particles"],
    noise: Float[np.ndarray, " particles"],
    starts: Float[np.ndarray, " groups"],
) -> _Mixture:
    """Normal groups in ascending order of their means, under noise of known variances."""
    count = len(starts)
    precision = 1 / noise
    centre = float((precision * values).sum() / precision.sum())
    shares = np.full(count, 1 / count)
    means = starts.copy() if count > 1 else np.array([centre])
    widths = np.full(count, 0.25)
    likelihood = -np.inf
    for _ in range(MIXTURE_ROUNDS):
        logs = _log_normal(values, noise, means, widths) + np.log(shares)
        highest = logs.max(1)
        weights = np.exp(logs - highest[:, None])
        totals = weights.sum(1)
        before, likelihood = likelihood, float((highest + np.log(totals)).sum())
        weights /= totals[:, None]
        sums = weights.sum(0).clip(1e-9)
        shrink = widths / (noise[:, None] + widths)
        inferred = means + shrink * (values[:, None] - means)
        doubt = shrink * noise[:, None]
        shares = (sums / sums.sum()).clip(1e-6, 1 - 1e-6) if count > 1 else np.ones(1)
        means = (weights * inferred).sum(0) / sums
        widths = (weights * (np.square(inferred - means) + doubt)).sum(0) / sums
        widths = widths.clip(LEAST_WIDTH)
        if likelihood - before < 1e-7 * len(values):
            break
    order = np.argsort(means)
    return _Mixture(
        shares=shares[order],
        means=means[order],
        widths=widths[order],
        log_likelihood=likelihood,
    )


def _log_normal(
    values: Float[np.ndarray, " particles"],
    noise: Float[np.ndarray, " particles"],
    means: Float[np.ndarray, " groups"],
    widths: Float[np.ndarray, " groups"],
) -> Float[np.ndarray, "particles groups"]:
    """Log-likelihoods but for a constant of each particle; 0 where nothing is known."""
    known = np.isfinite(noise)
    variances = np.where(known, noise, 1.0)[:, None] + widths
    logs = -np.square(values[:, None] - means) / variances - np.log(variances)
    return np.where(known[:, None], logs / 2, 0.0)


def _standardised(
    volumes: Float[Tensor, "volumes box box box"], spread: Spread
) -> Float[Tensor, "volumes box box box"]:
    """The mean of all particles, and volumes of functions of zero mean and unit covariance."""
    mean = spread.mean
    root = torch.linalg.cholesky(spread.correlation.double()).to(mean.dtype)
    factor = spread.scale[:, None] * root
    whole = volumes[0] + torch.tensordot(mean, volumes[1:], dims=1)
    return torch.cat([whole[None], torch.tensordot(factor.T, volumes[1:], dims=1)])


def _density(
    volumes: Float[Tensor, "volumes box box box"], mask: Float[Tensor, "size size size"]
) -> Float[Tensor, " volumes"]:
    """Mean density of some volumes within a mask."""
    inside = resize_mask(mask, volumes.shape[-1])
    return (volumes * inside).flatten(1).sum(1) / inside.sum()


def _require_agreement(
    first: Float[Tensor, " functions"], second: Float[Tensor, " functions"]
) -> None:
    norm = float(first.norm() * second.norm())
    agreement = float(first @ second) / norm if norm > 0 else 0.0
    if agreement < LEAST_AGREEMENT:
        msg = (
            "the two half sets do not agree on which particles have density within `feature` "
            f"(correlation {agreement:.2f}, expected {LEAST_AGREEMENT:g} at least): the states "
            "of this run do not differ there beyond noise; give another place, a larger mask, "
            "or a run with more components"
        )
        raise ConfigError(msg)


def _posterior(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    volumes: Float[Tensor, "volumes box box box"],
    noise: NoiseModel,
) -> Posterior:
    """Posterior of the functions by volumes that never saw the images."""
    radius = min(images.largest_radius, images.box_size // 2 - 1)
    subspace = subspace_of(volumes, radius)
    sample = rows[:: -(-len(rows) // SAMPLE)]
    spread = STARTING_CONTRAST_SPREAD
    for _ in range(ROUNDS):
        noise, spread = _noise_and_contrast(images, sample, subspace, noise, spread)
    posterior, _ = embed(
        images, rows, subspace, noise, spread, description="comparing images with the feature"
    )
    return posterior


def _noise_and_contrast(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    subspace: Subspace,
    noise: NoiseModel,
    spread: float,
) -> tuple[NoiseModel, float]:
    """Noise that volumes leave in images they were not made of, and spread of contrasts."""
    num_points = images.num_points(subspace.radius)
    residuals = ResidualPower(noise, num_points)
    expectation = Expectation(subspace, noise, num_points, spread)
    found: list[Posterior] = []
    for batch in images.batches(images.team.piece(rows), subspace.radius):
        posterior, left = expectation(batch, images.box_size)
        residuals.add(batch.image_rows, left)
        found.append(posterior)
    residuals.share(images.team)
    whole = joined(found, images.team)
    square = (whole.contrast_square - 2 * whole.contrast + 1).mean()
    wider = min(float(square.clamp_min(1e-6).sqrt()), LARGEST_SPREAD)
    return residuals.updated(), wider
