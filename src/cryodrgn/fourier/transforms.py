"""Centred Fourier and Hartley transforms of images and volumes.

For an even box n, F[k] = Σ_x f[x] exp(−2πi k·x/n) with x and k in −n/2 … n/2 − 1, both
stored at index + n/2. The Hartley transform is Re F − Im F; it is real, and its own inverse
up to the number of pixels.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryodrgn.fourier.grids import HalfLattice


def centred_fft(array: Tensor, num_dims: int) -> Complex[Tensor, "..."]:
    """Centred discrete Fourier transform over the last ``num_dims`` axes."""
    axes = tuple(range(-num_dims, 0))
    shifted = torch.fft.ifftshift(array, dim=axes)
    return torch.fft.fftshift(torch.fft.fftn(shifted, dim=axes), dim=axes)


def centred_ifft(array: Tensor, num_dims: int) -> Complex[Tensor, "..."]:
    """Inverse of :func:`centred_fft`, divided by the number of pixels."""
    axes = tuple(range(-num_dims, 0))
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
    images: Float[Tensor, "batch box box"], lattice: HalfLattice
) -> Float[Tensor, "batch points 2"]:
    """Centred Fourier transform of real images at the points of a half lattice."""
    # Halving the y axis leaves 0 ≤ ky ≤ n/2. The lattice holds ky ≤ 0, so its values are the
    # conjugates of those at −k. Moving the origin to n/2 multiplies F by (−1)^(kx + ky).
    half_plane = torch.fft.rfft2(images, dim=(-1, -2)).flatten(-2)
    kx, ky = lattice.points.unbind(-1)
    mates = -ky * lattice.box_size + (-kx) % lattice.box_size
    sign = (1 - 2 * ((kx + ky) % 2)).to(images.dtype)
    conjugate = torch.stack([sign, -sign], dim=-1)
    return torch.view_as_real(half_plane[..., mates]) * conjugate


def images_from_lattice(
    values: Float[Tensor, "batch points 2"], lattice: HalfLattice
) -> Float[Tensor, "batch box box"]:
    """Real images whose centred transform is given on a half lattice and zero elsewhere."""
    box_size = lattice.box_size
    kx, ky = lattice.points.unbind(-1)
    sign = (1 - 2 * ((kx + ky) % 2)).to(values.dtype)
    centred = torch.view_as_complex((values * sign[:, None]).contiguous())
    half_plane = centred.new_zeros(len(values), box_size // 2 + 1, box_size)
    half_plane[:, -ky, (-kx) % box_size] = centred.conj()
    axis = ky == 0
    half_plane[:, 0, kx[axis] % box_size] = centred[:, axis]
    return torch.fft.irfft2(half_plane, s=(box_size, box_size), dim=(-1, -2))
