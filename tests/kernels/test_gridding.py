import pytest
import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.kernels import backends
from cryodrgn.kernels.gridding import SliceAccumulator, interpolate, slice_table

BOX, IMAGES = 12, 5


@pytest.fixture(params=[True, False], ids=["compiled", "torch"])
def either(request, monkeypatch):
    if request.param and not backends.HAS_NUMBA:
        pytest.skip("numba is not installed")
    monkeypatch.setattr(backends, "HAS_NUMBA", request.param)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slice_points():
    rotations = random_rotations(IMAGES, torch.Generator().manual_seed(1))
    return slice_coordinates(HalfPlaneFrequencies.disc(BOX).points.float(), rotations)


def test_grid_points_give_the_transforms_themselves(either):
    grid, volumes = RfftVolumeGrid(BOX), random(3, BOX, BOX, BOX)
    table = slice_table(grid, volumes, float(BOX))
    points = torch.tensor([[1.0, 2, -3], [-1, -2, 3], [0, 3, 2]])
    found = interpolate(grid, table, points)
    for number, volume in enumerate(volumes):
        spectrum = grid.spectrum_of(volume)
        at, mate = spectrum[-3 + 6, 2 + 6, 1], spectrum[2 + 6, 3 + 6, 0]
        expected = torch.stack([at, at.conj(), mate])
        torch.testing.assert_close(found[:, number], expected.real, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[:, 3 + number], expected.imag, atol=1e-5, rtol=1e-5)


def test_a_table_of_another_grid_is_refused():
    if not backends.HAS_NUMBA:
        pytest.skip("numba is not installed")
    with pytest.raises(ValueError, match="does not belong to a grid"):
        interpolate(RfftVolumeGrid(BOX), torch.zeros(0, 2), torch.zeros(4, 3))


def test_spreading_is_the_adjoint_of_interpolation(either):
    grid, points = RfftVolumeGrid(BOX), slice_points()
    values = random(*points.shape[:2], 2)
    table = random(len(grid.radii().flatten()), 2, seed=2)
    # Points on the plane kx = 0 stand for their mates, too; keep away from it.
    table.view(*grid.shape, 2)[:, :, 0] = 0
    sums = SliceAccumulator(grid, 1, 1, torch.device("cpu"))
    ones = torch.ones(IMAGES, 1)
    sums.add(points, values, values[..., 0], ones, ones)
    spread, _ = sums.totals()
    read = interpolate(grid, table, points.reshape(-1, 3)).view(IMAGES, -1, 2)
    torch.testing.assert_close((spread[:, 0] * table).sum(), (read * values).sum())


def test_coefficients_weigh_whole_images(either):
    grid, points = RfftVolumeGrid(BOX), slice_points()
    values, weights = random(*points.shape[:2], 2), random(*points.shape[:2], seed=3)
    coefficients, products = random(IMAGES, 3, seed=4), random(IMAGES, 4, seed=5)
    together = SliceAccumulator(grid, 3, 4, torch.device("cpu"))
    together.add(points, values, weights, coefficients, products)
    found, found_weights = together.totals()
    expected, expected_weights = torch.zeros_like(found), torch.zeros_like(found_weights)
    one = torch.ones(1, 1)
    for image in range(IMAGES):
        alone = SliceAccumulator(grid, 1, 1, torch.device("cpu"))
        chosen = slice(image, image + 1)
        alone.add(points[chosen], values[chosen], weights[chosen], one, one)
        spread, spread_weights = alone.totals()
        expected += spread * coefficients[image, :, None]
        expected_weights += spread_weights * products[image]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found_weights, expected_weights, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [1, 2])
def test_the_number_of_threads_changes_nothing(width):
    points, threads = slice_points(), torch.get_num_threads()
    values, weights = random(*points.shape[:2], 2), random(*points.shape[:2], seed=3)
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        sums = SliceAccumulator(RfftVolumeGrid(BOX), width, width, torch.device("cpu"))
        sums.add(points, values, weights, random(IMAGES, width), random(IMAGES, width))
        results.append(torch.cat([part.flatten() for part in sums.totals()]))
    torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_sums_of_parts_are_those_of_the_whole(either):
    grid, points = RfftVolumeGrid(BOX), slice_points()
    values, weights = random(*points.shape[:2], 2), random(*points.shape[:2], seed=3)
    ones, device = torch.ones(IMAGES, 1), torch.device("cpu")
    whole, first, second = (SliceAccumulator(grid, 1, 1, device) for _ in range(3))
    whole.add(points, values, weights, ones, ones)
    for part, chosen in ((first, slice(0, 2)), (second, slice(2, None))):
        part.add(points[chosen], values[chosen], weights[chosen], ones[chosen], ones[chosen])
    for found, expected in zip(first.merged(second).totals(), whole.totals(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
