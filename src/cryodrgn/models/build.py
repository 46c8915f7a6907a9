"""Models from their settings, and the settings in the layout of cryoDRGN's config files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cryodrgn.errors import ConfigError
from cryodrgn.models.decoders import Decoder, DecoderConfig
from cryodrgn.models.encoders import EncoderConfig, MlpEncoder
from cryodrgn.models.vae import Vae


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that fixes the shape of a model.

    Attributes:
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
        encoder: Architecture of the encoder.
        decoder: Architecture of the decoder.
    """

    box_size: int
    latent_dim: int
    encoder: EncoderConfig
    decoder: DecoderConfig

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            ConfigError: A number is out of range.
        """
        checks = {
            "--zdim": self.latent_dim,
            "--qdim": self.encoder.hidden_dim,
            "--pdim": self.decoder.hidden_dim,
            "--qlayers": self.encoder.num_layers,
            "--players": self.decoder.num_layers,
            "--pe-dim": self.decoder.encoding_dim or 1,
        }
        for option, value in checks.items():
            if value < 1:
                msg = f"{option} must be at least 1, got {value}"
                raise ConfigError(msg)

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """The groups ``lattice_args`` and ``model_args`` of a config file."""
        mask = self.encoder.mask_radius
        return {
            "lattice_args": {"D": self.box_size + 1, "extent": 0.5, "ignore_DC": True},
            "model_args": {
                "qlayers": self.encoder.num_layers,
                "qdim": self.encoder.hidden_dim,
                "players": self.decoder.num_layers,
                "pdim": self.decoder.hidden_dim,
                "zdim": self.latent_dim,
                "encode_mode": self.encoder.mode,
                "enc_mask": self.box_size // 2 if mask is None else mask,
                "pe_type": self.decoder.encoding,
                "feat_sigma": self.decoder.feature_sigma,
                "pe_dim": self.decoder.encoding_dim,
                "domain": self.decoder.domain,
                "activation": self.decoder.activation,
            },
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "ModelConfig":
        """Read the groups that :meth:`to_mapping` writes; those of 0.2.0 have fewer keys.

        Raises:
            ConfigError: A needed key is missing.
        """
        try:
            model = mapping["model_args"]
            box_size = int(mapping["lattice_args"]["D"]) - 1
            activation = model.get("activation", "relu")
            encoder = EncoderConfig(
                mode=model["encode_mode"],
                num_layers=model["qlayers"],
                hidden_dim=model["qdim"],
                mask_radius=model["enc_mask"],
                activation=activation,
            )
            decoder = DecoderConfig(
                num_layers=model["players"],
                hidden_dim=model["pdim"],
                encoding=model["pe_type"],
                encoding_dim=model.get("pe_dim"),
                feature_sigma=model.get("feat_sigma", 0.5),
                domain=model["domain"],
                activation=activation,
            )
            return cls(
                box_size=box_size, latent_dim=model["zdim"], encoder=encoder, decoder=decoder
            )
        except (KeyError, TypeError) as error:
            msg = f"the config describes no train_vae model: {error} is missing"
            raise ConfigError(msg) from error


def build_vae(config: ModelConfig, seed: int = 0) -> Vae:
    """A model with freshly drawn weights; the state of global generators is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"box_size": config.box_size, "latent_dim": config.latent_dim}
        return Vae(MlpEncoder(config.encoder, **sizes), Decoder(config.decoder, **sizes))
