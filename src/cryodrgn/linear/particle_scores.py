"""Scores of particles under a model: contrast, misfit, distance; and those that look like junk.

A score is a column of one table, made once; selections, pictures and exported columns are read
from it. Three things are judged of a particle:

- **contrast**: the probability that its image shows nothing of the model
  (:mod:`cryodrgn.linear.contrasts`);
- **misfit**: χ² of what the model leaves unexplained, as a normal deviate (cube root, Wilson
  and Hilferty 1931) about the median of all particles, in units of their spread;
- **distance**: of its latent from those of others, in units of the uncertainty of both. A
  particle stands alone if it is farther from the mean than the model's normal distribution
  allows, fewer than five others are near enough to be of the same state, and it is farther
  from them than particles are from each other; one that is merely far may be of a rare state.

Particles like all others are named by misfit or distance at a rate of one in 10,000 each;
those named by contrast are more likely to show nothing than something.
"""

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryodrgn.counts import counted
from cryodrgn.data.batches import generator_at
from cryodrgn.imaging.linear_posterior import LEAST_LEVEL, Posterior, posterior_of
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.linear.contrasts import ContrastLikelihoods, ContrastMixture
from cryodrgn.linear.embed import inner_products, subspace_of
from cryodrgn.linear.expectation import residual_moments
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.particles.copies import copies_per_particle, number_of_different
from cryodrgn.rundir import JudgedFiles

logger = logging.getLogger(__name__)

