import math

import pytest
import torch

from cryodrgn.geometry.rotations import random_rotations, rotation_about_x, rotation_distance


def test_random_rotations_are_proper_and_repeat_with_their_seed():
    first = random_rotations(50, torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        first @ first.mT, torch.eye(3).expand(50, 3, 3), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(torch.linalg.det(first), torch.ones(50))
    assert torch.equal(first, random_rotations(50, torch.Generator().manual_seed(3)))


def test_random_rotations_have_the_angle_distribution_of_the_haar_measure():
    rotations = random_rotations(20000, torch.Generator().manual_seed(0))
    angles = rotation_distance(rotations, torch.eye(3).expand_as(rotations))
    # Density (1 − cos θ)/π on [0, π]: mean π/2 + 2/π.
    assert angles.mean() == pytest.approx(math.pi / 2 + 2 / math.pi, abs=0.01)


def test_rotation_about_x_is_right_handed():
    turned = rotation_about_x(math.pi / 2) @ torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(turned, torch.tensor([0.0, 0.0, 1.0]), atol=1e-6, rtol=0)
    assert rotation_distance(rotation_about_x(0.3)[None], torch.eye(3)[None]) == pytest.approx(
        0.3
    )
