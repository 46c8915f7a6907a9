"""Soft windows of images and soft masks of volumes, in real space."""

import torch
from jaxtyping import Float
from torch import Tensor

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
