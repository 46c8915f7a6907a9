"""Particles and images of nothing, told apart by the contrasts at which a model fits them.

The likelihood of an image y as a function of its contrast a, all latents z ~ N(0, I) taken
together, is known in closed form. With inner products in units of the noise, g of slices with
the image and G among themselves (index 0 the mean), it is beside a constant

    L(a) = a g_0 − ½ a² G_00 + ½ pᵀ H⁻¹ p − ½ ln |H|,    H = I + a² G,    p = a g − a² G_·0,

and L(0) = 0 is that of noise alone. An image that shows nothing of the model agrees with it by
chance, with either sign: contrasts of such images are about N(0, τ²), those of particles
N(μ, s²). The two widths, the mean and the share of either are found by EM on the likelihoods
of all images, so that nobody sets a bound.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.imaging.linear_posterior import LEAST_LEVEL

# Contrasts that are considered: some chance agreement, and several times the mean.
LOWEST, HIGHEST = -1.0, 4.0
FINEST, COARSEST = 0.005, 0.05
AT_A_TIME = 4096
ROUNDS = 200
# Largest τ in units of μ: agreement so good is no chance.
CHANCE = 0.25
# Spreads of contrasts that are fitted.
LEAST_SPREAD, LARGEST_SPREAD = 0.08, 0.5
# Points of the integral over contrasts, up to so many standard deviations.
POINTS, DEVIATES = 81, 5.0
# Share of images of nothing that is worth a contrast for every image.
LEAST_EMPTY = 0.01
# Likelihood of an image that no kind explains, in single precision.
LEAST_LIKELIHOOD = 1e-30
# Nats by which a round must still gain.
CONVERGED = 0.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ContrastLikelihoods:
    """Likelihood of every particle at contrasts on a grid.

    Attributes:
        contrasts: The grid.
        likelihoods: At its points, each particle's greatest being 1.
    """

    contrasts: Float[Tensor, " grid"]
    likelihoods: Float[Tensor, "particles grid"]

    @classmethod
    def of(cls, gram: Float[Tensor, "particles columns columns"]) -> "ContrastLikelihoods":
        """From inner products of slices (mean first) and image (last) in units of the noise."""
        width = float(gram[:, 0, 0].clamp_min(1e-6).rsqrt().median())
        step = min(max(width, FINEST), COARSEST)
        count = round((HIGHEST - LOWEST) / step) + 1
        grid = torch.linspace(LOWEST, HIGHEST, count, device=gram.device)
        parts = [marginal_log_likelihoods(part, grid) for part in gram.split(AT_A_TIME)]
        found = torch.cat(parts)
        return cls(
            contrasts=grid,
            likelihoods=(found - found.max(1, keepdim=True).values).exp_(),
        )

    def estimates(self) -> Float[Tensor, " particles"]:
        """Contrast of every particle, from its image alone."""
        weights = self.likelihoods.sum(1)
        return (self.likelihoods @ self.contrasts) / weights


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ContrastMixture:
    """Particles, and images that show nothing of the model.

    Attributes:
        share_empty: Share of the latter; 0 where the contrasts are those of particles alone.
        mean: Mean contrast μ of particles.
        spread: Its standard deviation s.
        chance: Standard deviation τ of the contrasts of the others.
        probabilities: Of showing nothing, for every particle.
    """

    share_empty: float
    mean: float
    spread: float
    chance: float
    probabilities: Float[Tensor, " particles"]

    @classmethod
    def fit(cls, found: ContrastLikelihoods, copies: float = 1.0) -> "ContrastMixture":
        """Fit it by EM.

        Two kinds must explain the contrasts so much better than one that the logarithm of the
        likelihood exceeds that of one by ln N, which is what the Bayesian information
        criterion asks of two more parameters (Schwarz 1978); copies of a particle are one.

        Args:
            found: Likelihoods of all rows.
            copies: Rows of a particle, on average.
        """
        step = float(found.contrasts[1] - found.contrasts[0])
        typical = found.estimates()
        middle = float(typical.median())
        deviation = 1.4826 * float((typical - middle).abs().median())
        one = _Mixture(0.0, middle, max(deviation, step), step)
        one, alone, _ = _run(found, one, step)
        two = _Mixture(0.02, middle, max(deviation, step), 2 * step)
        two, both, empty = _run(found, two, step)
        if (both - alone) / copies <= math.log(len(typical) / copies):
            two, empty = one, torch.zeros_like(typical)
        return cls(
            share_empty=two.share,
            mean=two.mean,
            spread=two.spread,
            chance=two.chance,
            probabilities=empty,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastVariation:
    """Spread of contrasts, and how well images tell them.

    Attributes:
        spread: Standard deviation of the contrasts of particles relative to their mean.
        error: Standard error of the contrast of a typical image, likewise.
        share_empty: Share of images that show nothing.
    """

    spread: float
    error: float
    share_empty: float

    @classmethod
    def of(
        cls, gram: Float[Tensor, "particles columns columns"], copies: float = 1.0
    ) -> "ContrastVariation":
        """From inner products with slices of a model that these images had no part in.

        Args:
            gram: Inner products in units of the noise, mean first and image last.
            copies: Rows of a particle, on average.
        """
        mixture = ContrastMixture.fit(ContrastLikelihoods.of(gram), copies)
        level = max(mixture.mean, LEAST_LEVEL)
        error = float(gram[:, 0, 0].clamp_min(1e-6).rsqrt().median())
        return cls(
            spread=min(max(mixture.spread / level, FINEST), LARGEST_SPREAD),
            error=error / level,
            share_empty=mixture.share_empty,
        )

    @property
    def is_worth_trying(self) -> bool:
        """True if contrasts seem to vary by more than images tell, or images to be empty."""
        return self.spread >= max(LEAST_SPREAD, self.error) or self.share_empty >= LEAST_EMPTY

    def in_words(self) -> str:
        """The spread of contrasts where they are not fitted, in one sentence."""
        return (
            f"contrasts of images vary by {self.spread:.0%} or less (each image tells its own "
            f"to {self.error:.0%}) and are taken for 1"
        )


def log_evidence(
    gram: Float[Tensor, "particles columns columns"], spread: float
) -> Float[Tensor, " particles"]:
    """Logarithm of the likelihood of images over that of noise alone, contrasts integrated out.

    Args:
        gram: Inner products with slices of a model, mean first and image last.
        spread: Standard deviation s of the prior N(1, s²) of contrasts; 0 takes them for 1.
    """
    if spread == 0:
        return marginal_log_likelihoods(gram, torch.ones(1))[:, 0]
    deviates = torch.linspace(-DEVIATES, DEVIATES, POINTS)
    contrasts = 1 + spread * deviates
    prior = torch.log_softmax(-deviates.square() / 2, dim=0)
    parts = [marginal_log_likelihoods(part, contrasts) for part in gram.split(AT_A_TIME)]
    return torch.logsumexp(torch.cat(parts) + prior, dim=1)


def marginal_log_likelihoods(
    gram: Float[Tensor, "particles columns columns"], contrasts: Float[Tensor, " grid"]
) -> Float[Tensor, "particles grid"]:
    """L(a): logarithm of the likelihood of images at contrasts a, over that of noise alone.

    Args:
        gram: Inner products of slices (mean first) and image (last) in units of the noise.
        contrasts: Contrasts a.
    """
    exact = gram.double()
    values, vectors = torch.linalg.eigh(exact[:, 1:-1, 1:-1])
    along = vectors.mT @ exact[:, 1:-1][..., [0, -1]]
    with_mean, with_image = along.unbind(-1)
    columns = []
    for contrast in contrasts.double():
        square = contrast.square()
        precision = 1 + square * values.clamp_min(0)
        pull = (contrast * with_image - square * with_mean).square() / precision
        plain = contrast * exact[:, 0, -1] - square * exact[:, 0, 0] / 2
        columns.append(plain + (pull - precision.log()).sum(1) / 2)
    return torch.stack(columns, dim=1).to(gram.dtype)


@dataclass(frozen=True, slots=True)
class _Mixture:
    """Parameters of the mixture."""

    share: float
    mean: float
    spread: float
    chance: float


def _run(
    found: ContrastLikelihoods, start: _Mixture, step: float
) -> tuple[_Mixture, float, Tensor]:
    """EM from a start; the logarithm of the likelihood and the probabilities of the empty."""
    now, grid, table = start, found.contrasts, found.likelihoods
    before = -math.inf
    likelihood, probabilities = before, torch.zeros(len(table))
    for _ in range(ROUNDS):
        of_particles = _normal(grid, now.mean, now.spread)
        of_empty = _normal(grid, 0.0, now.chance)
        particles = (1 - now.share) * (table @ of_particles)
        empty = now.share * (table @ of_empty)
        total = particles + empty
        # Of an image that is exact to less than a step no kind may know anything.
        known = total > LEAST_LIKELIHOOD
        total = total.clamp_min(LEAST_LIKELIHOOD)
        likelihood = float(total.log().sum())
        probabilities = (empty / total).float()
        if likelihood - before <= CONVERGED:
            break
        before = likelihood
        # Sums over particles of the posterior of each kind, on the grid.
        weight = (table.T @ torch.where(known, 1 / total, 0).to(table.dtype)).double()
        shown = (1 - now.share) * of_particles.double() * weight
        nothing = now.share * of_empty.double() * weight
        mean = float((shown * grid).sum() / shown.sum())
        variance = float((shown * (grid - mean).square()).sum() / shown.sum())
        chance = now.chance
        # No image may show nothing, not even by a share of its probability.
        if float(nothing.sum()) > 0:
            chance = math.sqrt(float((nothing * grid.square()).sum() / nothing.sum()))
        now = _Mixture(
            share=float(nothing.sum() / len(table)),
            mean=mean,
            spread=max(math.sqrt(variance), step),
            chance=max(min(chance, CHANCE * mean), step),
        )
    return now, likelihood, probabilities


def _normal(grid: Float[Tensor, " grid"], mean: float, width: float) -> Float[Tensor, " grid"]:
    """A normal distribution on a grid, its sum 1."""
    weights = torch.exp(-((grid - mean) / width).square() / 2)
    return weights / weights.sum().clamp_min(1e-30)
