"""The network that returns the Fourier transform of the molecule at any frequency and state."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.fourier.grids import hartley_to_half
from cryodrgn.models.encodings import (
    EncodingName,
    axis_waves,
    encode_by_axis,
    encode_by_vectors,
)
from cryodrgn.models.layers import Activation, Mlp

Domain = Literal["fourier", "hartley"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """Architecture of a decoder.

    Attributes:
        num_layers: Hidden layers.
        hidden_dim: Their width.
        encoding: Positional encoding of the frequencies.
        encoding_dim: Waves per axis; None means half the box size.
        feature_sigma: Spread of the wave vectors of the ``gaussian`` encoding.
        domain: Whether the network returns Fourier or Hartley values.
        activation: Between the layers.
        extent: Without positional encoding, the number that stands for Nyquist at the input.
    """

    num_layers: int = 3
    hidden_dim: int = 256
    encoding: EncodingName = "geom_lowf"
    encoding_dim: int | None = None
    feature_sigma: float = 0.5
    domain: Domain = "fourier"
    activation: Activation = "relu"
    extent: float = 0.5


class Decoder(nn.Module):
    """(frequency, latent) → value of the transform, exactly Hermitian.

    In the ``fourier`` domain the network returns (Re, Im) and is asked only at kz ≤ 0; the
    rest follows from F(−k) = conj F(k). In the ``hartley`` domain it returns the Hartley value,
    and is asked at k and at −k.

    Args:
        config: Architecture.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent; 0 for a single structure.
    """

    def __init__(self, config: DecoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        self.box_size = box_size
        self.latent_dim = latent_dim
        count = config.encoding_dim or box_size // 2
        if config.encoding == "gaussian":
            vectors = torch.randn(3 * count, 3) * config.feature_sigma
            self.rand_freqs = nn.Parameter(vectors, requires_grad=False)
        elif config.encoding != "none":
            waves = axis_waves(config.encoding, box_size, count)
            self.register_buffer("waves", waves, persistent=False)
        self.decoder = Mlp(
            latent_dim + (3 if config.encoding == "none" else 6 * count),
            config.num_layers,
            config.hidden_dim,
            2 if config.domain == "fourier" else 1,
            config.activation,
        )

    def forward(
        self,
        frequencies: Float[Tensor, "batch points 3"],
        latent: Float[Tensor, "batch z"],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch points 2"]:
        """The transform as pairs (real, imaginary).

        Args:
            frequencies: (kx, ky, kz) in cycles per pixel.
            latent: State of each image; of width 0 for a single structure.
            dtype: Number type of the network's matrix products. Encoding and result are
                float32 in any case.
        """
        if self.config.domain == "hartley":
            both = torch.cat([frequencies, -frequencies.flip(1)], dim=1)
            return hartley_to_half(self._network(both, latent, dtype).squeeze(-1))
        # The switch of half-spaces has no gradient of its own.
        sign = torch.where(frequencies[..., 2:] > 0, -1.0, 1.0).detach()
        values = self._network(frequencies * sign, latent, dtype)
        return torch.cat([values[..., :1], values[..., 1:] * sign], dim=-1)

    def _network(
        self, frequencies: Float[Tensor, "batch points 3"], latent: Tensor, dtype: torch.dtype
    ) -> Float[Tensor, "batch points out"]:
        features = self.features(frequencies, dtype)
        lower = dtype != torch.float32
        with torch.autocast(frequencies.device.type, dtype, enabled=lower):
            values = self.decoder.conditioned(features, latent)
        return values.float()

    def features(
        self, frequencies: Float[Tensor, "*batch 3"], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*batch features"]:
        """Input features of the perceptron at frequencies in cycles per pixel."""
        if self.config.encoding == "none":
            return (frequencies * (self.config.extent / 0.5)).to(dtype)
        if self.config.encoding == "gaussian":
            return encode_by_vectors(frequencies, self.rand_freqs, self.box_size // 2, dtype)
        return encode_by_axis(frequencies, self.get_buffer("waves"), dtype)
