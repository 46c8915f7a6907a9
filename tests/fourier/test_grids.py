import pytest
import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies, hartley_to_half, volume_frequencies


@pytest.mark.parametrize(
    ("box_size", "count"), [(30, 708), (64, 3208), (128, 12852), (256, 51432)]
)
def test_disc_holds_the_lattice_points_within_nyquist_without_the_origin(box_size, count):
    # Integer lattice counts of reference.md §3.2.
    assert HalfPlaneFrequencies.disc(box_size).num_values == count


@pytest.mark.parametrize(
    "lattice", [HalfPlaneFrequencies.disc(12), HalfPlaneFrequencies.square(12)]
)
def test_reversing_the_raster_order_takes_k_to_minus_k(lattice):
    whole = lattice.whole()
    assert len(whole) == lattice.num_values
    torch.testing.assert_close(whole.flip(0), -whole)
    order = whole[:, 1] * 1000 + whole[:, 0]
    assert (order.diff() > 0).all()


def test_hartley_values_and_pairs_determine_each_other():
    lattice = HalfPlaneFrequencies.disc(10)
    values = torch.randn(3, len(lattice), 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hartley_to_half(lattice.to_hartley(values)), values)


def test_positions_within_a_radius_are_the_smaller_disc():
    lattice = HalfPlaneFrequencies.disc(16)
    inner = lattice.points[lattice.positions_within(5)]
    torch.testing.assert_close(inner, HalfPlaneFrequencies.disc(16, 5).points)


def test_volume_frequencies_run_x_fastest():
    points = volume_frequencies(4, plane=-1)
    assert points[0].tolist() == [-2, -2, -1]
    assert points[1].tolist() == [-1, -2, -1]
    assert points[-1].tolist() == [2, 2, -1]
