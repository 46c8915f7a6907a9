"""Settings that fix the shape of a model: plain values, readable without loading torch.

Decoders and encoders of other packages bring settings classes of their own; all that is asked
of one is that it be a frozen dataclass of plain values with the attribute ``name``, under which
its model is registered (:mod:`cryodrgn.models.registry`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.settings import (
    POSITIVE,
    Check,
    Settings,
    at_least,
    option,
    settings,
)

ModelKind = Literal["vae", "nn", "dec"]
EncodingName = Literal[
    "geom_ft", "geom_full", "geom_lowf", "geom_nohighf", "linear_lowf", "none", "gaussian"
]
Domain = Literal["hartley", "fourier"]
Activation = Literal["relu", "leaky_relu"]
EncoderMode = Literal["conv", "resid", "mlp", "tilt", "tilt_series", "subtomogram"]
ENCODER_MODES: frozenset[str] = frozenset(get_args(EncoderMode))
ENCODER, DECODER = "Encoder Network", "Decoder Network"
BasisKind = Literal["linear", "basis"]
# Radius in Fourier pixels up to which images are added up for an encoder: motions of parts of
# a particle show in a map of some 24 voxels across.
SUBTOMOGRAM_RADIUS = 12


@runtime_checkable
class NamedSettings(Protocol):
    """Settings of a decoder or encoder: a frozen dataclass of plain values, with a name.

    Attributes:
        name: Name under which the model is registered.
    """

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


@settings
class ActivationSettings(Settings):
    """Activation between the layers of a network."""

    activation: Activation = option(
        "--activation", default="relu", group=DECODER, help="Activation"
    )


@settings
class PerceptronSettings(ActivationSettings):
    """Architecture of a perceptron that tells values at frequencies.

    Attributes:
        extent: Without positional encoding, the number that stands for Nyquist at the input.
    """

    num_layers: int = option(
        "--players",
        "--dec-layers",
        default=3,
        group=DECODER,
        check=at_least(1),
        help="Number of hidden layers",
    )
    hidden_dim: int = option(
        "--pdim",
        "--dec-dim",
        default=256,
        group=DECODER,
        check=at_least(1),
        help="Number of nodes in hidden layers",
    )
    encoding: EncodingName = option(
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
    domain: Domain = option(
        "--domain", default="fourier", group=DECODER, help="Decoder representation domain"
    )
    extent: float = 0.5


@settings
class DecoderConfig(PerceptronSettings):
    """Architecture of the perceptron, the decoder of cryoDRGN."""

    name: ClassVar[str] = "perceptron"


@settings
class ImagePerceptronSettings(ActivationSettings):
    """Architecture of a perceptron that sees an image."""

    num_layers: int = option(
        "--qlayers",
        "--enc-layers",
        default=3,
        group=ENCODER,
        check=at_least(1),
        help="Number of hidden layers",
    )
    # Of ``conv``, the number of channels of the first layer.
    hidden_dim: int = option(
        "--qdim",
        "--enc-dim",
        default=256,
        group=ENCODER,
        check=at_least(1),
        help="Number of nodes in hidden layers",
    )
    mask_radius: int | None = option(
        "--enc-mask",
        default=None,
        group=ENCODER,
        unit="px",
        check=Check(words="at least 1, or -1", holds=lambda value: value == -1 or value >= 1),
        help="Circular mask of image for encoder",
        default_words="D/2, at most 12 of subtomogram; -1 for no mask",
    )


@settings
class EncoderConfig(ImagePerceptronSettings):
    """Architecture of an encoder of cryoDRGN.

    Attributes:
        mode: ``resid`` and ``mlp`` are perceptrons on one image, ``conv`` a convolutional
            network on it, ``tilt`` a perceptron on both exposures of a tilt pair,
            ``tilt_series`` the same on a fixed number of tilts, ``subtomogram`` one on the sum
            of any number of images in the frame of the particle.
        num_tilts: Of ``tilt_series``, the number of images of a particle that it reads.
    """

    use_real: bool = option(
        "--use-real",
        default=False,
        group=ENCODER,
        help="Use real space image for encoder (for convolutional encoder)",
    )
    tilt_embedding_dim: int = option(
        "--t-emb-dim",
        default=64,
        group=ENCODER,
        check=at_least(1),
        help="Number of features that --encode-mode tilt computes of each tilt image",
    )
    tilt_layers: int = option(
        "--tlayers",
        default=3,
        group=ENCODER,
        check=at_least(1),
        help="Number of hidden layers of --encode-mode tilt that combine the images",
    )
    tilt_hidden_dim: int = option(
        "--tdim",
        default=1024,
        group=ENCODER,
        check=at_least(1),
        help="Number of nodes in the hidden layers of --tlayers",
    )
    mode: EncoderMode = "resid"
    num_tilts: int = 10

    def __post_init__(self) -> None:
        """Refuse shapes and combinations that no network has.

        Raises:
            ConfigError: Options contradict one another, a number is out of range, or a name is
                not known.
        """
        super().__post_init__()
        _require_known("`encode_mode`", self.mode, EncoderMode)
        _require_positive("`num_tilts`", self.num_tilts)
        if self.mode == "conv" and not self.use_real:
            msg = "`encode_mode` conv works on real images; add `use_real`"
            raise ConfigError(msg)
        if self.mode == "subtomogram" and self.use_real:
            msg = "`encode_mode` subtomogram adds up transforms; leave out `use_real`"
            raise ConfigError(msg)
        if self.mode == "tilt" and self.num_layers <= 2:
            msg = (
                "`encode_mode` tilt needs `encoder_layers` of at least 3, got "
                f"{self.num_layers}"
            )
            raise ConfigError(msg)

    @property
    def name(self) -> str:
        """The mode, which is the name of the encoder."""
        return self.mode

    def radius(self, box_size: int) -> int:
        """Radius in pixels of what is seen; −1 for all of it.

        Raises:
            ConfigError: The mask is larger than the image.
        """
        radius = self.mask_radius
        if radius is None:
            radius = box_size // 2
            radius = min(radius, SUBTOMOGRAM_RADIUS) if self.mode == "subtomogram" else radius
        if radius == -1 and self.mode == "subtomogram":
            msg = (
                "`encode_mode` subtomogram needs a radius with `encoder_mask`, from 1 to "
                f"{box_size // 2}, not -1"
            )
            raise ConfigError(msg)
        if radius > box_size // 2:
            others = "" if self.mode == "subtomogram" else ", or -1 for no mask"
            msg = (
                f"`encoder_mask` {radius} must be a radius from 1 to {box_size // 2} "
                f"pixels{others}"
            )
            raise ConfigError(msg)
        return radius


@settings
class LinearNetworkConfig(PerceptronSettings):
    """Shape of a sum of volumes and a perceptron (:mod:`cryodrgn.models.linear_network`).

    Attributes:
        linear_dim: First dimensions of the latent, on which the functions depend.
        num_functions: Number of functions.
        num_landmarks: Points at which smooth functions are known; 0 for the latent's own
            coordinates.
        num_neighbours: Landmarks that a point is compared with.
        trains_volumes: Whether the volumes learn along with the perceptron.
    """

    name: ClassVar[str] = "linear+network"

    linear_dim: int
    num_functions: int
    num_landmarks: int = 0
    num_neighbours: int = 0
    trains_volumes: bool = False

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            ConfigError: A number is out of range, or a name is not known.
        """
        super().__post_init__()
        _require_positive("the dimension of the linear model's latent", self.linear_dim)
        if not self.num_landmarks and self.num_functions != self.linear_dim:
            msg = (
                f"a linear model of {counted(self.linear_dim, 'dimension')} has as many "
                f"functions, got {self.num_functions}"
            )
            raise ConfigError(msg)

    @property
    def network(self) -> DecoderConfig:
        """The perceptron."""
        return DecoderConfig(
            **{one.name: getattr(self, one.name) for one in fields(DecoderConfig)}
        )

    def functions(self, box_size: int) -> "BasisConfig":
        """The functions, as those of a sum of volumes."""
        return BasisConfig(
            kind="basis" if self.num_landmarks else "linear",
            box_size=box_size,
            latent_dim=self.linear_dim,
            num_functions=self.num_functions,
            num_landmarks=self.num_landmarks,
            num_neighbours=self.num_neighbours,
        )


