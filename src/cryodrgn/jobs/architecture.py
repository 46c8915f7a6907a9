"""Settings of networks, and the models that they describe."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal

from cryodrgn.errors import ConfigError
from cryodrgn.settings import POSITIVE, Check, Settings, at_least, option, settings

if TYPE_CHECKING:
    from cryodrgn.models.settings import DecoderSettings, EncoderSettings, ModelConfig

ENCODER, DECODER, NETWORK = "Encoder Network", "Decoder Network", "Network Architecture"
Encoding = Literal[
    "geom_ft", "geom_full", "geom_lowf", "geom_nohighf", "linear_lowf", "none", "gaussian"
]

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
    def latent_dim(self) -> int:
        """The dimension.

        Raises:
            ConfigError: It was not given, or is less than 1.
        """
        if self.zdim is None:
            msg = "the dimension of the latent variable is missing; give it with `zdim`"
            raise ConfigError(msg)
        if self.zdim < 1:
            msg = f"`zdim` must be at least 1, got {self.zdim}"
            raise ConfigError(msg)
        return self.zdim


@settings
class DecoderOptions(Settings):
    """Architecture of a decoder, under the names of 0.2.0 and of later versions."""

    decoder_layers: int = option(
        "--players",
        "--dec-layers",
        default=3,
        group=DECODER,
        check=at_least(1),
        help="Number of hidden layers",
    )
    decoder_dim: int = option(
        "--pdim",
        "--dec-dim",
        default=256,
        group=DECODER,
        check=at_least(1),
        help="Number of nodes in hidden layers",
    )
    decoder_name: str | None = option(
        "--decoder",
        default=None,
        group=DECODER,
        metavar="NAME[:SETTING=VALUE,...]",
        help="Decoder of another installed package, with its settings (default: the "
        "perceptron, which the other options describe)",
    )
    encoding: Encoding = option(
        "--pe-type", default="geom_lowf", group=DECODER, help="Type of positional encoding"
    )
    encoding_dim: int | None = option(
        "--pe-dim",
        default=None,
        group=DECODER,
        check=at_least(1),
        help="Waves per axis of the positional encoding",
        default_words="D/2",
    )
    feature_sigma: float = option(
        "--feat-sigma",
        default=0.5,
        check=POSITIVE,
        group=DECODER,
        help="Scale of the wave vectors of --pe-type gaussian",
    )
    domain: Literal["hartley", "fourier"] = option(
        "--domain", default="fourier", group=DECODER, help="Decoder representation domain"
    )
    activation: Literal["relu", "leaky_relu"] = option(
        "--activation", default="relu", group=DECODER, help="Activation"
    )

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
        from cryodrgn.models.settings import DecoderConfig

        if self.decoder_name is not None:
            DECODERS.find(self.decoder_name.partition(":")[0])
            self.refuse_beside(OF_PERCEPTRON, f"the perceptron, not {self.decoder_name}")
            return DECODERS.parse(self.decoder_name)
        return DecoderConfig(
            num_layers=self.decoder_layers,
            hidden_dim=self.decoder_dim,
            encoding=self.encoding,
            encoding_dim=self.encoding_dim,
            feature_sigma=self.feature_sigma,
            domain=self.domain,
            activation=self.activation,
            extent=self.extent,
        )

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

    def decoder_alone(self, box_size: int, latent_dim: int = 0) -> "ModelConfig":
        """A model without encoder."""
        from cryodrgn.models.settings import ModelConfig

        self.refuse_activation()
        return ModelConfig(
            box_size=box_size, latent_dim=latent_dim, encoder=None, decoder=self.decoder()
        )


@settings
class EncoderOptions(Settings):
    """Architecture of an encoder, under the names of 0.2.0 and of later versions."""

    encoder_layers: int = option(
        "--qlayers",
        "--enc-layers",
        default=3,
        group=ENCODER,
        check=at_least(1),
        help="Number of hidden layers",
    )
    encoder_dim: int = option(
        "--qdim",
        "--enc-dim",
        default=256,
        group=ENCODER,
        check=at_least(1),
        help="Number of nodes in hidden layers",
    )
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
    encoder_mask: int | None = option(
        "--enc-mask",
        default=None,
        group=ENCODER,
        unit="px",
        check=Check(words="at least 1, or -1", holds=lambda value: value == -1 or value >= 1),
        help="Circular mask of image for encoder",
        default_words="D/2, at most 12 of subtomogram; -1 for no mask",
    )
    use_real: bool = option(
        "--use-real",
        default=False,
        group=ENCODER,
        help="Use real space image for encoder (for convolutional encoder)",
    )


@settings
class TiltEncoderOptions(Settings):
    """Architecture of cryoDRGN's encoder of tilt series."""

    tilt_embedding_dim: int = option(
        "--t-emb-dim",
        default=64,
        group=ENCODER,
        check=at_least(1),
        help="Numbers that --encode-mode tilt makes of each image of a tilt series",
    )
    tilt_layers: int = option(
        "--tlayers",
        default=3,
        group=ENCODER,
        check=at_least(1),
        help="Number of hidden layers behind them",
    )
    tilt_hidden_dim: int = option(
        "--tdim",
        default=1024,
        group=ENCODER,
        check=at_least(1),
        help="Number of nodes in these hidden layers",
    )


@settings
class AutoEncoderOptions(DecoderOptions, EncoderOptions, LatentOptions):
    """Architecture of encoder and decoder."""

    def auto_encoder(
        self, box_size: int, usual: str = "resid", **of_tilts: int
    ) -> "ModelConfig":
        """Encoder and decoder.

        Args:
            box_size: Side of the images in pixels.
            usual: Mode of the encoder where none is given.
            of_tilts: Settings of the encoder of cryoDRGN's tilt series, which the mode ``tilt``
                means where they are given.
        """
        from cryodrgn.models.settings import EncoderConfig, ModelConfig

        encoder = self._encoder(usual, of_tilts)
        if not isinstance(encoder, EncoderConfig):
            self.refuse_activation()
        return ModelConfig(
            box_size=box_size,
            latent_dim=self.latent_dim,
            encoder=encoder,
            decoder=self.decoder(),
        )

    def _encoder(self, usual: str, of_tilts: dict[str, int]) -> "EncoderSettings":
        from cryodrgn.models.registry import ENCODERS
        from cryodrgn.models.settings import ENCODER_MODES, EncoderConfig

        mode: Any = self.encode_mode or usual
        if mode not in ENCODER_MODES:
            ENCODERS.find(mode.partition(":")[0])
            self.refuse_beside(OF_ENCODERS, f"encoders of cryoDRGN, not {mode}")
            return ENCODERS.parse(mode)
        is_of_series = mode == "tilt" and bool(of_tilts)
        return EncoderConfig(
            **(of_tilts if is_of_series else {}),
            mode="tilt_series" if is_of_series else mode,
            num_layers=self.encoder_layers,
            hidden_dim=self.encoder_dim,
            mask_radius=self.encoder_mask,
            use_real=self.use_real,
            activation=self.activation,
        )
