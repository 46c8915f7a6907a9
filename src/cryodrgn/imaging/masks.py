"""Soft windows of images and soft masks of volumes, in real space."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryodrgn.errors import ConfigError

WINDOW_INNER_RADIUS = 0.85
WINDOW_OUTER_RADIUS = 0.99


def circular_window(
    box_size: int,
    inner_radius: float = WINDOW_INNER_RADIUS,
    outer_radius: float = WINDOW_OUTER_RADIUS,
) -> Float[Tensor, "box box"]:
    """A disc with a linear edge: 1 inside, 0 outside.

    Args:
        box_size: Side in pixels.
        inner_radius: Where the edge begins, as a fraction of half the box.
        outer_radius: Where it ends.
    """
    axis = torch.arange(box_size) / (box_size / 2) - 1
    radius = (axis[:, None].square() + axis[None, :].square()).sqrt()
    return (1 - (radius - inner_radius) / (outer_radius - inner_radius)).clamp(0, 1)


def moved_windows(
    shape: tuple[int, int],
    half_side: float,
    centres: Float[Tensor, "images 2"],
    inner_radius: float = WINDOW_INNER_RADIUS,
    outer_radius: float = WINDOW_OUTER_RADIUS,
) -> Float[Tensor, "images height width"]:
    """Soft discs in images of any shape, around points of theirs.

    Args:
        shape: Height and width in pixels.
        half_side: What radii are fractions of, in pixels.
        centres: (x, y) in pixels, from that at half the sides, rounded down.
        inner_radius: Where the edge begins.
        outer_radius: Where it ends.
    """
    y, x = (torch.arange(side) - side // 2 for side in shape)
    from_centre = (x - centres[:, :1]).square()[:, None] + (y - centres[:, 1:]).square()[
        ..., None
    ]
    radius = from_centre.sqrt() / half_side
    return (1 - (radius - inner_radius) / (outer_radius - inner_radius)).clamp(0, 1)


def soft_sphere(
    box_size: int, radius: float, edge: float, device: torch.device | None = None
) -> Float[Tensor, "box box box"]:
    """A ball with a raised-cosine edge: 1 within ``radius``, 0 beyond ``radius + edge``.

    Args:
        box_size: Side in voxels.
        radius: In voxels.
        edge: Width of the edge in voxels, positive.
        device: Where the mask is made.
    """
    axis = (torch.arange(box_size, device=device) - box_size // 2).float()
    squares = axis.square()
    distance = (squares[:, None, None] + squares[:, None] + squares).sqrt()
    return 0.5 + 0.5 * torch.cos(torch.pi * ((distance - radius) / edge).clamp(0, 1))


def resize_mask(
    mask: Float[Tensor, "box box box"], size: int
) -> Float[Tensor, "size size size"]:
    """A mask on another grid in the same box, by linear interpolation.

    Where the mask is 0 or 1 it stays so but for a voxel at the edge, which no interpolation
    in Fourier space would grant. Onto a coarser grid it is averaged with a tent as wide as two
    of the new voxels.
    """
    old = len(mask)
    if size == old:
        return mask
    # Voxel n / 2 of n is the origin.
    places = (torch.arange(size, device=mask.device) / size - 0.5) * old + old // 2
    distances = (places[:, None] - torch.arange(old, device=mask.device)).abs()
    weights = (1 - distances / max(1.0, old / size)).clamp(min=0)
    weights /= weights.sum(1, keepdim=True)
    for _ in range(3):
        mask = torch.einsum("zyx,nz->yxn", mask, weights)
    return mask.clamp(0, 1)


def default_threshold(volume: Float[Tensor, "z y x"]) -> float:
    """Half of the 99.99th percentile of a volume, which tells a particle from its solvent."""
    ordered = volume.flatten().double().sort().values
    position = 0.9999 * (len(ordered) - 1)
    low = math.floor(position)
    pair = ordered[low : low + 2]
    return float(pair[0] + (position - low) * (pair[-1] - pair[0])) / 2


def soft_mask(
    volume: Float[Tensor, "z y x"],
    pixel_size: float,
    *,
    threshold: float | None = None,
    dilation: float = 25.0,
    edge: float = 15.0,
) -> Float[Tensor, "z y x"]:
    """A mask around everything denser than a threshold: 1 there, a cosine edge, 0 far away.

    The dense voxels grow by ``dilation`` in city-block distance (as many dilations by the six
    neighbours as whole voxels fit into it). At the Euclidean distance d from what they became
    the mask is cos(π d / 2 edge), and 0 beyond the edge.

    Args:
        volume: The volume; its sides may differ.
        pixel_size: Å/px.
        threshold: Density above which a voxel belongs to the particle; by default
            :func:`default_threshold`.
        dilation: In Å.
        edge: Width of the edge in Å; 0 makes a hard mask.

    Raises:
        ConfigError: A length is negative, or nothing is denser than the threshold.
    """
    if dilation < 0 or edge < 0:
        msg = f"dilation and edge must not be negative, got {dilation:g} Å and {edge:g} Å"
        raise ConfigError(msg)
    level = default_threshold(volume) if threshold is None else threshold
    dense = volume > level
    if not dense.any():
        msg = f"nothing is denser than {level:g} (the maximum is {float(volume.max()):g})"
        raise ConfigError(msg)
    grown = _city_block_distance(dense) <= math.floor(dilation / pixel_size)
    width = edge / pixel_size
    if width == 0:
        return grown.float()
    distance = _squared_distance(grown, width).sqrt().clamp_max(width)
    return torch.cos(torch.pi / 2 * distance / width).clamp_min(0).float()


def largest_part(inside: Bool[Tensor, "box box box"]) -> Bool[Tensor, "box box box"]:
    """The largest connected part (26 neighbours) of the voxels that are inside."""
    left, best = inside.clone(), torch.zeros_like(inside)
    while int(left.sum()) > int(best.sum()):
        part = torch.zeros_like(inside)
        part.view(-1)[torch.nonzero(left.view(-1))[0]] = True
        size = 0
        while int(part.sum()) > size:
            size = int(part.sum())
            part = _grown(part) & left
        left &= ~part
        if size > int(best.sum()):
            best = part
    return best


def _city_block_distance(inside: Bool[Tensor, "z y x"]) -> Float[Tensor, "z y x"]:
    """Distance |dx| + |dy| + |dz| of every voxel from the nearest one inside."""
    distance = torch.where(inside, 0.0, torch.inf)
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = -1
        place = torch.arange(inside.shape[axis]).float().view(shape)
        before = (distance - place).cummin(axis).values + place
        after = (distance + place).flip(axis).cummin(axis).values.flip(axis) - place
        distance = torch.minimum(before, after)
    return distance


def _squared_distance(inside: Bool[Tensor, "z y x"], limit: float) -> Float[Tensor, "z y x"]:
    """Squared Euclidean distance from the nearest voxel inside, exact up to ``limit``.

    Axis by axis, the least of what each voxel within the limit along that axis has plus the
    square of the step to it.
    """
    squared = torch.where(inside, 0.0, torch.inf)
    for axis in range(3):
        length = squared.shape[axis]
        nearest = squared.clone()
        for step in range(1, min(math.ceil(limit), length - 1) + 1):
            near, far = (
                squared.narrow(axis, step, length - step),
                squared.narrow(axis, 0, length - step),
            )
            low, high = (
                nearest.narrow(axis, 0, length - step),
                nearest.narrow(axis, step, length - step),
            )
            torch.minimum(low, near + step**2, out=low)
            torch.minimum(high, far + step**2, out=high)
        squared = nearest
    return squared


def _grown(inside: Bool[Tensor, "box box box"]) -> Bool[Tensor, "box box box"]:
    """With all 26 neighbours of every voxel."""
    for axis in range(3):
        inner = inside.movedim(axis, 0)
        outer = inner.clone()
        outer[1:] |= inner[:-1]
        outer[:-1] |= inner[1:]
        inside = outer.movedim(0, axis)
    return inside
