"""Bounds of the likelihood of held-out particles, by which models are compared.

A linear model and its sum with a network are judged by one number, a lower bound of the
log-likelihood of all images of a particle in which the latent is integrated out, so that
neither gains by latents that follow noise:

    log p(y) ≥ E log mean_s p(y | z_s) p(z_s) / q(z_s | y),   z_s drawn from q

(importance weighting, Burda et al. 2016), with the prior N(0, I), and the noise that the linear
model leaves of the images, shell by shell. Contrasts of images are integrated out in closed
form, too: else a latent that follows them would explain the images better, and no volume would
be better. The bound holds for any posterior q, and volumes are
judged, not encoders, so each model has the better one of two: that of the encoder, and that of
the linear model in closed form. The linear model is also given the network's correction of its
mean volume, which is the same for all particles and no heterogeneity.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch
from cryodrgn.data.batches import generator_at
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.imaging.likelihood import ContrastPrior, ImageLikelihood, predict
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.models.linear_encoder import LinearEncoder
from cryodrgn.models.linear_network import LinearNetwork
from cryodrgn.models.model import Model, sample_latent
from cryodrgn.models.protocols import Posterior
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.copies import mean_of_copies, standard_error
from cryodrgn.progress import Progress
from cryodrgn.training.model_choice import ModelChoice
from cryodrgn.training.noise_and_contrast import Products, joined, noise_and_spread

SAMPLES = 8
AT_A_TIME = 32
# Random numbers of the samples are not those of any epoch.
STREAM = 0x1D6E
Decode = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidate:
    """A model that is judged.

    Attributes:
        decode: Slices at points and latents.
        posterior: Mean and log-variance of latents, one row per judged particle.
    """

    decode: Decode
    posterior: tuple[Tensor, Tensor]


def can_be_judged(model: Model) -> bool:
    """True if a model is the sum of a linear model and a network, with latents of images."""
    is_sum = isinstance(model.decoder, LinearNetwork)
    return is_sum and model.has_encoder and isinstance(model.encoder, LinearEncoder)


@torch.inference_mode()
def compare_with_linear(
    model: Model,
    particles: TrainingSet,
    rows: Int[Tensor, " rows"],
    numbers: Int[np.ndarray, " rows"],
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    team: Team = ALONE,
) -> ModelChoice:
    """Judge a network on a linear model by particles that it was not trained on.

    Args:
        model: The sum.
        particles: All images.
        rows: The particles kept out of training.
        numbers: Those of the different particles that they are: copies are no further evidence.
        seed: Of the samples.
        dtype: Number type of the network's matrix products.
        team: Processes that share the work; all get the whole result.
    """
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, LinearEncoder)
    assert isinstance(decoder, LinearNetwork)
    was_training = model.training
    model.eval()
    mine = team.piece(rows)
    told = [_posteriors(encoder, batch, dtype) for batch in _batches(particles, mine)]
    closed, corrected = (_joined([pair[number] for pair in told]) for number in (0, 1))
    centre = team.total(corrected[0].sum(0)) / len(rows)
    moved: Decode = partial(_with_one_correction, decoder, centre, dtype)
    alone = Candidate(decode=decoder.linear, posterior=closed)
    likelihood = conditions_of(alone, particles, mine, team).likelihood(particles)
    shape = SAMPLES, len(rows), decoder.latent_dim
    drawn = torch.randn(shape, generator=generator_at(seed, (STREAM,)))
    noise = drawn[:, torch.searchsorted(rows, mine)].to(particles.device)

    def bounds(
        decode: Decode, posterior: Posterior, progress: Progress
    ) -> Float[np.ndarray, " particles"]:
        candidate = Candidate(decode=decode, posterior=posterior)
        found = likelihood_bounds(candidate, particles, mine, likelihood, noise, progress)
        return mean_of_copies(team.gather(found).double().cpu().numpy(), numbers)

    posteriors, summed = (closed, corrected), partial(decoder, dtype=dtype)
    with Progress(3 * len(posteriors) * len(mine), "comparing models", "particles") as progress:
        linear, whole = (
            highest([bounds(decode, q, progress) for decode in decodes for q in posteriors])
            for decodes in ((decoder.linear, moved), (summed,))
        )
    gains = whole - linear
    model.train(was_training)
    return ModelChoice(
        gain=float(gains.mean()),
        error=standard_error(gains, ddof=1),
        num_particles=len(gains),
    )


def closed_posterior(
    encoder: LinearEncoder, particles: TrainingSet, rows: Int[Tensor, " rows"]
) -> Posterior:
    """The posterior of the linear model alone, of some particles.

    Args:
        encoder: Holds that model.
        particles: All images, at the points of its lattice.
        rows: The particles.
    """
    found = (encoder.linear(batch.phase_flipped()) for batch in _batches(particles, rows))
    return _joined(list(found))


def highest(
    bounds: Sequence[Float[np.ndarray, " particles"]],
) -> Float[np.ndarray, " particles"]:
    """The bounds with the highest mean, of several of one model."""
    return max(bounds, key=lambda found: float(found.mean()))


def untempered(posterior: Posterior, times: float) -> Posterior:
    """Posterior of images that count once, told from one in which they count several times.

    An encoder that is trained with a KL divergence of less than its weight in the evidence
    lower bound learns the latter: of the likelihood L(z) it tells L(z)^t p(z) in place of
    L(z) p(z), normalised (β-VAE; Higgins et al. 2017). With normal distributions a precision
    1/ν = t Λ + 1 becomes Λ + 1, and the mean t Λ m / (t Λ + 1) becomes Λ m / (Λ + 1).

    Args:
        posterior: Mean and log-variance, one row per particle.
        times: t.
    """
    mean, log_variance = posterior
    precision = (-log_variance).exp().clamp_min(1)
    once = (precision - 1) / times + 1
    return mean * precision / (times * once), -once.log()


def _with_one_correction(
    decoder: LinearNetwork,
    centre: Float[Tensor, " z"],
    dtype: torch.dtype,
    frequencies: Float[Tensor, "batch points 3"],
    latent: Float[Tensor, "batch z"],
) -> Float[Tensor, "batch points 2"]:
    """The linear model with what was learnt at one latent: a correction of its mean volume."""
    correction = decoder.correction(frequencies, centre.expand(len(latent), -1), dtype)
    return decoder.linear(frequencies, latent) + correction


def _batches(particles: TrainingSet, rows: Int[Tensor, " rows"]) -> Iterator[Batch]:
    """Particles a few at a time, in order."""
    return (particles.batch(part) for part in rows.split(particles.most_together(AT_A_TIME)))


def _posteriors(
    encoder: LinearEncoder, batch: Batch, dtype: torch.dtype
) -> tuple[Posterior, Posterior]:
    """Latents under the linear model, and under the sum."""
    views = batch.phase_flipped()
    return encoder.linear(views), encoder(views, dtype)


def _joined(found: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    means, log_variances = zip(*found, strict=True)
    return torch.cat(means), torch.cat(log_variances)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conditions:
    """Noise of the images, and spread of their contrasts, under which models are judged.

    Attributes:
        variances: Of the noise of a real number by shell.
        spread: Standard deviation of contrasts.
    """

    variances: Float[Tensor, " shells"]
    spread: float

    def likelihood(self, particles: TrainingSet) -> ImageLikelihood:
        """The likelihood of images, contrasts of N(1, spread²) integrated out."""
        precision = (1 / self.variances.clamp_min(1e-12))[particles.shells]
        unit = precision.new_ones(())
        prior = ContrastPrior(variance=self.spread**2 * unit, level=unit)
        return ImageLikelihood(weights=precision[None], contrast=prior)


def conditions_of(
    candidate: Candidate, particles: TrainingSet, rows: Int[Tensor, " rows"], team: Team
) -> Conditions:
    """Noise and spread of contrasts by the residuals of a model at its mean latents.

    Args:
        candidate: The model.
        particles: The images.
        rows: The particles that are judged, in the order of its posterior.
        team: Processes that share the work.
    """
    shells = particles.shells
    count = int(shells.max()) + 1
    mean, _ = candidate.posterior
    latents = iter(mean.split(particles.most_together(AT_A_TIME)))
    parts, done = [], 0
    for batch in _batches(particles, rows):
        pair = _predicted(candidate.decode, batch, next(latents))
        numbers = torch.arange(done, done + batch.num_images, device=particles.device)
        parts.append(Products.of(numbers, *pair, shells, count))
        done += batch.num_images
    products = joined(parts)
    points = torch.bincount(shells, minlength=count).clamp_min(1)
    images = team.total(torch.tensor(float(done), device=particles.device))

    def left(mean: Tensor, variance: Tensor) -> NoiseModel:
        power = team.total(products.left(mean, variance).sum(0)) / (2 * points * images)
        return NoiseModel(
            groups=torch.zeros_like(products.rows),
            spectra=power.clamp_min(1e-12)[None],
            shells=shells,
        )

    nothing = torch.zeros(done, device=particles.device)
    noise, spread = noise_and_spread(products, left(nothing, nothing), left, team)
    return Conditions(variances=noise.spectra[0], spread=spread)


def likelihood_bounds(
    candidate: Candidate,
    particles: TrainingSet,
    rows: Int[Tensor, " rows"],
    likelihood: ImageLikelihood,
    noise: Float[Tensor, "samples rows z"],
    progress: Progress,
) -> Float[Tensor, " rows"]:
    """Lower bound of the log-likelihood of every particle, beside a constant.

    Args:
        candidate: The model.
        particles: The images.
        rows: The particles that are judged, in the order of its posterior.
        likelihood: Of images; see :class:`Conditions`.
        noise: Standard normal numbers of the samples.
        progress: Is told of every particle that is done.
    """
    means, log_variances = candidate.posterior
    found, done = [], 0
    for batch in _batches(particles, rows):
        here = slice(done, done + len(batch))
        done, weights = done + len(batch), []
        log_variance, drawn = log_variances[here], noise[:, here]
        for standard in drawn:
            latent = sample_latent(means[here], log_variance, standard)
            errors = likelihood.errors(*_predicted(candidate.decode, batch, latent))
            fit = -0.5 * batch.grouping.total(errors)
            prior = -0.5 * latent.square().sum(1)
            own = -0.5 * (standard.square() + log_variance).sum(1)
            weights.append(fit + prior - own)
        found.append(torch.logsumexp(torch.stack(weights), dim=0) - math.log(len(drawn)))
        progress.advance(len(batch))
    return torch.cat(found)


def _predicted(
    decode: Decode, batch: Batch, latent: Float[Tensor, "batch z"]
) -> tuple[Float[Tensor, "images points 2"], Float[Tensor, "images points 2"]]:
    """Images without noise, for a contrast of 1, and the images themselves."""
    slices = decode(batch.coordinates, batch.grouping.spread(latent))
    return predict(slices, batch.compared_transfer()), batch.targets()
