"""Models from their settings, their sizes, and their weights by the names of weight files."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cryodrgn.counts import counted
from cryodrgn.errors import InputFileError
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
        InputFileError: Names or shapes differ.
    """
    if (misfit := misfit_in_words(model, weights)) is not None:
        raise InputFileError(misfit)
    inside, outside = _prefixes(model)
    renamed = {_renamed(name, outside, inside): value for name, value in weights.items()}
    _in_file(model).load_state_dict(renamed)


def misfit_in_words(model: Model, weights: Mapping[str, Tensor]) -> str | None:
    """The difference of a model from that of a weight file, as a clause; None for none.

    Args:
        model: The model.
        weights: Those of the file, by its names.
    """
    own = named_weights(model)
    has_encoder = any(name.startswith("encoder.") for name in weights)
    if has_encoder != model.has_encoder:
        there, here = ("an", "has none") if has_encoder else ("no", "has one")
        return f"it is of a model with {there} encoder, and this one {here}"
    stands, is_summed = (any("network." in name for name in names) for names in (weights, own))
    if stands != is_summed:
        kinds = "a network on a linear model", "a network alone"
        there, here = kinds if stands else kinds[::-1]
        return f"it is of {there}, and this is {here}"
    resized = [
        n for n, value in own.items() if n in weights and weights[n].shape != value.shape
    ]
    if resized:
        name = resized[0]
        more = "" if len(resized) == 1 else f", and {len(resized) - 1} more differ"
        there, here = (_shape_in_words(one[name]) for one in (weights, own))
        return f"{name} is {there} in it and {here} in the model{more}"
    for names, others, words in ((own, weights, "lacks"), (weights, own, "has besides")):
        apart = [name for name in names if name not in others]
        if apart:
            return f"it {words} {counted(len(apart), 'array')} of weights, {apart[0]} for one"
    return None


def _shape_in_words(values: Tensor) -> str:
    return " × ".join(str(side) for side in values.shape) or "a number"


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
