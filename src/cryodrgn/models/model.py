"""A model: a decoder, and an encoder if it has one."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.models.protocols import Encoder, VolumeModel


class Model(nn.Module):
    """A decoder, alone or as a variational auto-encoder with an encoder.

    Attributes:
        decoder: (frequency, latent) → transform.
        encoder: Images → latent mean and log-variance; there only if :attr:`has_encoder`.

    Args:
        decoder: The decoder.
        encoder: The encoder; None for a model without one.
    """

    encoder: Encoder

    def __init__(self, decoder: VolumeModel, encoder: Encoder | None = None) -> None:
        super().__init__()
        # The order of parameters is that of cryoDRGN's optimiser state.
        if encoder is not None:
            self.encoder = encoder
        self.decoder = decoder

    @property
    def has_encoder(self) -> bool:
        """True if the model reads latents off images."""
        return "encoder" in self._modules

    def matrices_for_muon(self, *, with_encoder_inputs: bool = True) -> list[nn.Parameter]:
        """Weights of linear layers: of the hidden ones, and of the encoder's first one.

        Args:
            with_encoder_inputs: Whether that one is among them. The first layer of a decoder,
                which sees encoded positions, learns slower with Muon.
        """
        found = list[nn.Parameter]()
        for name, part in self.named_children():
            layers = [module for module in part.modules() if isinstance(module, nn.Linear)]
            first = 0 if name == "encoder" and with_encoder_inputs else 1
            weights = (layer.weight for layer in layers[first:-1])
            found += [weight for weight in weights if isinstance(weight, nn.Parameter)]
        return found


def sample_latent(
    mean: Float[Tensor, "batch z"],
    log_variance: Float[Tensor, "batch z"],
    noise: Float[Tensor, "batch z"],
) -> Float[Tensor, "batch z"]:
    """Reparametrised sample of the posterior: mean + σ · noise (Kingma & Welling 2014)."""
    return mean + torch.exp(0.5 * log_variance) * noise
