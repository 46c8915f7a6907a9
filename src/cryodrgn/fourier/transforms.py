"""Centred Fourier and Hartley transforms of images and volumes.

For an even box n, F[k] = Σ_x f[x] exp(−2πi k·x/n) with x and k in −n/2 … n/2 − 1, both
stored at index + n/2. The Hartley transform is Re F − Im F; it is real, and its own inverse
up to the number of pixels.

The libraries behind torch refuse to transform no images at all. Here the transform of an empty
batch is an empty batch: a process, or a half of the images, may have no share of a batch.
"""

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryodrgn.devices import to_device
from cryodrgn.fourier.grids import HalfPlaneFrequencies


def centred_fft(array: Tensor, num_dims: int) -> Complex[Tensor, "..."]:
    """Centred discrete Fourier transform over the last ``num_dims`` axes."""
    axes = tuple(range(-num_dims, 0))
    if not array.numel():
        return torch.complex(array.real, torch.zeros_like(array.real))
    shifted = torch.fft.ifftshift(array, dim=axes)
    return torch.fft.fftshift(torch.fft.fftn(shifted, dim=axes), dim=axes)


def centred_ifft(array: Tensor, num_dims: int) -> Complex[Tensor, "..."]:
    """Inverse of :func:`centred_fft`, divided by the number of pixels."""
    axes = tuple(range(-num_dims, 0))
    if not array.numel():
        return torch.complex(array.real, torch.zeros_like(array.real))
    shifted = torch.fft.ifftshift(array, dim=axes)
    return torch.fft.fftshift(torch.fft.ifftn(shifted, dim=axes), dim=axes)


def hartley(array: Float[Tensor, "..."], num_dims: int) -> Float[Tensor, "..."]:
    """Centred Hartley transform Re F − Im F over the last ``num_dims`` axes."""
    transform = centred_fft(array, num_dims)
    return transform.real - transform.imag


def inverse_hartley(transform: Float[Tensor, "..."], num_dims: int) -> Float[Tensor, "..."]:
    """Inverse of :func:`hartley`."""
    return hartley(transform, num_dims) / transform.shape[-1] ** num_dims


def symmetrise(transform: Tensor, num_dims: int) -> Tensor:
    """Repeat the first row of every axis at its end, so that −k is a reversal of the layout.

    A side of n becomes n + 1: the frequency −n/2, which equals +n/2, then stands at both ends.
    """
    for axis in range(-num_dims, 0):
        transform = torch.cat([transform, transform.narrow(axis, 0, 1)], dim=axis)
    return transform