@settings
class LinearEncoderConfig(ImagePerceptronSettings):
    """Shape of the posterior of a linear model, corrected by a perceptron.

    Attributes:
        linear_dim: Dimensions of the latent that the linear model tells.
        radius: Radius in cycles per box up to which it sees the images.
        grid_size: Side in voxels of its volumes, which reach to that radius.
    """

    name: ClassVar[str] = "linear+resid"

    linear_dim: int
    radius: int
    grid_size: int

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            ConfigError: A number is out of range, or a name is not known.
        """
        super().__post_init__()
        _require_positive("the dimension of the linear model's latent", self.linear_dim)
        _require_positive("the radius of the linear model", self.radius)

    @property
    def network(self) -> EncoderConfig:
        """The perceptron."""
        return EncoderConfig(
            **{one.name: getattr(self, one.name) for one in fields(ImagePerceptronSettings)}
        )


DecoderSettings = NamedSettings
EncoderSettings = EncoderConfig | NamedSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class BasisConfig:
    """Shape of a model that is a sum over functions.

    Attributes:
        kind: ``linear`` for the latent's own coordinates, ``basis`` for smooth functions.
        box_size: Side of images and volumes in pixels.
        latent_dim: Dimensions of the latent.
        num_functions: Number of functions.
        num_landmarks: Points at which smooth functions are known.
        num_groups: Different optics, each with a noise spectrum; 0 for models that embed no
            images.
        num_neighbours: Landmarks that a point is compared with.
        radius: Radius in cycles per box up to which images are embedded; 0 for models that
            embed none.
    """

    name: ClassVar[str] = "sum_of_volumes"

    kind: BasisKind
    box_size: int
    latent_dim: int
    num_functions: int
    num_landmarks: int = 0
    num_groups: int = 0
    num_neighbours: int = 0
    radius: int = 0

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """The groups ``lattice_args`` and ``model_args`` of a config file."""
        lattice = {"D": self.box_size + 1, "extent": 0.5, "ignore_DC": True}
        model = {
            "kind": self.kind,
            "zdim": self.latent_dim,
            "functions": self.num_functions,
            "landmarks": self.num_landmarks,
            "groups": self.num_groups,
            "neighbours": self.num_neighbours,
            "radius": self.radius,
        }
        return {"lattice_args": lattice, "model_args": model}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "BasisConfig":
        """Read the groups that :meth:`to_mapping` writes.

        Raises:
            KeyError: A key is missing.
        """
        model = mapping["model_args"]
        return cls(
            kind=model["kind"],
            box_size=int(mapping["lattice_args"]["D"]) - 1,
            latent_dim=model["zdim"],
            num_functions=model["functions"],
            num_landmarks=model["landmarks"],
            num_groups=model["groups"],
            num_neighbours=model["neighbours"],
            radius=model["radius"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Settings that fix the shape of a model.

    Attributes:
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent; 0 for a single structure.
        decoder: Settings of the decoder, which name it.
        encoder: Settings of the encoder; None for models without one.
    """

    box_size: int
    latent_dim: int
    decoder: DecoderSettings
    encoder: EncoderSettings | None

    def __post_init__(self) -> None:
        """Refuse an encoder of nothing.

        Raises:
            ConfigError: There is an encoder, but no latent.
        """
        if self.encoder is not None:
            _require_positive("`zdim`", self.latent_dim)

    @property
    def kind(self) -> ModelKind:
        """``vae`` with an encoder, ``dec`` with free latents, ``nn`` for a single structure."""
        if self.encoder is not None:
            return "vae"
        return "dec" if self.latent_dim else "nn"


def _require_known(option: str, name: Any, kinds: Any) -> None:
    if name not in get_args(kinds):
        msg = f"{option} is {name!r}, expected one of {', '.join(get_args(kinds))}"
        raise ConfigError(msg)


def _require_positive(option: str, value: int) -> None:
    if value < 1:
        msg = f"{option} must be at least 1, got {value}"
        raise ConfigError(msg)
