"""Volumes in real space out of the values of a transform on the grid of a volume."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.grids import HalfPlaneFrequencies, volume_frequencies
from cryodrgn.fourier.transforms import inverse_hartley
from cryodrgn.models.settings import Domain

# Values of the transform kept at a time, for how many volumes at most.
BYTES_AT_A_TIME = 256 << 20
MOST_AT_A_TIME = 64


def grid_points(
    box_size: int, domain: Domain, *, whole_cube: bool = False
) -> Int[Tensor, "points 3"]:
    """Frequencies (kx, ky, kz), in cycles per box, at which a transform determines a volume.

    Args:
        box_size: Side of the volume in voxels.
        domain: ``fourier`` for one of every pair ±k, since F(−k) = conj F(k); ``hartley`` for
            all of them.
        whole_cube: Whether those beyond the Nyquist sphere are among them.
    """
    points = _whole_cube(box_size) if domain == "hartley" else _half_cube(box_size)
    if whole_cube:
        return points
    return points[points.square().sum(-1) <= (box_size // 2) ** 2]


def volumes_of_transform(
    evaluate: Callable[[Tensor, Tensor], Tensor],
    points: Int[Tensor, "points 3"],
    latents: Float[Tensor, "volumes z"],
    *,
    outputs: int,
    box_size: int,
    new_box_size: int,
    offset: float,
    scale: float,
) -> Iterator[Float[Tensor, "box box box"]]:
    """The volumes at points of the latent space, one after another.

    Args:
        evaluate: Values of the transform at frequencies in cycles per pixel, for all latents.
        points: The frequencies of :func:`grid_points`, on the device.
        latents: The points of the latent space, on the device.
        outputs: Numbers per frequency: (Re, Im), or one Hartley value.
        box_size: Side of the model's volumes, whose transform is evaluated.
        new_box_size: Side of the volumes that are made of it.
        offset: Added to the Hartley values after scaling.
        scale: Factor of the values.
    """
    group = max(1, BYTES_AT_A_TIME // (4 * outputs * len(points)))
    for part in latents.split(min(group, MOST_AT_A_TIME)):
        decoded = evaluate(points / box_size, part)
        for values in decoded * scale:
            yield _inverse(points, values, new_box_size, offset).cpu()


def _inverse(
    points: Int[Tensor, "points 3"],
    values: Float[Tensor, "points out"],
    size: int,
    offset: float,
) -> Float[Tensor, "box box box"]:
    """The volume whose transform has some values and is zero elsewhere."""
    side = size + 1
    transform = values.new_zeros(side**3)
    kx, ky, kz = (points + size // 2).unbind(-1)
    places = (kz * side + ky) * side + kx
    if values.shape[1] == 1:
        transform[places] = values[:, 0] + offset
    else:
        # Reversing the layout takes k to −k. The origin is its own mate.
        real, imaginary = values.unbind(-1)
        transform[side**3 - 1 - places] = real + imaginary + offset
        transform[places] = real - imaginary + offset
    return inverse_hartley(transform.view(side, side, side)[:-1, :-1, :-1], 3)


def _half_cube(box_size: int) -> Int[Tensor, "points 3"]:
    """One of every pair ±k of frequencies up to box/2: kz < 0, and half of kz = 0."""
    planes = [volume_frequencies(box_size, plane) for plane in range(-(box_size // 2), 0)]
    flat = HalfPlaneFrequencies.square(box_size).points
    return torch.cat([*planes, torch.nn.functional.pad(flat, (0, 1))])


def _whole_cube(box_size: int) -> Int[Tensor, "points 3"]:
    """All frequencies from −box/2 to box/2 − 1."""
    axis = torch.arange(-(box_size // 2), box_size // 2)
    return torch.cartesian_prod(axis, axis, axis).flip(-1)
