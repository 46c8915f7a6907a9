"""A warm start: the encoder learns latents that are known, before all else is trained."""

import logging
import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import to_device
from cryodrgn.errors import ShapeMismatchError
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.io.cryodrgn_pickle import load_pickles
from cryodrgn.models.model import Model
from cryodrgn.parallel import ALONE, Team
from cryodrgn.progress import Progress
from cryodrgn.rundir import latents_at
from cryodrgn.training.optimizers import Adam
from cryodrgn.training.options import WarmStart

logger = logging.getLogger(__name__)

BATCH = 64
LARGEST_RATE = 1e-3
# A batch with latents far from all others must not undo what was learnt from the rest.
LARGEST_GRADIENT = 1.0
# Mean and log-variance of every particle's latent.
Targets = tuple[Float[Tensor, "particles z"], Float[Tensor, "particles z"]]
# Latents without an uncertainty of their own count as this certain.
TYPICAL_LOG_VARIANCE = -2.0


def load_targets(start: WarmStart, count: int, latent_dim: int) -> Targets:
    """Mean and log-variance that the encoder is to learn.

    Latents of fewer dimensions than the model's are followed by standard normal ones; of more,
    the first are taken. Means are scaled to unit variance, which is that of the prior.

    Args:
        start: Where they are.
        count: Number of particles.
        latent_dim: Dimensions of the model's latent.

    Raises:
        ShapeMismatchError: They are of another number of particles.
    """
    path = latents_at(start.latents)
    parts = [torch.as_tensor(part).float() for part in load_pickles(path)[:2]]
    if parts[0].ndim != 2 or len(parts[0]) != count:
        msg = (
            f"{path} holds latents of shape {tuple(parts[0].shape)}, but there are {count} "
            "particles"
        )
        raise ShapeMismatchError(msg)
    found = parts[0][:, :latent_dim]
    known = found.shape[1]
    mean, log_variance = torch.zeros(2, count, latent_dim)
    spread = found.std(0).clamp_min(1e-6)
    mean[:, :known] = (found - found.mean(0)) / spread
    has_variances = len(parts) > 1 and parts[1].shape == parts[0].shape
    if has_variances:
        log_variance[:, :known] = parts[1][:, :known] - 2 * spread.log()
    else:
        log_variance[:, :known] = TYPICAL_LOG_VARIANCE
    return mean, log_variance.clamp(-8.0, 0.0)


def teach_encoder(
    model: Model,
    particles: TrainingSet,
    targets: Targets,
    *,
    epochs: int,
    seed: int,
    team: Team = ALONE,
) -> float:
    """Minimise the KL divergence of the encoder's posterior from known ones.

    Args:
        model: The model; only its encoder is changed.
        particles: The images.
        targets: Mean and log-variance of every particle's latent.
        epochs: Passes through the images.
        seed: Of the order of the images.
        team: Processes of which each teaches its own copy.

    Returns:
        The divergence per dimension in the last pass.
    """
    optimizer = Adam(model.encoder.parameters(), lr=LARGEST_RATE)
    num_steps = epochs * math.ceil(particles.num_visited / BATCH)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, LARGEST_RATE, num_steps)
    mean, log_variance = (target.to(particles.device) for target in targets)
    divergence = torch.zeros(())
    with Progress(epochs * particles.num_visited, "teaching the encoder") as progress:
        for epoch in range(epochs):
            generator = generator_at(seed, (epoch, len(particles)))
            total = mean.new_zeros(())
            order = torch.randperm(len(particles), generator=generator)
            for rows in particles.visited(order).split(BATCH):
                parts = rows.split(particles.most_together(BATCH))
                views = [particles.batch(part).phase_flipped() for part in parts]
                found, found_log = model.encoder(ImageSets.joined(views))
                places = to_device(rows, particles.device)
                loss = _divergence(mean[places], log_variance[places], found, found_log)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.encoder.parameters(), LARGEST_GRADIENT)
                optimizer.step()
                rates.step()
                total += loss.detach() * len(rows)
                progress.advance(len(rows))
            divergence = total / particles.num_visited
    model.encoder.zero_grad(set_to_none=True)
    for parameter in model.parameters():
        # All processes have learnt the same, up to rounding.
        parameter.data = team.total(parameter.data) / team.size
    return float(divergence)


def _divergence(
    mean: Float[Tensor, "batch z"],
    log_variance: Float[Tensor, "batch z"],
    found_mean: Float[Tensor, "batch z"],
    found_log_variance: Float[Tensor, "batch z"],
) -> Float[Tensor, ""]:
    """KL divergence of N(found) from N(known), averaged over dimensions."""
    ratio = (log_variance.exp() + (mean - found_mean).square()) / found_log_variance.exp()
    return ((found_log_variance - log_variance + ratio - 1) / 2).mean()
