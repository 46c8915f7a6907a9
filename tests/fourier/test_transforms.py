import numpy as np
import pytest
import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.resample import downsample_images
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import (
    centred_fft,
    centred_ifft,
    hartley,
    images_from_lattice,
    inverse_hartley,
    symmetrise,
    transform_on_lattice,
)


def images(count: int = 2, box_size: int = 8) -> torch.Tensor:
    return torch.randn(count, box_size, box_size, generator=torch.Generator().manual_seed(1))


def test_centred_transform_is_the_defining_sum():
    image = images(1, 6)[0].double()
    x = np.arange(6) - 3
    phase = np.exp(-2j * np.pi * np.outer(x, x) / 6)
    expected = phase @ image.numpy() @ phase.T
    np.testing.assert_allclose(centred_fft(image, 2).numpy(), expected, atol=1e-12)


def test_a_point_at_the_centre_has_a_flat_transform():
    image = torch.zeros(8, 8)
    image[4, 4] = 1
    torch.testing.assert_close(hartley(image, 2), torch.ones(8, 8))


def test_inverse_transforms_undo_transforms():
    volume = torch.randn(6, 6, 6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(inverse_hartley(hartley(volume, 3), 3), volume)
    torch.testing.assert_close(centred_ifft(centred_fft(volume, 3), 3).real, volume)


def test_symmetrised_transform_of_a_real_image_is_hermitian_under_reversal():
    transform = symmetrise(centred_fft(images(), 2), 2)
    torch.testing.assert_close(transform.flip(1, 2), transform.conj().resolve_conj())


def test_lattice_values_equal_the_symmetrised_hartley_transform():
    batch = images(3, 8)
    expected = symmetrise(hartley(batch, 2), 2).flatten(1)
    square = HalfPlaneFrequencies.square(8)
    torch.testing.assert_close(
        square.to_hartley(transform_on_lattice(batch, square)), expected, atol=1e-5, rtol=1e-5
    )

    disc = HalfPlaneFrequencies.disc(8)
    kx, ky = disc.whole().unbind(-1)
    torch.testing.assert_close(
        disc.to_hartley(transform_on_lattice(batch, disc)),
        expected[:, (ky + 4) * 9 + kx + 4],
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "lattice", [HalfPlaneFrequencies.disc(8), HalfPlaneFrequencies.square(8)]
)
def test_a_shift_on_the_way_is_the_shift_of_the_transform(lattice):
    batch, shifts = images(3), torch.tensor([[0.5, -1.0], [2.3, 0.0], [-0.7, 1.9]])
    expected = shift_transform(
        transform_on_lattice(batch, lattice), lattice.frequencies[None], shifts
    )
    found = transform_on_lattice(batch, lattice, shifts)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_transform_of_no_images_is_none():
    lattice, none = HalfPlaneFrequencies.disc(8), torch.zeros(0, 8, 8)
    assert centred_fft(none, 2).shape == centred_ifft(none, 2).shape == (0, 8, 8)
    assert centred_fft(none, 2).dtype == torch.complex64
    values = transform_on_lattice(none, lattice, torch.zeros(0, 2))
    assert values.shape == (0, len(lattice), 2)
    assert images_from_lattice(values, lattice).shape == (0, 8, 8)
    assert downsample_images(none, 4).shape == (0, 4, 4)
