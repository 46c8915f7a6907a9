"""Settings of networks, and the models that they describe."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from cryodrgn.errors import ConfigError
from cryodrgn.models.settings import (
    DECODER,
    ENCODER,
    ENCODER_MODES,
    Activation,
    DecoderConfig,
    Domain,
    EncoderConfig,
    EncodingName,
    ModelConfig,
)
from cryodrgn.settings import (
    Settings,
    at_least,
    option,
    options_of,
    part_of,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.models.settings import DecoderSettings, EncoderSettings

NETWORK = "Network Architecture"

# Settings that describe the perceptron and no other decoder.
OF_PERCEPTRON = frozenset(
    {"decoder_layers", "decoder_dim", "lattice_extent"}
    | {"encoding", "encoding_dim", "feature_sigma", "domain"}
)
# Settings that describe encoders of cryoDRGN and no others.
OF_ENCODERS = frozenset({"encoder_layers", "encoder_dim", "encoder_mask", "use_real"})


@settings
class LatentOptions(Settings):
    """Dimension of the latent variable."""

    zdim: int | None = option(
        "--zdim", default=None, check=at_least(1), help="Dimension of latent variable"
    )

    @property
    def has_latent_dim(self) -> bool:
        """True if the settings say the dimension."""
        return self.zdim is not None

    @property
    def latent_dim(self) -> int:
        """The dimension.

        Raises:
            ConfigError: It was not given, or is less than 1.
        """
        if self.zdim is None:
            msg = "the dimension of the latent variable is missing; give it with `zdim`"
            if getattr(self, "load", None) == "latest":
                msg += "; `load` latest takes it from a run of the same particles in `outdir`"
            raise ConfigError(msg)
        if self.zdim < 1:
            msg = f"`zdim` must be at least 1, got {self.zdim}"
            raise ConfigError(msg)
        return self.zdim


@settings
class DecoderOptions(Settings):
    """Architecture of a decoder, under the names of 0.2.0 and of later versions."""

    decoder_layers: int = same_as(DecoderConfig, "num_layers")
    decoder_dim: int = same_as(DecoderConfig, "hidden_dim")
    decoder_name: str | None = option(
        "--decoder",
        default=None,
        group=DECODER,
        metavar="NAME[:SETTING=VALUE,...]",
        help="Decoder of another installed package, with its settings (default: the "
        "perceptron, which the other options describe)",
    )
    encoding: EncodingName = same_as(DecoderConfig, "encoding")
    encoding_dim: int | None = same_as(DecoderConfig, "encoding_dim")
    feature_sigma: float = same_as(DecoderConfig, "feature_sigma")
    domain: Domain = same_as(DecoderConfig, "domain")
    activation: Activation = same_as(DecoderConfig, "activation")

    @property
    def extent(self) -> float:
        """Number that stands for Nyquist at the input, without positional encoding."""
        return 0.5

    def decoder(self) -> "DecoderSettings":
        """The decoder.

        Raises:
            ConfigError: A decoder of another package is named beside settings of ours.
        """
        from cryodrgn.models.registry import DECODERS

        if self.decoder_name is not None:
            DECODERS.find(self.decoder_name.partition(":")[0])
            self.refuse_beside(OF_PERCEPTRON, f"the perceptron, not {self.decoder_name}")
            return DECODERS.parse(self.decoder_name)
        return part_of(self, DecoderConfig, {"extent": self.extent})

    def refuse_beside(self, names: Collection[str], described: str) -> None:
        """Refuse settings that would have no effect.

        Raises:
            ConfigError: One of them is given.
        """
        for name in sorted(set(names) & self.given):
            msg = (
                f"`{name}` describes {described}, whose settings are given with its name as "
                "NAME:SETTING=VALUE"
            )
            raise ConfigError(msg)

    def refuse_activation(self) -> None:
        """Refuse an activation that neither decoder nor encoder has.

        Raises:
            ConfigError: It is given.
        """
        if self.decoder_name is not None:
            described = f"the perceptron, not {self.decoder_name}"
            self.refuse_beside(["activation"], described)

    def decoder_alone(self, box_size: int, latent_dim: int = 0) -> ModelConfig:
        """A model without encoder."""
        self.refuse_activation()
        return ModelConfig(
            box_size=box_size, latent_dim=latent_dim, encoder=None, decoder=self.decoder()
        )


@settings
class EncoderOptions(Settings):
    """Architecture of an encoder, under the names of 0.2.0 and of later versions."""

    encoder_layers: int = same_as(EncoderConfig, "num_layers")
    encoder_dim: int = same_as(EncoderConfig, "hidden_dim")
    encode_mode: str | None = option(
        "--encode-mode",
        default=None,
        group=ENCODER,
        metavar="{conv,resid,mlp,tilt,subtomogram,NAME}",
        help="Type of encoder network, or the name of an encoder of another installed package, "
        "with its settings as NAME:SETTING=VALUE,...; subtomogram reads any number of images "
        "of a particle, tilt those of a tilt pair or --ntilts of a tilt series",
        default_words="resid; tilt with --tilt, subtomogram for tilt series",
    )
    encoder_mask: int | None = same_as(EncoderConfig, "mask_radius")
    use_real: bool = same_as(EncoderConfig, "use_real")


@settings
class TiltEncoderOptions(Settings):
    """Architecture of cryoDRGN's encoder of tilt series."""

    tilt_embedding_dim: int = same_as(EncoderConfig, "tilt_embedding_dim")
    tilt_layers: int = same_as(EncoderConfig, "tilt_layers")
    tilt_hidden_dim: int = same_as(EncoderConfig, "tilt_hidden_dim")


@settings
class AutoEncoderOptions(DecoderOptions, EncoderOptions, LatentOptions):
    """Architecture of encoder and decoder."""

    def auto_encoder(
        self, box_size: int, usual: str = "resid", num_tilts: int | None = None
    ) -> ModelConfig:
        """Encoder and decoder.

        Args:
            box_size: Side of the images in pixels.
            usual: Mode of the encoder where none is given.
            num_tilts: Images of a particle that the encoder of cryoDRGN's tilt series reads,
                which the mode ``tilt`` means where they are given.
        """
        encoder = self._encoder(usual, num_tilts)
        if not isinstance(encoder, EncoderConfig):
            self.refuse_activation()
        return ModelConfig(
            box_size=box_size,
            latent_dim=self.latent_dim,
            encoder=encoder,
            decoder=self.decoder(),
        )

    def _encoder(self, usual: str, num_tilts: int | None) -> "EncoderSettings":
        from cryodrgn.models.registry import ENCODERS

        mode: Any = self.encode_mode or usual
        if mode not in ENCODER_MODES:
            ENCODERS.find(mode.partition(":")[0])
            self.refuse_beside(OF_ENCODERS, f"encoders of cryoDRGN, not {mode}")
            return ENCODERS.parse(mode)
        if mode == "tilt" and num_tilts is not None:
            more: dict[str, Any] = {"mode": "tilt_series", "num_tilts": num_tilts}
        else:
            # Sizes of the encoder of tilt series say nothing of others.
            usual_sizes = EncoderConfig()
            more = {one: getattr(usual_sizes, one) for one in options_of(TiltEncoderOptions)}
            more["mode"] = mode
        return part_of(self, EncoderConfig, {"activation": self.activation, **more})
