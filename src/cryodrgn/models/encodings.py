"""Positional encodings of frequencies: sines and cosines that a network can build on.

Frequencies q are (kx, ky, kz) in cycles per pixel, so that |q| ≤ 0.5 within Nyquist. In the
formulas h is half the box size and m the number of waves per axis.
"""

import math
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError
from cryodrgn.models.settings import EncodingName

ENCODINGS: tuple[EncodingName, ...] = get_args(EncodingName)


def axis_waves(name: EncodingName, box_size: int, count: int) -> Float[Tensor, " waves"]:
    """Angular frequencies f_i of the waves along each axis, i = 0 … m − 1.

    geom_ft: 2hπ (1/h)^(i/(m−1)), from 2πh to 2π; geom_full: 2hπ (1/(2πh))^(i/(m−1)), to 1;
    geom_lowf: h (1/h)^(i/(m−1)), from h to 1; geom_nohighf: h (2π/h)^(i/(m−1)), from h to 2π;
    linear_lowf: 1, 2, …, h.

    Args:
        name: One of the above.
        box_size: Side of the images in pixels.
        count: m; linear_lowf has no choice but h.

    Raises:
        ConfigError: ``count`` is not possible.
    """
    half = box_size // 2
    if name == "linear_lowf":
        if count != half:
            msg = (
                f"`encoding` linear_lowf has {half} waves per axis, `encoding_dim` {count} "
                "cannot be"
            )
            raise ConfigError(msg)
        return torch.arange(1, half + 1, dtype=torch.float32)
    highest, lowest = {
        "geom_ft": (2 * half * math.pi, 2 * math.pi),
        "geom_full": (2 * half * math.pi, 1.0),
        "geom_lowf": (half, 1.0),
        "geom_nohighf": (half, 2 * math.pi),
    }[name]
    steps = torch.arange(count, dtype=torch.float64) / max(count - 1, 1)
    return (highest * (lowest / highest) ** steps).float()


def encode_by_axis(
    frequencies: Float[Tensor, "*batch 3"],
    waves: Float[Tensor, " waves"],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*batch features"]:
    """For x, then y, then z: the sines sin(f_i q), then the cosines.

    Phases are float32, whatever the number type of the result.
    """
    return _sines_and_cosines(frequencies[..., None] * waves, dtype).flatten(-2)


def encode_by_vectors(
    frequencies: Float[Tensor, "*batch 3"],
    vectors: Float[Tensor, "waves 3"],
    half: int,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*batch features"]:
    """The sines sin(h w_j·q) of all vectors w_j, then the cosines (Tancik et al. 2020)."""
    return _sines_and_cosines(half * (frequencies @ vectors.mT), dtype)


def _sines_and_cosines(
    phases: Float[Tensor, "*batch waves"], dtype: torch.dtype
) -> Float[Tensor, "*batch features"]:
    """Written where they are wanted; joining and converting them takes longer than they do."""
    count = phases.shape[-1]
    features = phases.new_empty((*phases.shape[:-1], 2 * count), dtype=dtype)
    features[..., :count] = torch.sin(phases)
    features[..., count:] = torch.cos(phases)
    return features
