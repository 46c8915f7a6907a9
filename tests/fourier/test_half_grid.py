import torch

from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.transforms import centred_fft


def test_spectrum_is_half_of_the_centred_transform():
    volume = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(0))
    spectrum = RfftVolumeGrid(8).spectrum_of(volume)
    expected = centred_fft(volume, 3)
    torch.testing.assert_close(spectrum[:-1, :-1, :4], expected[:, :, 4:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(spectrum[-1], spectrum[0])


def test_volume_comes_back():
    volume = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = RfftVolumeGrid(8)
    torch.testing.assert_close(grid.volume_of(grid.spectrum_of(volume)), volume)


def test_the_middle_of_a_volume_is_cut_from_it():
    volume = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = RfftVolumeGrid(8)
    found = grid.volume_of(grid.spectrum_of(volume), 4)
    torch.testing.assert_close(found, volume[2:6, 2:6, 2:6])


def test_planes_are_those_of_the_grid():
    grid = RfftVolumeGrid(8)
    assert torch.equal(torch.stack(list(grid.planes())), grid.radii())


def test_grid_points_are_their_own_neighbours_and_mates_are_conjugated():
    volume = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = RfftVolumeGrid(8)
    flat = grid.spectrum_of(volume).flatten()
    points = torch.tensor([[1.0, 2, -3], [-1, -2, 3], [-3, 0, 1], [0, 3, 2]])
    sign, neighbours = grid.neighbours(points)
    found = sum(flat[places] * shares for places, shares in neighbours)
    transform = centred_fft(volume, 3)
    expected = torch.stack(
        [transform[int(z) + 4, int(y) + 4, int(x) + 4] for x, y, z in points]
    )
    torch.testing.assert_close(
        torch.where(sign > 0, found, found.conj()), expected, atol=1e-5, rtol=1e-5
    )


def test_shares_add_up_to_one_and_reproduce_linear_functions():
    grid = RfftVolumeGrid(16)
    points = 16 * (torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 0.5)
    sign, neighbours = grid.neighbours(points)
    axis, half_axis = torch.arange(-8, 9.0), torch.arange(0, 10.0)
    linear = (half_axis + 10 * axis[:, None] - 3 * axis[:, None, None]).flatten()
    total = value = 0
    for places, shares in neighbours:
        total, value = total + shares, value + linear[places] * shares
    torch.testing.assert_close(total, torch.ones(200))
    expected = (points * sign[:, None]) @ torch.tensor([1.0, 10.0, -3.0])
    torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-4)
