import math

import pytest
import torch

from cryodrgn.geometry.rotations import (
    nearest_rotation,
    orthonormal_columns,
    quaternion_from_rotation,
    random_rotations,
    rotation_about_x,
    rotation_distance,
    rotation_from_quaternion,
    rotation_from_vector,
)


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


def test_conversions_agree_with_roma():
    import roma  # which loads compilers

    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    # From angles that vanish to more than half a turn.
    vectors *= torch.logspace(-9, 0.3, 200, dtype=torch.float64)[:, None]
    rotations = rotation_from_vector(vectors)
    torch.testing.assert_close(rotations, roma.rotvec_to_rotmat(vectors), atol=1e-11, rtol=0)
    quaternions = quaternion_from_rotation(rotations)
    expected = roma.rotmat_to_unitquat(rotations)
    torch.testing.assert_close(quaternions, expected, atol=1e-11, rtol=0)
    back = rotation_from_quaternion(-3 * quaternions)
    torch.testing.assert_close(back, rotations, atol=1e-11, rtol=0)
    matrices = torch.randn(50, 3, 3, generator=generator, dtype=torch.float64)
    for ours, theirs in (
        (nearest_rotation(matrices), roma.special_procrustes(matrices)),
        (orthonormal_columns(matrices), roma.special_gramschmidt(matrices)),
        (orthonormal_columns(matrices[..., :2]), roma.special_gramschmidt(matrices[..., :2])),
        (
            rotation_distance(rotations[:50], rotations[50:100]),
            roma.rotmat_geodesic_distance(rotations[:50], rotations[50:100]),
        ),
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


def test_rotations_of_vanishing_vectors_can_be_differentiated():
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rotation_from_vector(vector)[2, 1].backward()
    torch.testing.assert_close(vector.grad, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
