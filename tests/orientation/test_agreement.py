"""Poses that differ by what images cannot tell, and by errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.geometry.rotations import random_rotations, rotation_distance
from cryodrgn.kernels.projection import VolumeSlicer
from cryodrgn.orientation.pose_alignment import align_poses, mirrored


def disguised(rotations, shifts, *, mirror: bool, seed: int = 0):
    """The same poses in another frame, with another origin, perhaps of the other hand."""
    generator = torch.Generator().manual_seed(seed)
    frame = random_rotations(1, generator)[0]
    origin = 0.05 * torch.randn(3, generator=generator)
    moved = shifts - (rotations @ origin)[:, :2]
    turned = rotations @ frame.T
    return (mirrored(turned) if mirror else turned), moved


@settings(max_examples=12)
@given(seed=st.integers(0, 1000), mirror=st.booleans())
def test_frame_origin_and_hand_are_found_exactly(seed, mirror):
    generator = torch.Generator().manual_seed(seed)
    rotations = random_rotations(40, generator)
    shifts = 0.05 * torch.randn(40, 2, generator=generator)
    poses = disguised(rotations, shifts, mirror=mirror, seed=seed + 1)
    found = align_poses((rotations, shifts), poses)
    assert found.is_mirrored is mirror
    assert float(found.distances.max()) < 1e-3
    assert float(found.shift_distances.max()) < 1e-5
    torch.testing.assert_close(found.rotations_of(poses[0]), rotations, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.shifts_of(*poses), shifts, atol=1e-5, rtol=0)


def test_a_third_of_wrong_poses_does_no_harm():
    generator = torch.Generator().manual_seed(5)
    rotations = random_rotations(300, generator)
    shifts = 0.05 * torch.randn(300, 2, generator=generator)
    poses = disguised(rotations, shifts, mirror=True)
    wrong = poses[0].clone()
    wrong[:100] = random_rotations(100, generator)
    found = align_poses((rotations, shifts), (wrong, poses[1]))
    assert found.is_mirrored
    assert float(found.distances[100:].max()) < 1e-3


def test_poses_of_the_other_hand_fit_badly_without_it():
    generator = torch.Generator().manual_seed(6)
    rotations = random_rotations(100, generator)
    found = align_poses((rotations, None), (mirrored(rotations), None), try_hands=False)
    assert found.median_deg > 20


def test_mirrored_rotations_see_the_mirrored_map_in_the_same_images(views):
    lattice = HalfPlaneFrequencies.disc(24, 8)
    flipped = torch.roll(views.volume.flip(0), 1, 0)
    before = VolumeSlicer(views.volume).slices(lattice, views.rotations[:5])
    after = VolumeSlicer(flipped).slices(lattice, mirrored(views.rotations[:5]))
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_map_moves_with_its_poses(views, mirror):
    poses = disguised(views.rotations, views.shifts, mirror=mirror)
    forth = align_poses(poses, (views.rotations, views.shifts))
    back = align_poses((views.rotations, views.shifts), poses)
    elsewhere = forth.map_of(views.volume, unit=24.0)
    apart = fourier_shell_correlation(views.volume, elsewhere)
    home = fourier_shell_correlation(views.volume, back.map_of(elsewhere, unit=24.0))
    assert float(home.values[:8].min()) > 0.97
    assert float(apart.values[3:8].mean()) < 0.7
    # The images are predicted as well as before.
    lattice = HalfPlaneFrequencies.disc(24, 6)
    prediction = VolumeSlicer(elsewhere).slices(lattice, poses[0][:5])
    assert prediction.shape == (5, len(lattice), 2)


def test_numbers_of_poses_must_agree():
    rotations = torch.eye(3).expand(4, 3, 3)
    with pytest.raises(ShapeMismatchError, match="poses of 3 images"):
        align_poses((rotations, None), (rotations[:3], None))


def test_aligned_rotations_are_rotations():
    generator = torch.Generator().manual_seed(8)
    rotations = random_rotations(50, generator)
    found = align_poses((rotations, None), (random_rotations(50, generator), None))
    assert float(rotation_distance(found.rotation[None], torch.eye(3)[None])) >= 0
    torch.testing.assert_close(
        found.rotation @ found.rotation.T, torch.eye(3), atol=1e-5, rtol=0
    )
