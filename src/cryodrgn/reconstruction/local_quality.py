"""Local resolution and standard error of a map, from its half maps."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.filters import blurred, squared_radii

NUM_BANDS = 8
WINDOW_SHARE = 16
LOCAL_THRESHOLD = 0.5


def standard_error(
    first: Float[Tensor, "box box box"], second: Float[Tensor, "box box box"]
) -> Float[Tensor, "box box box"]:
    """Standard error of the mean of two half maps, from their local difference.

    Args:
        first: A half map.
        second: The other one.
    """
    width = len(first) / WINDOW_SHARE
    return blurred((first - second).square(), width).clamp_min(0).sqrt() / 2


def local_resolution(
    first: Float[Tensor, "box box box"],
    second: Float[Tensor, "box box box"],
    pixel_size: float,
) -> Float[Tensor, "box box box"]:
    """Resolution in Å by voxel: where the local correlation of half maps falls below 0.5.

    The half maps are split into bands of equal width in spatial frequency; in each, products
    and squares are averaged under a Gaussian window a sixteenth of the box wide. Windows stand
    half of that apart, and what they find is interpolated in between.

    Args:
        first: A half map.
        second: The other one.
        pixel_size: Å/px.

    Returns:
        The resolution, at worst 16 pixels.
    """
    box_size = len(first)
    spectra = [torch.fft.rfftn(volume) for volume in (first, second)]
    radii = squared_radii(box_size, first.device).sqrt()
    edges = torch.linspace(0, 0.5, NUM_BANDS + 1).tolist()
    step = max(1, box_size // (2 * WINDOW_SHARE))
    places = torch.arange(0, box_size, step, device=first.device)
    # Waves of the first band are too long to belong to a place.
    finest = first.new_full((len(places),) * 3, edges[1])
    trusted = torch.ones_like(finest, dtype=torch.bool)
    for low, high in pairwise(edges[1:]):
        band = (radii >= low) & (radii < high)
        a, b = (torch.fft.irfftn(s * band, s=first.shape) for s in spectra)
        windows = _windows(box_size, places, max(box_size / WINDOW_SHARE, 0.3 / high))
        cross, power_a, power_b = (
            _along_axes(windows, x * y) for x, y in ((a, b), (a, a), (b, b))
        )
        scale = (power_a.clamp_min(0) * power_b.clamp_min(0)).sqrt().clamp_min(1e-30)
        trusted &= cross / scale > LOCAL_THRESHOLD
        finest = torch.where(trusted, torch.full_like(finest, high), finest)
    return _along_axes(_between(box_size, places), pixel_size / finest)


def _windows(
    box_size: int, places: Int[Tensor, " places"], width: float
) -> Float[Tensor, "places box"]:
    """Gaussian windows about some places of a periodic axis, each of sum 1."""
    offsets = _offsets(box_size, places)
    weights = torch.exp(-offsets.square() / (2 * width**2))
    return weights / weights.sum(1, keepdim=True)


def _between(box_size: int, places: Int[Tensor, " places"]) -> Float[Tensor, "box places"]:
    """Linear interpolation between places of a periodic axis."""
    step = int(places[1])
    weights = (1 - _offsets(box_size, places).abs() / step).clamp_min(0).T
    return weights / weights.sum(1, keepdim=True)


def _offsets(box_size: int, places: Int[Tensor, " places"]) -> Float[Tensor, "places box"]:
    """Distance from each place, the shorter way round."""
    axis = torch.arange(box_size, device=places.device)
    half = box_size // 2
    return ((axis - places[:, None] + half) % box_size - half).float()


def _along_axes(
    matrix: Float[Tensor, "rows columns"], volume: Float[Tensor, "columns columns columns"]
) -> Float[Tensor, "rows rows rows"]:
    """Multiply each axis of a volume by a matrix."""
    for _ in range(3):
        # The axis that is summed over goes, its successor comes first, and so all take turns.
        volume = torch.einsum("abc,ia->bci", volume, matrix)
    return volume
