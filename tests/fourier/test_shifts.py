import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import transform_on_lattice


def test_a_positive_shift_moves_content_to_higher_columns_and_rows():
    image = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    # Away from Nyquist: there a shifted real image keeps only the real part.
    lattice = HalfPlaneFrequencies.disc(16, 7)
    moved = shift_transform(
        transform_on_lattice(image, lattice),
        lattice.frequencies[None],
        torch.tensor([[5.0, -3.0]]),
    )
    expected = transform_on_lattice(image.roll((-3, 5), dims=(1, 2)), lattice)
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=1e-4)


def test_shifts_count_in_the_unit_whose_inverse_the_frequencies_have():
    lattice = HalfPlaneFrequencies.disc(8)
    values = torch.randn(1, len(lattice), 2, generator=torch.Generator().manual_seed(0))
    in_pixels = shift_transform(values, lattice.frequencies[None], torch.tensor([[1.5, 0.5]]))
    in_angstrom = shift_transform(
        values, lattice.frequencies[None] / 3.2, 3.2 * torch.tensor([[1.5, 0.5]])
    )
    torch.testing.assert_close(in_pixels, in_angstrom)
