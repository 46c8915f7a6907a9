"""Models from their settings, and the settings in the layout of cryoDRGN's config files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from cryodrgn.errors import ConfigError
from cryodrgn.models.decoders import Decoder, DecoderConfig, Domain
from cryodrgn.models.encoders import EncoderConfig, EncoderMode, build_encoder
from cryodrgn.models.encodings import EncodingName
from cryodrgn.models.layers import Activation
from cryodrgn.models.vae import Vae

ModelKind = Literal["vae", "nn", "dec"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that fixes the shape of a model.

    Attributes:
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent; 0 for a single structure.
        decoder: Architecture of the decoder.
        encoder: Architecture of the encoder; None for models without one.
    """

    box_size: int
    latent_dim: int
    decoder: DecoderConfig
    encoder: EncoderConfig | None

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            ConfigError: A number is out of range.
        """
        self._require_known_names()
        checks = {
            "the number of nodes in hidden layers": self.decoder.hidden_dim,
            "the number of hidden layers": self.decoder.num_layers,
            "--pe-dim": self.decoder.encoding_dim or 1,
        }
        if self.encoder is not None:
            checks |= {
                "--zdim": self.latent_dim,
                "--qdim": self.encoder.hidden_dim,
                "--qlayers": self.encoder.num_layers,
            }
        for option, value in checks.items():
            if value < 1:
                msg = f"{option} must be at least 1, got {value}"
                raise ConfigError(msg)

    def _require_known_names(self) -> None:
        names: list[tuple[str, str, Any]] = [
            ("--pe-type", self.decoder.encoding, EncodingName),
            ("--domain", self.decoder.domain, Domain),
            ("--activation", self.decoder.activation, Activation),
        ]
        if self.encoder is not None:
            names.append(("--encode-mode", self.encoder.mode, EncoderMode))
            names.append(("--activation", self.encoder.activation, Activation))
        for option, name, kinds in names:
            if name not in get_args(kinds):
                msg = f"{option} is {name!r}, expected one of {', '.join(get_args(kinds))}"
                raise ConfigError(msg)

    @property
    def kind(self) -> ModelKind:
        """``vae`` with an encoder, ``dec`` with free latents, ``nn`` for a single structure."""
        if self.encoder is not None:
            return "vae"
        return "dec" if self.latent_dim else "nn"

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """The groups ``lattice_args`` and ``model_args`` of a config file."""
        decoder = self.decoder
        shared = {
            "pe_type": decoder.encoding,
            "feat_sigma": decoder.feature_sigma,
            "pe_dim": decoder.encoding_dim,
            "domain": decoder.domain,
            "activation": decoder.activation,
        }
        lattice = {"D": self.box_size + 1, "extent": decoder.extent, "ignore_DC": True}
        if self.encoder is None:
            own: dict[str, Any] = {"layers": decoder.num_layers, "dim": decoder.hidden_dim}
            if self.latent_dim:
                own["zdim"] = self.latent_dim
            return {"lattice_args": lattice, "model_args": own | shared}
        own = {
            "qlayers": self.encoder.num_layers,
            "qdim": self.encoder.hidden_dim,
            "players": decoder.num_layers,
            "pdim": decoder.hidden_dim,
            "zdim": self.latent_dim,
            "encode_mode": self.encoder.mode,
            "enc_mask": self.encoder.radius(self.box_size),
            "use_real": self.encoder.use_real,
            "tilt_params": {},
        }
        return {"lattice_args": lattice, "model_args": own | shared}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "ModelConfig":
        """Read the groups that :meth:`to_mapping` writes, or those of cryoDRGN.

        Raises:
            ConfigError: A needed key is missing, or the model is of a kind not known here.
        """
        try:
            model, lattice = mapping["model_args"], mapping["lattice_args"]
            has_encoder = "qlayers" in model
            activation = model.get("activation", "relu")
            decoder = DecoderConfig(
                num_layers=model["players" if has_encoder else "layers"],
                hidden_dim=model["pdim" if has_encoder else "dim"],
                encoding=model["pe_type"],
                encoding_dim=model.get("pe_dim"),
                feature_sigma=model.get("feat_sigma", 0.5),
                domain=model["domain"],
                activation=activation,
                extent=lattice.get("extent", 0.5),
            )
            encoder = _encoder_config(mapping, activation) if has_encoder else None
            latent_dim = model["zdim"] if has_encoder else model.get("zdim", 0)
            box_size = int(lattice["D"]) - 1
            return cls(
                box_size=box_size, latent_dim=latent_dim, decoder=decoder, encoder=encoder
            )
        except KeyError as error:
            msg = f"the config describes no model: {error} is missing"
            raise ConfigError(msg) from error
        except (TypeError, ValueError) as error:
            msg = f"the config describes no model: {error}"
            raise ConfigError(msg) from error


def _encoder_config(mapping: Mapping[str, Any], activation: Any) -> EncoderConfig:
    model = mapping["model_args"]
    if model["encode_mode"] == "tilt" and model.get("tilt_params"):
        msg = "the run is of tilt series (subtomograms), which are not supported"
        raise ConfigError(msg)
    # Versions of cryoDRGN say it here, if they say it.
    keeps_real = mapping.get("dataset_args", {}).get("keepreal", model["encode_mode"] == "conv")
    return EncoderConfig(
        mode=model["encode_mode"],
        num_layers=model["qlayers"],
        hidden_dim=model["qdim"],
        mask_radius=model["enc_mask"],
        use_real=model.get("use_real", bool(keeps_real)),
        activation=activation,
    )


def build_model(config: ModelConfig, seed: int = 0) -> Vae | Decoder:
    """A model with freshly drawn weights; the state of global generators is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"box_size": config.box_size, "latent_dim": config.latent_dim}
        if config.encoder is None:
            return Decoder(config.decoder, **sizes)
        encoder = build_encoder(config.encoder, **sizes)
        return Vae(encoder, Decoder(config.decoder, **sizes))


def decoder_of(model: Vae | Decoder) -> Decoder:
    """The part of a model that makes volumes."""
    return model.decoder if isinstance(model, Vae) else model


def named_weights(model: nn.Module, config: ModelConfig) -> dict[str, Tensor]:
    """The weights of a model by the names they have in cryoDRGN's files."""
    inside, outside = _prefixes(config)
    return {_renamed(name, inside, outside): v for name, v in model.state_dict().items()}


def load_named_weights(
    model: nn.Module, config: ModelConfig, weights: Mapping[str, Tensor]
) -> None:
    """Put the weights of a file into a model.

    Raises:
        RuntimeError: Names or shapes differ.
    """
    inside, outside = _prefixes(config)
    model.load_state_dict({_renamed(name, outside, inside): v for name, v in weights.items()})


def _prefixes(config: ModelConfig) -> tuple[str, str]:
    """Prefixes of the decoder's perceptron in our models and in weight files.

    cryoDRGN's Hartley decoder without positional encoding is the perceptron itself.
    """
    start = "" if config.encoder is None else "decoder."
    here = f"{start}decoder.main."
    bare = config.decoder.encoding == "none" and config.decoder.domain == "hartley"
    return here, f"{start}main." if bare else here


def _renamed(name: str, before: str, after: str) -> str:
    return after + name.removeprefix(before) if name.startswith(before) else name
