"""Settings of models in the layout of cryoDRGN's config files.

The perceptron and the encoders of cryoDRGN have its keys. Another decoder is named
by the key ``decoder``, with its settings in ``decoder_args``; an encoder by the key that names
ours, ``encode_mode``, with its settings in ``encoder_args``. A config that names no decoder is
of the perceptron.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cryodrgn.errors import ConfigError
from cryodrgn.models.registry import DECODERS, ENCODERS
from cryodrgn.models.settings import (
    ENCODER_MODES,
    BasisConfig,
    DecoderConfig,
    DecoderSettings,
    EncoderConfig,
    EncoderSettings,
    ModelConfig,
)

# Keys that describe the perceptron and no other decoder; ours and no other encoder.
OF_PERCEPTRON = frozenset(
    {"layers", "dim", "players", "pdim", "pe_type", "pe_dim", "feat_sigma", "domain"}
)
OF_ENCODERS = frozenset({"qlayers", "qdim", "enc_mask", "use_real"})
# Kinds of models that are sums of volumes; their configs have keys of their own.
SUMS = frozenset({"linear", "basis"})

# Settings of the encoder of tilt series, and their names in the group tilt_params.
TILT_PARAMS = {
    "num_tilts": "ntilts",
    "tilt_embedding_dim": "t_emb_dim",
    "tilt_layers": "tlayers",
    "tilt_hidden_dim": "tdim",
}


def model_mapping(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """The groups ``lattice_args`` and ``model_args`` of a config file."""
    decoder, encoder = config.decoder, config.encoder
    if isinstance(decoder, BasisConfig):
        return decoder.to_mapping()
    model: dict[str, Any] = {}
    extent, layers, width = 0.5, "layers", "dim"
    if isinstance(encoder, EncoderConfig):
        model = {"qlayers": encoder.num_layers, "qdim": encoder.hidden_dim}
    elif encoder is not None:
        model = {"encode_mode": encoder.name, "encoder_args": asdict(encoder)}
    if encoder is not None:
        layers, width = "players", "pdim"
    if isinstance(decoder, DecoderConfig):
        model |= {layers: decoder.num_layers, width: decoder.hidden_dim}
        extent = decoder.extent
    else:
        model |= {"decoder": decoder.name, "decoder_args": asdict(decoder)}
    if config.latent_dim:
        model["zdim"] = config.latent_dim
    if isinstance(encoder, EncoderConfig):
        model |= {
            "encode_mode": "tilt" if encoder.mode == "tilt_series" else encoder.mode,
            "enc_mask": encoder.radius(config.box_size),
            "use_real": encoder.use_real,
            "tilt_params": _tilt_params(encoder),
        }
    if isinstance(decoder, DecoderConfig):
        model |= {
            "pe_type": decoder.encoding,
            "feat_sigma": decoder.feature_sigma,
            "pe_dim": decoder.encoding_dim,
            "domain": decoder.domain,
            "activation": decoder.activation,
        }
    elif isinstance(encoder, EncoderConfig):
        model["activation"] = encoder.activation
    lattice = {"D": config.box_size + 1, "extent": extent, "ignore_DC": True}
    return {"lattice_args": lattice, "model_args": model}


def model_config(mapping: Mapping[str, Any]) -> ModelConfig:
    """Read the groups that :func:`model_mapping` writes, or those of cryoDRGN.

    Raises:
        ConfigError: A needed key is missing, or the model is of a kind not known here.
    """
    try:
        model = mapping["model_args"]
        if model.get("kind") in SUMS:
            basis = BasisConfig.from_mapping(mapping)
            return ModelConfig(
                box_size=basis.box_size,
                latent_dim=basis.latent_dim,
                decoder=basis,
                encoder=None,
            )
        has_encoder = "qlayers" in model or "encode_mode" in model
        return ModelConfig(
            decoder=_decoder(mapping, has_encoder=has_encoder),
            encoder=_encoder(mapping) if has_encoder else None,
            latent_dim=model["zdim"] if has_encoder else model.get("zdim", 0),
            box_size=int(mapping["lattice_args"]["D"]) - 1,
        )
    except KeyError as error:
        msg = f"the config describes no model: {error} is missing"
        raise ConfigError(msg) from error
    except (TypeError, ValueError) as error:
        msg = f"the config describes no model: {error}"
        raise ConfigError(msg) from error


def recorded_settings(settings: DecoderSettings | EncoderSettings) -> dict[str, Any]:
    """Settings as plain values, with the name where it is not that of a model of ours."""
    ours = isinstance(settings, DecoderConfig | EncoderConfig)
    return asdict(settings) | ({} if ours else {"name": settings.name})


def decoder_of_record(values: Mapping[str, Any]) -> DecoderSettings:
    """The decoder's settings that :func:`recorded_settings` made plain values of.

    Raises:
        ConfigError: The decoder is not known, or has other settings.
        TypeError: They are not those of the perceptron.
    """
    if "name" not in values:
        return DecoderConfig(**values)
    return DECODERS.read(values["name"], _without_name(values))


def encoder_of_record(values: Mapping[str, Any]) -> EncoderSettings:
    """The encoder's settings that :func:`recorded_settings` made plain values of.

    Raises:
        ConfigError: The encoder is not known, or has other settings.
        TypeError: They are not those of an encoder of ours.
    """
    if "name" not in values:
        return EncoderConfig(**values)
    return ENCODERS.read(values["name"], _without_name(values))


def _without_name(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "name"}


def _tilt_params(encoder: EncoderConfig) -> dict[str, int]:
    if encoder.mode != "tilt_series":
        return {}
    return {theirs: getattr(encoder, ours) for ours, theirs in TILT_PARAMS.items()}


def _decoder(mapping: Mapping[str, Any], *, has_encoder: bool) -> DecoderSettings:
    model, lattice = mapping["model_args"], mapping["lattice_args"]
    name = model.get("decoder", DecoderConfig.name)
    if name != DecoderConfig.name:
        keys = OF_PERCEPTRON
        if not (has_encoder and model["encode_mode"] in ENCODER_MODES):
            keys |= {"activation"}
        _refuse_keys(model, keys, f"the decoder {name!r}", "the perceptron")
        return DECODERS.read(name, model.get("decoder_args", {}))
    return DecoderConfig(
        num_layers=model["players" if has_encoder else "layers"],
        hidden_dim=model["pdim" if has_encoder else "dim"],
        encoding=model["pe_type"],
        encoding_dim=model.get("pe_dim"),
        feature_sigma=model.get("feat_sigma", 0.5),
        domain=model["domain"],
        activation=model.get("activation", "relu"),
        extent=lattice.get("extent", 0.5),
    )


def _encoder(mapping: Mapping[str, Any]) -> EncoderSettings:
    model = mapping["model_args"]
    mode = model["encode_mode"]
    if mode not in ENCODER_MODES:
        _refuse_keys(model, OF_ENCODERS, f"the encoder {mode!r}", "encoders of cryoDRGN")
        return ENCODERS.read(mode, model.get("encoder_args", {}))
    of_tilts = {}
    if mode == "tilt" and model.get("tilt_params"):
        mode = "tilt_series"
        of_tilts = {
            ours: int(model["tilt_params"][theirs]) for ours, theirs in TILT_PARAMS.items()
        }
    # Versions of cryoDRGN say it here, if they say it.
    keeps_real = mapping.get("dataset_args", {}).get("keepreal", mode == "conv")
    return EncoderConfig(
        **of_tilts,
        mode=mode,
        num_layers=model["qlayers"],
        hidden_dim=model["qdim"],
        mask_radius=model["enc_mask"],
        use_real=model.get("use_real", bool(keeps_real)),
        activation=model.get("activation", "relu"),
    )


def _refuse_keys(
    model: Mapping[str, Any], keys: frozenset[str], given: str, others: str
) -> None:
    """Refuse settings that would have no effect.

    Raises:
        ConfigError: There are some.
    """
    found = sorted(key for key in keys & model.keys() if model[key] is not None)
    if found:
        msg = f"{', '.join(found)} describes {others}, but the config is of {given}"
        raise ConfigError(msg)
