"""Translation of images by phase ramps."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def shift_transform(
    values: Float[Tensor, "batch points 2"],
    frequencies: Float[Tensor, "#batch points 2"],
    shifts: Float[Tensor, "batch 2"],
) -> Float[Tensor, "batch points 2"]:
    """Move the content of images by ``shifts``: F(k) becomes F(k) exp(−2πi k·t).

    Args:
        values: Transforms as pairs (real, imaginary).
        frequencies: Where they stand, (kx, ky) in cycles per unit length.
        shifts: Translations (x, y) in the same unit length; positive x moves the content
            towards higher column numbers, positive y towards higher row numbers.
    """
    kx, ky = frequencies.unbind(-1)
    phase = 2 * math.pi * (kx * shifts[:, :1] + ky * shifts[:, 1:])
    cosine, sine = torch.cos(phase), torch.sin(phase)
    real, imaginary = values.unbind(-1)
    return torch.stack(
        [real * cosine + imaginary * sine, imaginary * cosine - real * sine], dim=-1
    )


def phases(
    points: Float[Tensor, "points 2"], shifts: Float[Tensor, "*some 2"]
) -> Float[Tensor, "*some points 2"]:
    """Cosine and sine of 2π k·t.

    Args:
        points: (kx, ky) in cycles per box.
        shifts: (x, y) as fractions of the box.
    """
    angle = 2 * math.pi * (shifts @ points.mT)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def shifted(
    images: Float[Tensor, "batch points 2"], turns: Float[Tensor, "#batch *shifts points 2"]
) -> Float[Tensor, "batch *shifts points 2"]:
    """Images moved by shifts, F exp(−2πi k·t), given the :func:`phases` of these."""
    between = (1,) * (turns.ndim - 3)
    real, imaginary = images.view(len(images), *between, -1, 2).unbind(-1)
    cosine, sine = turns.unbind(-1)
    return torch.stack(
        [real * cosine + imaginary * sine, imaginary * cosine - real * sine], dim=-1
    )
