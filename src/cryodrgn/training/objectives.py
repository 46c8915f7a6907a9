"""What a batch is asked, by kind of training.

A batch comes in parts, each small enough for the processor's cache or the device's memory.
Gradients are accumulated part by part, so the result is that of the whole batch.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.data.training_set import Batch
from cryodrgn.models.decoders import Decoder
from cryodrgn.models.vae import Vae, sample_latent
from cryodrgn.training.losses import Losses, kl_divergence, reconstruction_loss


@runtime_checkable
class Objective(Protocol):
    """Computes the gradients of a batch; all else of a run is the same for every kind."""

    @property
    def model(self) -> nn.Module:
        """The module whose weights are saved."""
        ...

    @property
    def noise_dim(self) -> int:
        """Standard normal numbers that each image needs."""
        ...

    def accumulate_gradients(
        self, parts: Sequence[Batch], noise: Float[Tensor, "batch noise"]
    ) -> Losses:
        """Add the gradients of a batch to those of the parameters; returns its losses."""
        ...


class VaeObjective:
    """Evidence lower bound of a variational auto-encoder.

    Args:
        model: Encoder and decoder.
        beta: Weight of the KL divergence.
        dtype: Number type of the networks' matrix products.
    """

    def __init__(self, model: Vae, *, beta: float, dtype: torch.dtype) -> None:
        self.model = model
        self._beta = beta
        self._dtype = dtype

    @property
    def noise_dim(self) -> int:
        """One number per dimension of the latent."""
        return self.model.decoder.latent_dim

    def accumulate_gradients(
        self, parts: Sequence[Batch], noise: Float[Tensor, "batch noise"]
    ) -> Losses:
        """Gradients at one random sample of every image's latent."""
        images = torch.cat([part.exposures[0].phase_flipped() for part in parts]).detach()
        mean, log_variance = self.model.encoder(images, self._dtype)
        latent = sample_latent(mean, log_variance, noise)
        # The decoder's graphs end at this copy; what they say of it is passed on at the end.
        sampled = latent.detach().requires_grad_()
        reconstruction = accumulate_reconstruction(
            self.model.decoder, parts, sampled, self._dtype
        )
        kl = kl_divergence(mean, log_variance)
        num_values = 2 * parts[0].exposures[0].coordinates.shape[1]
        penalty = self._beta * kl / num_values
        assert sampled.grad is not None
        (penalty + (latent * sampled.grad).sum()).backward()
        total = reconstruction + penalty.detach()
        return Losses(reconstruction=reconstruction, kl=kl.detach(), total=total)


def accumulate_reconstruction(
    decoder: Decoder,
    parts: Sequence[Batch],
    latent: Float[Tensor, "batch z"],
    dtype: torch.dtype,
) -> Float[Tensor, ""]:
    """Add the gradients of the reconstruction loss, part by part.

    Returns:
        The loss, averaged over images and exposures, without graph.
    """
    count = len(latent)
    whole = latent.new_zeros(())
    for part, part_latent in zip(parts, latent.split([len(p) for p in parts]), strict=True):
        losses = [
            reconstruction_loss(
                decoder(exposure.coordinates, part_latent, dtype),
                exposure.targets(),
                exposure.compared_ctf(),
            )
            for exposure in part.exposures
        ]
        share = torch.stack(losses).mean() * (len(part) / count)
        share.backward()
        whole += share.detach()
    return whole
