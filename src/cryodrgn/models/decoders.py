"""The perceptron decoder: Fourier transform of the volume at any frequency and latent."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.fourier.grids import hartley_to_half
from cryodrgn.models.encodings import axis_waves, encode_by_axis, encode_by_vectors
from cryodrgn.models.layers import Mlp, count_perceptron
from cryodrgn.models.pointwise import PointwiseNetwork
from cryodrgn.models.protocols import DecoderSizes, VolumeModel
from cryodrgn.models.settings import DecoderConfig


class Decoder(VolumeModel[DecoderConfig]):
    """(frequency, latent) → value of the transform, exactly Hermitian.

    In the ``fourier`` domain the network returns (Re, Im) and is asked only at kz ≤ 0; the
    rest follows from F(−k) = conj F(k). In the ``hartley`` domain it returns the Hartley value,
    and is asked at k and at −k.

    Args:
        config: Architecture.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent; 0 for a single structure.
    """

    settings_type = DecoderConfig

    def __init__(self, config: DecoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        self.domain = config.domain
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

    @classmethod
    def sizes(cls, config: DecoderConfig, *, box_size: int, latent_dim: int) -> DecoderSizes:
        """Sizes of the perceptron; its weights are multiplied with once per point."""
        features = 3
        if config.encoding != "none":
            features = 6 * (config.encoding_dim or box_size // 2)
        layers, width = config.num_layers, config.hidden_dim
        weights = count_perceptron(latent_dim + features, layers, width, 2)
        vectors = features // 2 * 3 if config.encoding == "gaussian" else 0
        return DecoderSizes(
            weights=weights + vectors,
            multiply_adds=weights,
            training_values=2.5 * features + width * (2 * (layers + 1) + 3),
            evaluated_values=2.5 * features + 3 * width,
            volume_multiply_adds=layers * width**2 + 2 * width,
            shared_multiply_adds=features * width,
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

    def fast_evaluation(self, dtype: torch.dtype = torch.float32) -> PointwiseNetwork:
        """The perceptron with what all latents have in common computed once."""
        return PointwiseNetwork(
            self.decoder, self.features, self.latent_dim, dtype, is_compiled=self.compiles
        )

    @property
    def renamed_weights(self) -> tuple[str, str]:
        """CryoDRGN's Hartley decoder without positional encoding is the perceptron itself."""
        bare = self.config.encoding == "none" and self.config.domain == "hartley"
        return "decoder.main.", "main." if bare else "decoder.main."

    def features(
        self, frequencies: Float[Tensor, "*batch 3"], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*batch features"]:
        """Input features of the perceptron at frequencies in cycles per pixel."""
        if self.config.encoding == "none":
            return (frequencies * (self.config.extent / 0.5)).to(dtype)
        if self.config.encoding == "gaussian":
            return encode_by_vectors(frequencies, self.rand_freqs, self.box_size // 2, dtype)
        return encode_by_axis(frequencies, self.get_buffer("waves"), dtype)
