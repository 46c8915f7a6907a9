"""Latents of all images from a trained encoder, and how well they explain the images."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import StoredBatch
from cryodrgn.data.batches import padded
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.errors import NumericalError
from cryodrgn.imaging.likelihood import kl_divergence, reconstruction_loss
from cryodrgn.models.model import Model
from cryodrgn.models.protocols import Posterior
from cryodrgn.parallel import ALONE, Team
from cryodrgn.progress import Progress

BATCH = 256
EncodeStored = Callable[[StoredBatch, Float[Tensor, "points 2"]], Posterior]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """Evaluation of a model on a particle set: latents and losses.

    Attributes:
        mean: Mean of every particle's latent.
        log_variance: Log-variance of it.
        reconstruction: Mean squared error per value at the mean latents, averaged over
            particles.
        kl: KL divergence of the latent posterior, summed over its dimensions and averaged over
            particles.
        loss: Reconstruction + β KL / (z P), for z dimensions and P compared values.
    """

    mean: Float[np.ndarray, "particles z"]
    log_variance: Float[np.ndarray, "particles z"]
    reconstruction: float
    kl: float
    loss: float


@torch.inference_mode()
def encode_all(
    model: Model,
    particles: TrainingSet,
    dtype: torch.dtype = torch.float32,
    team: Team = ALONE,
    encode: EncodeStored | None = None,
) -> tuple[Float[np.ndarray, "particles z"], Float[np.ndarray, "particles z"]]:
    """Mean and log-variance of the latent of every particle, without sampling.

    Args:
        model: The model; left in the mode it was in.
        particles: The images.
        dtype: Number type of the network's matrix products.
        team: Processes that share the work; all get the whole result.
        encode: The encoder as a function that is given always as many particles, which have
            equally many images; None asks the model.

    Raises:
        NumericalError: A latent is not finite.
    """
    was_training = model.training
    model.eval()
    order = particles.in_order_of_storage
    mine = team.piece(order)
    size = particles.most_together(BATCH)
    batches, encoded = mine.split(size), list[Posterior]()
    is_card = particles.device.type == "cuda"
    with particles.reading(mine) if is_card else nullcontext():
        for rows, following in zip_longest(batches, batches[1:]):
            encoded.append(_encoded(model, particles, rows, dtype, encode))
            if following is not None:
                particles.expect(following if encode is None else padded(following, size))
    model.train(was_training)
    mean, log_variance = (_in_rows(part, order, team) for part in zip(*encoded, strict=True))
    if not (np.isfinite(mean).all() and np.isfinite(log_variance).all()):
        msg = "a latent is not finite: the weights of the encoder have run away"
        raise NumericalError(msg)
    return mean, log_variance


def _encoded(
    model: Model,
    particles: TrainingSet,
    rows: Int[Tensor, " rows"],
    dtype: torch.dtype,
    encode: EncodeStored | None,
) -> Posterior:
    """Mean and log-variance of the latents of some particles."""
    if encode is None:
        return model.encoder(particles.batch(rows).phase_flipped(), dtype)
    stored = particles.stored(padded(rows, particles.most_together(BATCH)))
    mean, log_variance = encode(stored, particles.frequencies())
    return mean[: len(rows)], log_variance[: len(rows)]


@torch.inference_mode()
def encode_rows(
    model: Model,
    particles: TrainingSet,
    rows: Int[Tensor, " rows"],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "rows z"]:
    """Mean of the latents of some particles, in the model's present mode."""
    parts = rows.split(particles.most_together(BATCH))
    views = (particles.batch(part).phase_flipped() for part in parts)
    return torch.cat([model.encoder(view, dtype)[0] for view in views])


@torch.inference_mode()
def evaluate_all(
    model: Model,
    particles: TrainingSet,
    *,
    beta: float,
    batch_size: int,
    team: Team = ALONE,
) -> Evaluation:
    """Encode every particle and compare its image with the slice decoded at its mean latent.

    Args:
        model: The model.
        particles: The images.
        beta: Weight of the KL divergence, which is averaged over dimensions.
        batch_size: Images at a time.
        team: Processes that share the work; all get the whole result.
    """
    model.eval()
    order = particles.in_order_of_storage
    mine = team.piece(order)
    encoded, reconstruction = [], 0.0
    with Progress(len(mine), "evaluating") as progress:
        for rows in mine.split(particles.most_together(batch_size)):
            batch = particles.batch(rows)
            mean, log_variance = model.encoder(batch.phase_flipped())
            encoded.append((mean, log_variance))
            slices = model.decoder(batch.coordinates, batch.grouping.spread(mean))
            slices = batch.whole_slices(slices)
            loss = reconstruction_loss(slices, batch.targets(), batch.compared_transfer())
            reconstruction += float(loss) * batch.num_images / particles.images_per_particle
            progress.advance(len(batch))
    mean, log_variance = (_in_rows(part, order, team) for part in zip(*encoded, strict=True))
    reconstruction = team.sum_numbers(reconstruction) / len(particles)
    per_dimension = float(kl_divergence(torch.from_numpy(mean), torch.from_numpy(log_variance)))
    return Evaluation(
        mean=mean,
        log_variance=log_variance,
        reconstruction=reconstruction,
        kl=per_dimension * mean.shape[1],
        loss=reconstruction + beta * per_dimension / (2 * particles.num_points),
    )


def _in_rows(
    parts: Sequence[Tensor], order: Tensor, team: Team
) -> Float[np.ndarray, "particles z"]:
    """Results of all processes, rearranged into the order of the particles."""
    values = team.gather(torch.cat(list(parts))).cpu()
    result = torch.empty_like(values)
    result[order] = values
    return result.numpy()
