import torch

from cryodrgn.geometry.rotations import rotation_about_x
from cryodrgn.kernels.projection import move_volume


def blob(centre):
    axis = torch.arange(32.0) - 16
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return torch.exp(-distance / 8)


def test_a_quarter_turn_about_x_takes_y_to_z_and_the_shift_comes_after():
    turn = rotation_about_x(torch.pi / 2)
    moved = move_volume(blob((3, 5, 0)), turn, torch.tensor([1.0, 0.0, -2.0]))
    torch.testing.assert_close(moved, blob((4, 0, 3)), atol=0.02, rtol=0)


def test_rotations_in_a_row_are_their_product():
    first, second = rotation_about_x(0.4), rotation_about_x(0.9)
    volume, still = blob((2, 5, -3)), torch.zeros(3)
    twice = move_volume(move_volume(volume, first, still), second, still)
    torch.testing.assert_close(
        twice, move_volume(volume, second @ first, still), atol=0.03, rtol=0
    )
