"""How far the volume of a state can be trusted: local resolution, error, effective number."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.linear.regression import Regression

NUM_BANDS = 8
WINDOW_SHARE = 16
LOCAL_THRESHOLD = 0.5


def effective_number(
    regression: Regression, functions: Float[Tensor, "states functions"]
) -> Float[Tensor, " states"]:
    """Number of images whose plain average would be as noisy as the volume of a state.

    N / (ψᵀ M⁻¹ ψ) with ψ = (1, φ(z)) and M = ⟨ψψᵀ⟩ over the images: the inverse leverage of
    the state in the regression.

    Args:
        regression: The regression.
        functions: φ at the states.
    """
    vectors = torch.cat([torch.ones_like(functions[:, :1]), functions], dim=1).double()
    moment = regression.second_moment.double()
    ridge = 1e-6 * moment.diagonal().mean() * torch.eye(len(moment), device=moment.device)
    leverage = (vectors @ torch.linalg.inv(moment + ridge) * vectors).sum(1)
    return (regression.num_images / leverage.clamp_min(1)).float()


def standard_error(
    first: Float[Tensor, "box box box"], second: Float[Tensor, "box box box"]
) -> Float[Tensor, "box box box"]:
    """Standard error of the mean of two half maps, from their local difference.

    Args:
        first: A half map.
        second: The other one.
    """
    width = len(first) / WINDOW_SHARE
    return _blurred((first - second).square(), width).clamp_min(0).sqrt() / 2


def local_resolution(
    first: Float[Tensor, "box box box"],
    second: Float[Tensor, "box box box"],
    pixel_size: float,
) -> Float[Tensor, "box box box"]:
    """Resolution in Å by voxel: where the local correlation of half maps falls below 0.5.

    The half maps are split into bands of equal width in spatial frequency; in each, products
    and squares are averaged under a Gaussian window a sixteenth of the box wide.

    Args:
        first: A half map.
        second: The other one.
        pixel_size: Å/px.

    Returns:
        The resolution, at worst 16 pixels.
    """
    box_size = len(first)
    spectra = [torch.fft.rfftn(volume) for volume in (first, second)]
    radii = _radii(box_size, first.device)
    edges = torch.linspace(0, 0.5, NUM_BANDS + 1)
    # Waves of the first band are too long to belong to a place.
    finest = torch.full_like(first, float(edges[1]) / pixel_size)
    trusted = torch.ones_like(first, dtype=torch.bool)
    for low, high in pairwise(edges[1:].tolist()):
        band = (radii >= low) & (radii < high)
        a, b = (torch.fft.irfftn(s * band, s=first.shape) for s in spectra)
        width = max(box_size / WINDOW_SHARE, 0.3 / high)
        cross, power_a, power_b = (_blurred(x * y, width) for x, y in ((a, b), (a, a), (b, b)))
        scale = (power_a.clamp_min(0) * power_b.clamp_min(0)).sqrt().clamp_min(1e-30)
        trusted &= cross / scale > LOCAL_THRESHOLD
        finest = torch.where(trusted, torch.full_like(finest, high / pixel_size), finest)
    return 1 / finest


def _blurred(
    volume: Float[Tensor, "box box box"], width: float
) -> Float[Tensor, "box box box"]:
    """Average under a Gaussian of a given standard deviation in voxels."""
    filtered = torch.fft.rfftn(volume)
    squares = _radii(len(volume), volume.device).square()
    filtered *= torch.exp(-2 * (torch.pi * width) ** 2 * squares)
    return torch.fft.irfftn(filtered, s=volume.shape)


def _radii(box_size: int, device: torch.device) -> Float[Tensor, "z y x"]:
    """Frequencies of a half spectrum in cycles per pixel."""
    axis = torch.fft.fftfreq(box_size, device=device).square()
    return (axis[:, None, None] + axis[:, None] + axis[: box_size // 2 + 1]).sqrt()
