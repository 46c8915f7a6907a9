"""Filters of volumes that depend on the length of the spatial frequency alone."""

import torch
from jaxtyping import Float
from torch import Tensor


def squared_radii(box_size: int, device: torch.device) -> Float[Tensor, "z y x"]:
    """Squares of the frequencies of ``rfftn`` of a cubic volume, in cycles per pixel."""
    axis = torch.fft.fftfreq(box_size, device=device).square()
    return axis[:, None, None] + axis[:, None] + axis[: box_size // 2 + 1]


def multiplied(
    volume: Float[Tensor, "box box box"], gains: Float[Tensor, "z y x"]
) -> Float[Tensor, "box box box"]:
    """A volume whose transform is multiplied by a number at every frequency of ``rfftn``."""
    return torch.fft.irfftn(torch.fft.rfftn(volume) * gains, s=volume.shape)


def blurred(volume: Float[Tensor, "box box box"], width: float) -> Float[Tensor, "box box box"]:
    """Average under a Gaussian, of a volume that repeats itself.

    Args:
        volume: The volume.
        width: Standard deviation in voxels.
    """
    squares = squared_radii(len(volume), volume.device)
    return multiplied(volume, torch.exp(-2 * (torch.pi * width) ** 2 * squares))
