"""Noise and contrasts of images, estimated along with the network that explains them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import may_wait
from cryodrgn.imaging.likelihood import ContrastPrior, ImageLikelihood, predict, shell_sums
from cryodrgn.imaging.noise import NoiseModel, ResidualPower
from cryodrgn.io.atomic import atomic_path
from cryodrgn.models.model import Model
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.threads import in_order
from cryodrgn.training.row_table import PerParticleParameters

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

# Particles whose residuals tell the noise: of all groups together, and at least of each.
SAMPLE, SAMPLE_OF_GROUP = 2000, 200
AT_A_TIME, READ_AT_ONCE = 32, 8
# Share of the mean variance below which no shell's falls: shells that a low-pass filter has
# emptied would outweigh all others.
LEAST_VARIANCE = 0.01
STARTING_CONTRAST_SPREAD, LEAST_SPREAD, LARGEST_SPREAD, LEAST_CENTRE = 0.15, 0.001, 0.5, 0.2
CONTRAST_ROUNDS = 20
AT_MOST = " (the most that is taken; so they seem until the network explains the images)"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Products:
    """Inner products by shell of images r left unexplained and predicted images h.

    Attributes:
        rows: The images.
        unexplained: Σ |r|².
        matched: Re Σ h* r.
        power: Σ |h|².
    """

    rows: Int[Tensor, " images"]
    unexplained: Float[Tensor, "images shells"]
    matched: Float[Tensor, "images shells"]
    power: Float[Tensor, "images shells"]

    @classmethod
    def of(
        cls,
        rows: Int[Tensor, " images"],
        predicted: Float[Tensor, "images points 2"],
        observed: Float[Tensor, "images points 2"],
        shells: Int[Tensor, " points"],
        count: int,
    ) -> "Products":
        """Inner products of images and their predictions.

        Args:
            rows: The images.
            predicted: Without noise, for a contrast of 1.
            observed: The images.
            shells: Shell of every point.
            count: Number of shells.
        """
        unexplained = observed - predicted
        pairs = ((unexplained, unexplained), (predicted, unexplained), (predicted, predicted))
        sums = [shell_sums((a * b).sum(-1), shells, count) for a, b in pairs]
        return cls(rows=rows, unexplained=sums[0], matched=sums[1], power=sums[2])

    def contrasts(
        self, noise: NoiseModel, centre: float, spread: float
    ) -> tuple[Float[Tensor, " images"], Float[Tensor, " images"]]:
        """Posterior mean of a − 1, and variance, of contrasts a of N(centre, spread²)."""
        precision = 1 / noise.variances(self.rows)
        variance = 1 / (spread**-2 + (precision * self.power).sum(1))
        pull = (centre - 1) / spread**2 + (precision * self.matched).sum(1)
        return variance * pull, variance

    def left(
        self, mean: Float[Tensor, " images"], variance: Float[Tensor, " images"]
    ) -> Float[Tensor, "images shells"]:
        """Means of |y − a h|² under such a posterior."""
        second = (mean.square() + variance)[:, None]
        return self.unexplained - 2 * mean[:, None] * self.matched + second * self.power


def noise_and_spread(
    products: Products,
    noise: NoiseModel,
    left: Callable[[Tensor, Tensor], NoiseModel],
    team: Team = ALONE,
) -> tuple[NoiseModel, float]:
    """Noise, and standard deviation of the contrasts relative to their mean, by EM.

    Expectation maximisation (Dempster, Laird & Rubin 1977) with contrasts as hidden variables.

    Args:
        products: Of some images, with what a model predicts of them.
        noise: To begin with.
        left: The noise that is left with contrasts of such means (less 1) and variances.
        team: Processes that have images each; all get the whole result.
    """
    spread, centre = STARTING_CONTRAST_SPREAD, 1.0
    for _ in range(CONTRAST_ROUNDS):
        mean, variance = products.contrasts(noise, centre, spread)
        values = (torch.ones_like(mean), mean, mean.square() + variance)
        sums = torch.stack([value.sum() for value in values])
        with may_wait("the spread of the contrasts goes into the log"):
            count, first, second = team.total(sums).tolist()
        centre = 1 + first / count
        variance_found = max(second / count - (first / count) ** 2, 0.0)
        spread = min(max(variance_found**0.5, LEAST_SPREAD), LARGEST_SPREAD)
        noise = left(mean, variance)
    # A network that has not learnt the whole amplitude yet shows contrasts about another
    # mean, which the likelihood, whose prior has the mean 1, lets it correct.
    return noise, min(spread / max(centre, LEAST_CENTRE), LARGEST_SPREAD)


class NoiseAndContrast:
    """Likelihood of the images of a run, estimated anew before every epoch but the first.

    The variance σ² of the noise, by optics group and shell, is the mean square of what the
    network leaves unexplained of a sample of the images, at the means of their latents. The
    loss weights squared residuals by w = v / σ², v being the mean of σ² over all images and
    points: of white noise, w = 1 whatever its variance, and of any other the loss at the true
    volumes is what it is without weights, so that β and the learning rate keep their meaning.
    In the first epoch, unless a linear model tells both (:meth:`begin_with`), noise is taken
    for white, and contrasts for 1, because a network that explains nothing yet leaves the
    signal in its residuals.

    Where images have contrasts of their own, their variance s² is estimated along, by
    expectation maximisation on the same sample.

    Args:
        images: The prepared images.
        particles: Their table.
        model: What explains them.
        latents: Latents that are learnt one by one; None asks the encoder, if there is one.
        dtype: Number type of the networks' matrix products.
        team: Processes that share the work.
        is_white: Whether all frequencies and groups have the same variance.
        with_contrast: Whether every image has a contrast of its own.
    """

    def __init__(
        self,
        images: TrainingSet,
        particles: ParticleSet,
        model: Model,
        latents: PerParticleParameters | None,
        dtype: torch.dtype,
        team: Team = ALONE,
        *,
        is_white: bool = False,
        with_contrast: bool = False,
    ) -> None:
        self._images, self._model, self._latents = images, model, latents
        self._dtype, self._team = dtype, team
        self._is_white, self._with_contrast = is_white, with_contrast
        device = images.device
        groups = optics_groups(particles.images)
        if is_white:
            groups = np.zeros_like(groups)
        self._groups = torch.from_numpy(groups).to(device)
        self._sizes = torch.bincount(self._groups)
        offsets = particles.offsets
        self._sample = _sample(groups if offsets is None else groups[offsets[:-1]])
        self._shells = images.shells
        self._spectra = torch.ones(len(self._sizes), int(self._shells.max()) + 1, device=device)
        # Graphs hold these tensors: what changes are their values.
        self._weights = torch.ones(len(self._sizes), len(images.lattice), device=device)
        self._prior = ContrastPrior(
            variance=torch.zeros((), device=device), level=torch.ones((), device=device)
        )
        images.judge_by(self.likelihood)

    @property
    def noise(self) -> NoiseModel:
        """The noise as it is known now."""
        return NoiseModel(groups=self._groups, spectra=self._spectra, shells=self._shells)

    def likelihood(self, rows: Int[Tensor, " images"]) -> ImageLikelihood:
        """The likelihood of some images, at all stored points."""
        prior = self._prior if self._with_contrast else None
        if self._is_white:
            return ImageLikelihood(contrast=prior)
        if len(self._weights) == 1:
            weights = self._weights.expand(len(rows), -1)
        else:
            weights = self._weights[self._groups[rows]]
        return ImageLikelihood(weights=weights, contrast=prior)

    def estimate(self) -> None:
        """Estimate the noise and the spread of contrasts from what is unexplained now."""
        mine = self._team.piece(self._sample)
        products = joined(list(self._of_batches(self._products, mine)))
        zero = torch.zeros(len(products.rows), device=self._images.device)
        noise, spread = self._noise_left(products, zero, zero), 0.0
        if self._with_contrast:
            left = partial(self._noise_left, products)
            noise, spread = noise_and_spread(products, noise, left, self._team)
        self.take(noise.spectra, spread)
        logger.info("%s", self._in_words())

    def begin_with(
        self, spectra: Float[Tensor, "groups shells"], contrast_spread: float = 0.0
    ) -> None:
        """Take what a linear model told, until the first estimate; white noise stays white.

        Args:
            spectra: Variances in the units of the images, of their optics groups; those of
                another number of groups stand for all by their mean. The last shell stands for
                what lies beyond it.
            contrast_spread: Standard deviation of contrasts.
        """
        count = self._spectra.shape[1]
        told = spectra.to(self._spectra)[:, :count]
        beyond = told[:, -1:].expand(-1, count - told.shape[1])
        told = torch.cat([told, beyond], dim=1)
        if len(told) != len(self._spectra):
            told = told.mean(0, keepdim=True)
        spread = contrast_spread if self._with_contrast else 0.0
        self.take(told.expand_as(self._spectra), spread)
        logger.info("at first, %s, as the linear model left it", self._in_words())

    def write_contrasts(self, path: Path) -> None:
        """Estimate once more, and write the contrast of every particle, where it has one.

        It is the posterior mean, averaged over the images of the particle.

        Args:
            path: A ``.npy`` file, as linear runs have it.
        """
        if not self._with_contrast:
            return
        self.estimate()
        mine = self._team.piece(torch.arange(len(self._images)))
        found = torch.cat(list(self._of_batches(self._contrasts, mine)))
        values = self._team.gather(found).cpu().numpy()
        if self._team.is_writer:
            with atomic_path(path) as partial, partial.open("wb") as file:
                np.save(file, values)

    def state_dict(self) -> dict[str, Any]:
        """Everything that must be remembered to go on exactly."""
        return {name: value.cpu() for name, value in self._state().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a remembered state."""
        for name, value in self._state().items():
            value.copy_(state[name])

    def take(self, spectra: Float[Tensor, "groups shells"], spread: float = 0.0) -> None:
        """Take over variances and the spread of contrasts, and the weights that follow."""
        share = self._sizes / self._sizes.sum()
        mean = share @ spectra[:, self._shells].mean(1)
        if self._is_white:
            spectra = mean.expand_as(spectra)
        self._spectra.copy_(spectra.maximum(LEAST_VARIANCE * mean))
        # Stored points may reach into corners that are never compared.
        radii = self._images.lattice.points.to(spectra.device).float().norm(dim=-1)
        shells = radii.round().long().clamp_max(spectra.shape[1] - 1)
        self._weights.copy_((mean / self._spectra)[:, shells])
        self._prior.variance.fill_(spread**2)
        self._prior.level.copy_(mean)

    def _state(self) -> dict[str, Tensor]:
        return {
            "spectra": self._spectra,
            "weights": self._weights,
            "contrast_variance": self._prior.variance,
            "level": self._prior.level,
        }

    def _of_batches(
        self, work: Callable[[Batch], Result], rows: Int[Tensor, " rows"]
    ) -> Iterator[Result]:
        """Results of work on some particles, a few at a time, in their order."""
        was_training = self._model.training
        self._model.eval()
        size = self._images.most_together(AT_A_TIME)
        with torch.no_grad():
            # Batches are read by one thread, and worked on by all.
            for some in rows.split(READ_AT_ONCE * size):
                yield from in_order(work, [self._images.batch(one) for one in some.split(size)])
        self._model.train(was_training)

    def _contrasts(self, batch: Batch) -> Float[Tensor, " particles"]:
        """Contrasts of particles, each the mean of those of its images."""
        likelihood, images = batch.compared_likelihood(), batch.targets()
        return batch.grouping.mean(likelihood.contrasts(self._predicted(batch), images))

    def _predicted(self, batch: Batch) -> Float[Tensor, "images compared 2"]:
        """The images that the network predicts at the means of their latents."""
        if self._model.has_encoder:
            latents, _ = self._model.encoder(batch.phase_flipped(), self._dtype)
        elif self._latents is not None:
            latents = self._latents.values[batch.rows]
        else:
            latents = batch.images.new_zeros(len(batch), 0)
        spread = batch.grouping.spread(latents)
        slices = self._model.decoder(batch.coordinates, spread, self._dtype)
        return predict(batch.whole_slices(slices), batch.compared_transfer())

    def _products(self, batch: Batch) -> Products:
        """Inner products of what is predicted and what is not, of some images."""
        predicted = self._predicted(batch)
        shells, count = self._shells, self._spectra.shape[1]
        return Products.of(batch.image_rows, predicted, batch.targets(), shells, count)

    def _noise_left(self, products: Products, mean: Tensor, variance: Tensor) -> NoiseModel:
        """The noise that is left with contrasts of such means (less 1) and variances."""
        left = ResidualPower(self.noise, len(self._shells))
        left.add(products.rows, products.left(mean, variance) / 2)
        left.share(self._team)
        return left.updated()

    def _in_words(self) -> str:
        """Noise and contrasts in one sentence."""
        with may_wait("the spectrum goes into the log"):
            level, variance = float(self._prior.level), float(self._prior.variance)
            amplitudes = (self._spectra[0] / level).sqrt().tolist()
        said = []
        if not self._is_white:
            places = np.unique(np.linspace(1, len(amplitudes) - 1, 5).round().astype(int))
            values = ", ".join(f"{amplitudes[place]:.2f}" for place in places.tolist())
            count = len(self._spectra)
            of = "" if count == 1 else f" of the first of {count} optics groups"
            radii = ", ".join(map(str, places.tolist()))
            said.append(
                f"noise{of}: amplitude {values} of that of white noise at radius {radii}"
            )
        if self._with_contrast:
            spread = variance**0.5
            # The variance is a float32.
            is_most = spread > 0.999 * LARGEST_SPREAD
            said.append(f"contrasts spread by {spread:.3f}{AT_MOST if is_most else ''}")
        return "; ".join(said)


def joined(parts: Sequence[Products]) -> Products:
    """The products of all images of some batches."""
    names = ("rows", "unexplained", "matched", "power")
    return Products(**{n: torch.cat([getattr(part, n) for part in parts]) for n in names})


def _sample(groups: Int[np.ndarray, " particles"]) -> Int[Tensor, " sample"]:
    """Particles evenly spaced in every optics group."""
    size = max(SAMPLE_OF_GROUP, SAMPLE // (int(groups.max()) + 1))
    rows = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        chosen = np.linspace(0, len(members) - 1, min(size, len(members))).astype(int)
        rows.append(members[chosen])
    return torch.from_numpy(np.sort(np.concatenate(rows)))