# Particles like the others that are named by each of misfit and distance: one in 10,000.
NORMAL_DEVIATE = 3.719
# Fewer than these make no state.
COMPANIONS = 5
# Of fewer particles none is judged: what most of them are like is not known.
LEAST_JUDGED = 100
# Others among which neighbours are looked for, and particles at a time.
MOST_OTHERS, AT_A_TIME = 20_000, 512
# Spreads below this are those of rounding.
NO_SPREAD = 1e-9
# Reasons of one and of several.
REASONS = {
    "contrast": (
        "shows no particle (contrast)",
        "show no particle (contrast)",
    ),
    "misfit": (
        "fits the model worse than noise explains (misfit)",
        "fit the model worse than noise explains (misfit)",
    ),
    "distance": (
        "is isolated in the latent space (distance)",
        "are isolated in the latent space (distance)",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParticleScores:
    """Scores of every particle.

    Attributes:
        contrast: Contrast, from its image alone, relative to the mean of those that show
            something.
        empty: Probability that the image shows nothing of the model.
        misfit: χ² beside the model as a normal deviate; large where the model does not fit.
        distance: Mahalanobis distance of its latent from the mean of all.
        nearest: Distance to the fifth of its neighbours, among 20,000 others if there are more
            and these do not leave it alone, in units of the uncertainty of both latents.
        alone: Whether that says that it belongs to no state.
        share_empty: Share of images that show nothing, by the mixture.
        numbers: Number of the different particle in every row; None where every row is one.
    """

    contrast: Float[np.ndarray, " particles"]
    empty: Float[np.ndarray, " particles"]
    misfit: Float[np.ndarray, " particles"]
    distance: Float[np.ndarray, " particles"]
    nearest: Float[np.ndarray, " particles"]
    alone: Bool[np.ndarray, " particles"]
    share_empty: float
    numbers: Int[np.ndarray, " particles"] | None = None

    def columns(self) -> dict[str, Float[np.ndarray, " particles"]]:
        """The table of scores, column by column; ``junk`` is 1 for what looks like junk."""
        return {
            "contrast": self.contrast,
            "empty": self.empty,
            "misfit": self.misfit,
            "distance": self.distance,
            "nearest": self.nearest,
            "junk": self.is_junk().astype(np.float32),
        }

    @property
    def are_judged(self) -> bool:
        """True if there are enough particles to tell junk from the others."""
        return number_of_different(self.numbers, len(self.empty)) >= LEAST_JUDGED

    def named(self) -> dict[str, Bool[np.ndarray, " particles"]]:
        """Particles that look like junk by each score; nobody is named by two."""
        if not self.are_judged:
            return dict.fromkeys(REASONS, np.zeros(len(self.empty), dtype=bool))
        empty = self.empty > 0.5
        misfit = (self.misfit > NORMAL_DEVIATE) & ~empty
        return {"contrast": empty, "misfit": misfit, "distance": self.alone & ~empty & ~misfit}

    def is_junk(self) -> Bool[np.ndarray, " particles"]:
        """Particles that look like junk by any score."""
        return np.any(list(self.named().values()), axis=0)

    def expected_mistakes(self) -> float:
        """Number of particles among those named that are expected to be none."""
        if not self.are_judged:
            return 0.0
        empty = self.empty > 0.5
        return float((1 - self.empty[empty]).sum()) + 2e-4 * float((~empty).sum())

    def spread_of_mistakes(self) -> float:
        """Standard deviation of that number; a particle's copies are mistaken together."""
        return math.sqrt(self.expected_mistakes() * copies_per_particle(self.numbers))

    def severity(self) -> Float[np.ndarray, " particles"]:
        """Order from clear particles to clear junk; about 0 on the border."""
        odds = np.log(self.empty.clip(1e-30)) - np.log((1 - self.empty).clip(1e-30))
        far = np.where(self.alone, self.nearest, -np.inf)
        return np.maximum.reduce([odds, self.misfit - NORMAL_DEVIATE, far])

    def sentence(self) -> str:
        """Number of particles that look like junk, and by what."""
        count, total = int(self.is_junk().sum()), len(self.empty)
        if not self.are_judged:
            return (
                f"{number_of_different(self.numbers, total)} particles are too few to judge "
                f"which look like junk (at least {LEAST_JUDGED} are needed): all count as good"
            )
        if count == 0:
            return f"none of {total} particles looks like junk"
        parts = [
            counted(int(rows.sum()), *REASONS[name])
            for name, rows in self.named().items()
            if rows.any()
        ]
        look = "particles looks" if count == 1 else "particles look"
        mistakes = self.expected_mistakes()
        few = "less than one" if mistakes < 1 else f"about {mistakes:.1f}"
        return (
            f"{count} of {total} {look} like junk ({count / total:.1%}): {', '.join(parts)}; "
            f"of as many good particles, {few} would be named by chance, more if the "
            "distribution of scores has long tails"
        )


def tell_of_junk(scores: ParticleScores, files: JudgedFiles) -> None:
    """Say how many particles look like junk, and in which files they are named."""
    if not scores.is_junk().any():
        logger.info("%s", scores.sentence())
    else:
        logger.info("%s: look at %s", scores.sentence(), files.picture)
        logger.info(
            "rows of all others in the original file, to work without them: %s; their own: %s",
            files.good,
            files.junk,
        )


def score_particles(
    images: DiscImages,
    halves: tuple[Float[Tensor, "volumes box box box"], Float[Tensor, "volumes box box box"]],
    radius: int,
    noise: NoiseModel,
) -> ParticleScores:
    """Scores of all particles by a linear model, each half's by the other half's volumes.

    A model that an image has a part in fits it too well. Volumes are weighted by the agreement
    of the halves, or noise of one half would take part in choosing from the other.

    Args:
        images: The images.
        halves: Mean and components of each half of them.
        radius: Up to which images are compared, in cycles per box.
        noise: The noise.
    """
    rows = torch.arange(len(images))
    parts = images.halves(rows)
    found = [
        inner_products(images, part, subspace_of(volumes, radius), noise)
        for part, volumes in zip(parts, reversed(halves), strict=True)
    ]
    order = torch.cat(parts).argsort()
    gram = torch.cat([products for products, _ in found]).cpu()[order]
    counts = torch.cat([counts for _, counts in found]).cpu()[order]
    return scores_of(gram, counts, list(parts), numbers=images.images.numbers)


def scores_of(
    gram: Float[Tensor, "particles columns columns"],
    num_values: Float[Tensor, " particles"],
    groups: list[Int[Tensor, " _"]],
    encoded: tuple[Float[Tensor, "particles z"], Float[Tensor, "particles z z"]] | None = None,
    *,
    numbers: Int[np.ndarray, " particles"] | None = None,
) -> ParticleScores:
    """Scores from inner products of what is predicted of each image and the image.

    Args:
        gram: Inner products in units of the noise: of slices (mean first, then components that
            the latent weights) and, last, the image, summed over a particle's images.
        num_values: Real numbers of every particle's images that were compared.
        groups: Rows of particles that were judged by one model, whose latents are compared.
        encoded: Latents and their covariances, where they are not those of the components.
        numbers: Number of the different particle in every row; None where every row is one.
    """
    gram = gram.cpu()
    likelihoods = ContrastLikelihoods.of(gram)
    mixture = ContrastMixture.fit(likelihoods, copies_per_particle(numbers))
    posterior = posterior_of(gram, mixture.spread)
    squares = torch.einsum("bij,bij->b", gram, residual_moments(posterior))
    if encoded is not None:
        posterior = Posterior(
            mean=encoded[0].cpu(),
            covariance=encoded[1].cpu(),
            contrast=posterior.contrast,
            contrast_square=posterior.contrast_square,
        )
    shown = mixture.probabilities <= 0.5
    misfits = _deviates(squares, num_values.cpu(), shown)
    distance, nearest = torch.zeros(2, len(gram))
    alone = torch.zeros(len(gram), dtype=torch.bool)
    own = torch.arange(len(gram)) if numbers is None else torch.from_numpy(numbers)
    for rows in groups:
        found = _distances(
            posterior.mean[rows], posterior.covariance[rows], shown[rows], own[rows]
        )
        distance[rows], nearest[rows], alone[rows] = found
    return ParticleScores(
        contrast=(likelihoods.estimates() / max(mixture.mean, LEAST_LEVEL)).numpy(),
        empty=mixture.probabilities.numpy(),
        misfit=misfits.numpy(),
        distance=distance.numpy(),
        nearest=nearest.numpy(),
        alone=alone.numpy(),
        share_empty=mixture.share_empty,
        numbers=numbers,
    )


def _deviates(
    values: Float[Tensor, " particles"],
    freedoms: Float[Tensor, " particles"],
    typical: Bool[Tensor, " particles"],
) -> Float[Tensor, " particles"]:
    """Values distributed like χ² as normal deviates about the typical ones.

    The cube root of χ² / n varies by √(2 / 9n), so that a particle of few images is farther
    from the others by chance than one of many.
    """
    roots = (values.clamp_min(0) / freedoms) ** (1 / 3)
    if not typical.any():
        return torch.zeros_like(roots)
    steadiness = (freedoms / freedoms[typical].median()).sqrt()
    away = (roots - roots[typical].median()) * steadiness
    return _robust(away, away[typical])


def _robust(
    values: Float[Tensor, " particles"], typical: Float[Tensor, " typical"]
) -> Float[Tensor, " particles"]:
    """Deviations from the median of typical values in units of their spread.

    All are zero where half of the typical values or more are the same, which says nothing of
    the spread, or where there are none.
    """
    if not len(typical):
        return torch.zeros_like(values)
    middle = typical.median()
    spread = 1.4826 * (typical - middle).abs().median()
    if spread <= NO_SPREAD:
        return torch.zeros_like(values)
    return (values - middle) / spread


def _distances(
    mean: Float[Tensor, "particles z"],
    covariance: Float[Tensor, "particles z z"],
    shown: Bool[Tensor, " particles"],
    numbers: Int[Tensor, " particles"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Mahalanobis distance, distance to the fifth neighbour, and who stands alone."""
    dimensions = mean.shape[1]
    uncertainty = covariance.mean(0)
    whitening = torch.linalg.cholesky(torch.linalg.inv(uncertainty))
    # Uncertainty of a latent in units of the mean one, of each dimension.
    doubt = torch.einsum("ia,bij,ja->b", whitening, covariance, whitening) / dimensions
    everyone, everyones = mean[shown], numbers[shown]
    others, owners = everyone, everyones
    if len(others) > MOST_OTHERS:
        order = torch.randperm(len(others), generator=generator_at(0, (0x10E,)))[:MOST_OTHERS]
        others, owners = others[order], owners[order]
    if len(owners.unique()) <= COMPANIONS:
        nothing = torch.zeros(len(mean))
        return nothing, nothing, nothing > 0
    centred = mean - others.mean(0)
    spread = torch.cov(others.T).reshape(dimensions, dimensions)
    spread = spread + 1e-6 * spread.diagonal().mean() * torch.eye(dimensions)
    distance = (centred @ torch.linalg.inv(spread) * centred).sum(1).clamp_min(0).sqrt()
    seen = mean @ whitening
    nearest = _to_fifth(seen, others @ whitening, owners) / (1 + doubt).sqrt()
    # χ² beyond which one in 10,000 lies: of a latent, or of the difference of two of one state.
    bound = dimensions * (1 - 2 / (9 * dimensions) + NORMAL_DEVIATE * _width(dimensions)) ** 3
    logarithms = nearest.clamp_min(1e-9).log()
    lonely = _robust(logarithms, logarithms[shown]) > NORMAL_DEVIATE
    alone = (distance.square() > bound) & (nearest.square() > bound) & lonely
    if len(others) < len(everyone) and alone.any():
        # A rare state may have less than five particles among some of the others.
        rows = torch.nonzero(alone).flatten()
        whole = _to_fifth(seen[rows], everyone @ whitening, everyones)
        nearest[rows] = whole / (1 + doubt[rows]).sqrt()
        alone = alone & (nearest.square() > bound)
    return distance, nearest, alone


def _to_fifth(
    places: Float[Tensor, "rows z"],
    others: Float[Tensor, "others z"],
    numbers: Int[Tensor, " others"],
) -> Float[Tensor, " rows"]:
    """Distance to the fifth of the different particles that are nearest, itself left out."""
    _, owners = numbers.unique(return_inverse=True)
    together = max(1, AT_A_TIME * MOST_OTHERS // max(len(others), MOST_OTHERS))
    parts = [
        _to_nearest(torch.cdist(part, others), owners).kthvalue(COMPANIONS + 1).values
        for part in places.split(together)
    ]
    return torch.cat(parts)


def _to_nearest(
    distances: Float[Tensor, "rows others"], owners: Int[Tensor, " others"]
) -> Float[Tensor, "rows particles"]:
    """Distance to the nearest copy of each different particle."""
    count = int(owners.max()) + 1
    if count == len(owners):
        return distances
    nearest = distances.new_full((len(distances), count), math.inf)
    return nearest.scatter_reduce(1, owners.expand_as(distances), distances, "amin")


def _width(dimensions: int) -> float:
    """Standard deviation of the cube root of χ² by its number."""
    return math.sqrt(2 / (9 * dimensions))
