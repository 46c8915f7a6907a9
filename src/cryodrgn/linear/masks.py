"""Masks of the molecule and of its moving parts: given by the user, or made from volumes."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryodrgn.fourier.filters import blurred
from cryodrgn.fourier.resample import resize_volume
from cryodrgn.imaging.masks import largest_part, soft_mask, soft_sphere

# Masks are drawn on this side, or that of the images if it is smaller; lengths below count in
# its pixels.
DRAWING_SIZE = 64
BLUR = 1.5
# Share of the highest density of the mean, and of the spread, from which on a voxel belongs.
MEAN_LEVEL, SPREAD_LEVEL = 0.07, 0.15
# Spread below this share of the mean's highest density is noise, however it is distributed.
LEAST_SPREAD = 0.04
SPHERE_RADIUS, SPHERE_EDGE = 0.45, 0.06


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Masks:
    """Masks that the user gave; None where they are found from the volumes.

    Attributes:
        solvent: Where there may be density.
        focus: Where components may vary.
    """

    solvent: Float[Tensor, "box box box"] | None = None
    focus: Float[Tensor, "box box box"] | None = None


def starting_mask(box_size: int, device: torch.device) -> Float[Tensor, "box box box"]:
    """A ball that nearly fills the box, for when nothing is known yet."""
    return soft_sphere(box_size, SPHERE_RADIUS * box_size, SPHERE_EDGE * box_size, device)


def molecule_mask(
    volumes: Float[Tensor, "volumes box box box"], images_box_size: int
) -> Float[Tensor, "size size size"]:
    """Soft mask around the mean volume and everything that varies.

    Args:
        volumes: The mean volume and components of unit variance.
        images_box_size: Side of the images.

    Returns:
        The mask on a side of 64, or that of the images if it is smaller.
    """
    size = min(DRAWING_SIZE, images_box_size)
    mean, spread = _drawn(volumes, size)
    inside = mean > MEAN_LEVEL * mean.max()
    lowest = max(SPREAD_LEVEL * float(spread.max()), LEAST_SPREAD * float(mean.max()))
    inside |= spread > lowest
    return _softened(largest_part(inside), dilation=3.0, edge=4.0)


def motion_mask(
    volumes: Float[Tensor, "volumes box box box"], images_box_size: int
) -> Float[Tensor, "size size size"]:
    """Soft mask around what varies most; everything where nothing stands out."""
    size = min(DRAWING_SIZE, images_box_size)
    _, spread = _drawn(volumes, size)
    inside = spread > 0.3 * spread.max()
    if not inside.any():
        return torch.ones_like(spread)
    return _softened(inside, dilation=2.0, edge=3.0)


def _drawn(volumes: Float[Tensor, "volumes box box box"], size: int) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation over latents, blurred, densities positive."""
    larger = torch.stack([resize_volume(volume, size) for volume in volumes])
    mean = blurred(larger[0], BLUR)
    # Densities stand out on one side only; which side depends on the sign of the data.
    if mean.pow(3).sum() < 0:
        mean = -mean
    return mean, blurred(larger[1:].square().sum(0).sqrt(), BLUR)


def _softened(
    inside: Bool[Tensor, "box box box"], *, dilation: float, edge: float
) -> Float[Tensor, "box box box"]:
    where = inside.cpu().float()
    mask = soft_mask(where, 1.0, threshold=0.5, dilation=dilation, edge=edge)
    return mask.to(inside.device)
