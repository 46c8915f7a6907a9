"""Latents of all images from a trained encoder."""

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.data.training_set import TrainingSet
from cryodrgn.models.vae import Vae

BATCH = 256


@torch.inference_mode()
def encode_all(
    model: Vae, particles: TrainingSet, dtype: torch.dtype = torch.float32
) -> tuple[Float[np.ndarray, "particles z"], Float[np.ndarray, "particles z"]]:
    """Mean and log-variance of the latent of every particle, without sampling.

    Args:
        model: The model; left in the mode it was in.
        particles: The images.
        dtype: Number type of the network's matrix products.
    """
    was_training = model.training
    model.eval()
    encoded = []
    for rows in torch.arange(len(particles)).split(BATCH):
        batch = particles.batch(rows)
        encoded.append(model.encoder(batch.exposures[0].phase_flipped(), dtype))
    model.train(was_training)
    mean, log_variance = (torch.cat(part).cpu().numpy() for part in zip(*encoded, strict=True))
    return mean, log_variance
