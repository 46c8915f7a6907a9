"""M step of the initial model: small maps from sums over slices."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid, interpolation_envelope
from cryodrgn.fourier.shells import sums_by_place
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.orientation.slices import PADDING, box_within

# Share of a shell's mean weight that is added to every weight: a mild Wiener filter.
RIDGE = 0.1
# Of half the box: where the ball begins to fall outside of which maps are empty, and ends.
BALL, BALL_EDGE = 0.75, 0.2
# Rotations with less than this share of the mean weight have no say.
LEAST_SHARE = 1e-3


def map_of_slices(
    points: Float[Tensor, "points 2"],
    radius: int,
    rotations: Float[Tensor, "rotations 3 3"],
    sums: Float[Tensor, "rotations points 2"],
    weights: Float[Tensor, "rotations points"],
) -> Float[Tensor, "box box box"]:
    """The map whose slices are, by least squares, sums / weights.

    Args:
        points: (kx, ky) in cycles per box, within ``radius``.
        radius: Of the frequencies that the map gets.
        rotations: Of the slices.
        sums: Σ C y / σ² over the images of each rotation.
        weights: Σ C² / σ² over them.

    Returns:
        A map of the side :func:`~cryodrgn.orientation.slices.box_within` of the radius, empty
        outside of a ball.
    """
    box_size, device = box_within(radius), sums.device
    grid = RfftVolumeGrid(PADDING * box_size)
    table = SliceAccumulator(grid, 1, 1, device)
    totals = weights.sum(1)
    used = totals > LEAST_SHARE * totals.mean()
    places = slice_coordinates(PADDING * points, rotations[used])
    ones = torch.ones(len(places), 1, device=device)
    table.add(places, sums[used], weights[used], ones, ones)
    values, reached = table.totals()
    values, reached = values[:, 0].view(*grid.shape, 2), reached.view(grid.shape)
    radii = grid.radii(device)
    within = radii <= PADDING * radius + 1
    shells = (radii / PADDING).round().long()[within]
    counts = torch.bincount(shells)
    means = sums_by_place(shells, reached[within], len(counts)) / counts
    filtered = reached.clone()
    filtered[within] += (RIDGE * means)[shells]
    quotient = values / filtered.clamp_min(1e-12)[..., None]
    spectrum = torch.where(within[..., None], quotient, 0.0)
    volume = grid.volume_of(torch.view_as_complex(spectrum.contiguous()))
    margin = (grid.box_size - box_size) // 2
    centre = (slice(margin, margin + box_size),) * 3
    volume = volume[centre] / interpolation_envelope(box_size, grid.box_size, device)
    half = box_size / 2
    return volume * soft_sphere(box_size, BALL * half, BALL_EDGE * half, device)


def at_radius(
    volume: Float[Tensor, "side side side"], radius: int
) -> Float[Tensor, "box box box"]:
    """A small map with more, empty, or with fewer frequencies.

    Args:
        volume: A map of the side :func:`~cryodrgn.orientation.slices.box_within` of its own
            radius. The values of its transform are kept.
        radius: The radius of the result.
    """
    size, side = box_within(radius), len(volume)
    if size == side:
        return volume
    transform = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(volume)))
    axis = (torch.arange(side, device=volume.device) - side // 2).square()
    squared = axis[:, None, None] + axis[:, None] + axis
    # The planes at −n/2 have no mates and would leave the result complex.
    transform = transform * (squared <= min(radius, side // 2 - 1) ** 2)
    margin = (size - side) // 2
    if margin < 0:
        centre = (slice(-margin, side + margin),) * 3
        padded = transform[centre]
    else:
        padded = torch.nn.functional.pad(transform, (margin,) * 6)
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(padded))).real