def transform_on_lattice(
    images: Float[Tensor, "batch box box"],
    lattice: HalfPlaneFrequencies,
    shifts: Float[Tensor, "batch 2"] | None = None,
) -> Float[Tensor, "batch points 2"]:
    """Centred Fourier transform of real images at the points of a half lattice.

    Args:
        images: Real images.
        lattice: Where the transform is wanted, in cycles per side of the images; it may be
            that of a smaller box.
        shifts: Translations (x, y) in pixels by which the content of the images is moved, see
            :func:`cryodrgn.fourier.shifts.shift_transform`; None moves nothing.
    """
    if not len(images):
        return images.new_zeros(0, len(lattice), 2)
    # Halving the y axis leaves 0 ≤ ky ≤ n/2. The lattice holds ky ≤ 0, so its values are the
    # conjugates of those at −k.
    box_size = images.shape[-1]
    half_plane = torch.fft.rfft2(images, dim=(-1, -2))
    columns = torch.arange(box_size, device=images.device)
    columns[box_size // 2 + 1 :] -= box_size
    rows = torch.arange(box_size // 2 + 1, device=images.device)
    along_x, along_y = _ramp(columns, box_size, shifts, 0), _ramp(rows, box_size, shifts, 1)
    half_plane *= along_y[:, :, None] * along_x[:, None, :]

    kx, ky = lattice.points.unbind(-1)
    mates = to_device(-ky * box_size + (-kx) % box_size, images.device)
    mates = mates.expand(len(images), -1)
    # Pairs of numbers are gathered as words of eight bytes, five times faster than as pairs.
    words = half_plane.flatten(1).view(torch.int64).gather(1, mates)
    values = words.view(torch.complex64).conj_physical_()
    if shifts is not None:
        # The Nyquist frequency stands once among the columns, as +n/2 of the mates.
        edge = to_device(torch.nonzero(2 * kx == box_size).squeeze(-1), images.device)
        turn = torch.exp(-2j * torch.pi * shifts[:, :1])
        values[:, edge] *= turn
    return torch.view_as_real(values)


def transform_at(
    images: Float[Tensor, "batch height width"],
    points: Int[Tensor, "points 2"],
    pixel_step: float,
) -> Float[Tensor, "batch points 2"]:
    """Fourier transform of real images, of any shape, at multiples of some frequency.

    F[k] = Σ_x f[x] exp(−2πi s k·x), the sum over pixels x counted from that at half the height
    and width, rounded down. It is the value of a continuous function, and exact at any k; axis
    by axis it takes two small products of matrices per image.

    Args:
        images: Real images.
        points: The integers k = (kx, ky), ky ≤ 0.
        pixel_step: s, the pixel size over the period of k = 1. If it is 1/n for images of side
            n, the result is the discrete transform.
    """
    reach = int(points.abs().max()) if len(points) else 0
    height, width = images.shape[-2:]
    along_y = _waves(torch.arange(-reach, 1), height, pixel_step).to(images.device)
    along_x = _waves(torch.arange(-reach, reach + 1), width, pixel_step).to(images.device)
    # Both parts of the waves along y times real images, then complex numbers along x.
    parts = torch.view_as_real(along_y).permute(2, 0, 1)
    real, imaginary = (part @ images for part in parts)
    plane = torch.complex(real, imaginary) @ along_x.mT
    kx, ky = points.to(images.device).unbind(-1)
    values = plane.flatten(1)[:, (ky + reach) * (2 * reach + 1) + kx + reach]
    return torch.view_as_real(values)


def _waves(
    frequencies: Int[Tensor, " lines"], count: int, step: float
) -> Complex[Tensor, "lines count"]:
    """exp(−2πi s k x) of every k, at the pixels x of a line."""
    places = (torch.arange(count) - count // 2).double() * step
    phases = -2 * torch.pi * frequencies[:, None] * places
    return torch.polar(torch.ones_like(phases), phases).to(torch.complex64)


def _ramp(
    frequencies: Int[Tensor, " line"],
    box_size: int,
    shifts: Float[Tensor, "batch 2"] | None,
    axis: int,
) -> Complex[Tensor, "#batch line"]:
    """(−1)^k exp(−2πi k t/n) along one axis: takes the origin to n/2, and moves by t."""
    signs = 1 - 2 * (frequencies % 2)[None]
    if shifts is None:
        return signs.to(torch.complex64)
    phases = -2 * torch.pi / box_size * frequencies * shifts[:, axis, None]
    return torch.polar(signs.expand_as(phases).float(), phases)


def images_from_lattice(
    values: Float[Tensor, "batch points 2"], lattice: HalfPlaneFrequencies
) -> Float[Tensor, "batch box box"]:
    """Real images whose centred transform is given on a half lattice and zero elsewhere.

    Args:
        values: The transforms, on any device.
        lattice: Their points, in memory of the host.
    """
    box_size = lattice.box_size
    if not len(values):
        return values.new_zeros(0, box_size, box_size)
    kx, ky = lattice.points.unbind(-1)
    sign = to_device((1 - 2 * ((kx + ky) % 2)).to(values.dtype), values.device)
    centred = torch.view_as_complex((values * sign[:, None]).contiguous())
    half_plane = centred.new_zeros(len(values), box_size // 2 + 1, box_size)
    # Pairs of numbers are written as words of eight bytes, as they are gathered above.
    words = half_plane.flatten(1).view(torch.int64)
    axis = torch.nonzero(ky == 0).squeeze(-1)
    on_axis = centred[:, to_device(axis, values.device)]
    for places, written in (
        (-ky * box_size + (-kx) % box_size, centred.conj_physical()),
        (kx[axis] % box_size, on_axis),
    ):
        places = to_device(places, values.device).expand(len(values), -1)
        words.scatter_(1, places, written.view(torch.int64))
    return torch.fft.irfft2(half_plane, s=(box_size, box_size), dim=(-1, -2))
