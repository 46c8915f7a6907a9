import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import centred_fft
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.slices import slice_coordinates


def test_slices_are_perpendicular_to_the_viewing_direction():
    rotations = random_rotations(4, torch.Generator().manual_seed(0))
    grid = HalfPlaneFrequencies.disc(8).frequencies
    points = slice_coordinates(grid, rotations)
    along = torch.einsum("bpj,bj->bp", points, rotations[:, 2])
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-6, rtol=0)
    torch.testing.assert_close(points.norm(dim=-1), grid.norm(dim=-1).expand(4, -1))


def test_the_unrotated_slice_is_the_transform_of_the_sum_along_z():
    volume = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(0))
    projection = centred_fft(volume.sum(0), 2)
    torch.testing.assert_close(projection, centred_fft(volume, 3)[4], atol=1e-4, rtol=1e-4)
    points = slice_coordinates(torch.tensor([[0.25, -0.125]]), torch.eye(3)[None])
    torch.testing.assert_close(points[0, 0], torch.tensor([0.25, -0.125, 0.0]))


def test_a_quarter_turn_about_z_takes_the_volumes_x_axis_to_the_images_y_axis():
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    points = slice_coordinates(torch.tensor([[0.0, 0.3]]), turn)
    torch.testing.assert_close(points[0, 0], torch.tensor([0.3, 0.0, 0.0]))
