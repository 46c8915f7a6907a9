"""Models from their settings, their sizes, and their weights by the names of weight files."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.models.model import Model
from cryodrgn.models.protocols import DecoderSizes, EncoderSizes
from cryodrgn.models.registry import DECODERS, ENCODERS
from cryodrgn.models.settings import ModelConfig

NO_ENCODER = EncoderSizes(weights=0, multiply_adds=0)


def build_model(config: ModelConfig, seed: int = 0) -> Model:
    """A model with freshly drawn weights; the state of global generators is left alone.

    Raises:
        ConfigError: The settings describe no model.
    """
    with torch.random.fork_rng(devices=[]):
        # Of this generator alone, and without the traces that are kept for others.
        torch.default_generator.manual_seed(seed)
        sizes = {"box_size": config.box_size, "latent_dim": config.latent_dim}
        encoder = None
        if config.encoder is not None:
            encoder = ENCODERS.find(config.encoder.name).build(config.encoder, **sizes)
        decoder = DECODERS.find(config.decoder.name).build(config.decoder, **sizes)
        return Model(decoder, encoder)


def decoder_sizes(config: ModelConfig) -> DecoderSizes:
    """Sizes of the decoder that settings describe, without making it."""
    return DECODERS.find(config.decoder.name).sizes(
        config.decoder, box_size=config.box_size, latent_dim=config.latent_dim
    )


def encoder_sizes(config: ModelConfig) -> EncoderSizes:
    """Sizes of the encoder that settings describe, without making it; zeros without one."""
    if config.encoder is None:
        return NO_ENCODER
    return ENCODERS.find(config.encoder.name).sizes(
        config.encoder, box_size=config.box_size, latent_dim=config.latent_dim
    )


def stored_lattice(config: ModelConfig) -> HalfPlaneFrequencies:
    """Frequencies at which images must be stored for a model."""
    if config.encoder is None:
        return DECODERS.find(config.decoder.name).stored_lattice(config.box_size)
    kind = ENCODERS.find(config.encoder.name)
    return kind.stored_lattice(config.encoder, config.box_size)


def named_weights(model: Model) -> dict[str, Tensor]:
    """The weights of a model by the names they have in cryoDRGN's files."""
    inside, outside = _prefixes(model)
    weights = _in_file(model).state_dict()
    return {_renamed(name, inside, outside): value for name, value in weights.items()}


def load_named_weights(model: Model, weights: Mapping[str, Tensor]) -> None:
    """Put the weights of a file into a model.

    Raises:
        RuntimeError: Names or shapes differ.
    """
    inside, outside = _prefixes(model)
    renamed = {_renamed(name, outside, inside): value for name, value in weights.items()}
    _in_file(model).load_state_dict(renamed)


def _in_file(model: Model) -> nn.Module:
    """The module that a weight file holds: without an encoder, the decoder itself."""
    return model if model.has_encoder else model.decoder


def _prefixes(model: Model) -> tuple[str, str]:
    """Prefixes of weights of the decoder in our models and in weight files."""
    start = "decoder." if model.has_encoder else ""
    inside, outside = model.decoder.renamed_weights
    return start + inside, start + outside


def _renamed(name: str, before: str, after: str) -> str:
    return after + name.removeprefix(before) if name.startswith(before) else name
