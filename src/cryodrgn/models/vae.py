"""Encoder and decoder together."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.models.decoders import Decoder
from cryodrgn.models.encoders import Encoder


class Vae(nn.Module):
    """A variational auto-encoder of particle images.

    Args:
        encoder: Image → latent mean and log-variance.
        decoder: (frequency, latent) → transform.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder


def sample_latent(
    mean: Float[Tensor, "batch z"],
    log_variance: Float[Tensor, "batch z"],
    noise: Float[Tensor, "batch z"],
) -> Float[Tensor, "batch z"]:
    """Reparametrised sample of the posterior: mean + σ · noise (Kingma & Welling 2014)."""
    return mean + torch.exp(0.5 * log_variance) * noise
