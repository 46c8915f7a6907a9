import numpy as np
import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.geometry.rotations import rotation_about_x
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.simulation.projections import (
    ProjectionSettings,
    chosen_rotations,
    write_projections,
)


@pytest.fixture
def blobs():
    axis = np.arange(24.0) - 12
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    first = np.exp(-((x - 4) ** 2 + (y + 2) ** 2 + (z - 3) ** 2) / 6)
    return (first + 0.5 * np.exp(-((x + 3) ** 2 + (y - 5) ** 2 + z**2) / 6)).astype(np.float32)


def images(path):
    stack = ImageStack.whole_files([path])
    return stack.read(np.arange(len(stack)))


def test_unrotated_projections_are_sums_along_z(blobs, tmp_path):
    settings = ProjectionSettings(rotations=torch.eye(3)[None])
    write_projections(blobs, settings, tmp_path / "p.mrcs", 2.0)
    expected = blobs.sum(0)
    found = images(tmp_path / "p.mrcs")[0]
    np.testing.assert_allclose(found, expected, atol=0.03 * expected.max())
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9999


def test_the_shifts_of_the_poses_centre_the_images(blobs, tmp_path):
    rotations = chosen_rotations(4, None, 0)
    for name, extent in (("still", 0.0), ("moved", 3.0)):
        settings = ProjectionSettings(rotations=rotations, shift_extent_px=extent)
        poses = write_projections(blobs, settings, tmp_path / f"{name}.mrcs", 2.0)
    from cryodrgn.data.stack_changes import translate

    moved = torch.from_numpy(images(tmp_path / "moved.mrcs"))
    assert np.abs(poses.shifts).max() > 2
    back = translate(poses.shifts / 2.0)(moved, np.arange(4))
    np.testing.assert_allclose(back, images(tmp_path / "still.mrcs"), atol=1e-3)


def test_a_tilted_exposure_shows_x_times_r(blobs, tmp_path):
    rotations, tilt = chosen_rotations(3, None, 1), rotation_about_x(0.5)
    tilted = ProjectionSettings(rotations=rotations, tilt=tilt)
    poses = write_projections(blobs, tilted, tmp_path / "a.mrcs", None)
    write_projections(
        blobs, ProjectionSettings(rotations=tilt @ rotations), tmp_path / "b.mrcs", None
    )
    np.testing.assert_array_equal(images(tmp_path / "a.mrcs"), images(tmp_path / "b.mrcs"))
    np.testing.assert_array_equal(poses.rotations, rotations)


def test_rotations_are_random_or_a_grid():
    assert chosen_rotations(None, 1, 0).shape == (576, 3, 3)
    assert torch.equal(chosen_rotations(5, None, 3), chosen_rotations(5, None, 3))
    for count, level in ((None, None), (3, 1), (0, None), (None, 9)):
        with pytest.raises(ConfigError):
            chosen_rotations(count, level, 0)
