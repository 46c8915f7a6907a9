import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryodrgn.errors import InputFileError
from cryodrgn.particles.poses import Poses
from cryodrgn.training.options import PoseConfig
from cryodrgn.training.pose_table import PoseTable


@pytest.fixture
def poses(rng):
    return Poses(
        rotations=Rotation.random(6, random_state=1).as_matrix().astype(np.float32),
        shifts=rng.normal(size=(6, 2)).astype(np.float32),
        source="test",
    )


@pytest.mark.parametrize("embedding", ["s2s2", "quat"])
def test_poses_are_kept_until_they_are_moved(poses, embedding):
    table = PoseTable(poses, np.full(6, 100.0), PoseConfig(embedding=embedding), CPU)
    found = table.poses()
    np.testing.assert_allclose(found.rotations, poses.rotations, atol=1e-5)
    np.testing.assert_allclose(found.shifts, poses.shifts, atol=1e-5)


@pytest.mark.parametrize("embedding", ["s2s2", "quat"])
def test_descent_finds_the_rotation_that_is_asked_for(poses, embedding):
    config = PoseConfig(embedding=embedding, learning_rate=0.02)
    table = PoseTable(poses, np.full(6, 100.0), config, CPU)
    turn = Rotation.from_rotvec([0.1, -0.2, 0.1]).as_matrix()
    target = torch.from_numpy((turn @ poses.rotations).astype(np.float32))
    for _ in range(100):
        rotations, shifts = table.at(torch.arange(6))
        ((rotations - target).square().sum() + (shifts / 50).square().sum()).backward()
        table.step()
    np.testing.assert_allclose(table.poses().rotations, target, atol=0.03)
    assert np.abs(table.poses().shifts).max() < 0.05


def test_steps_of_particles_begin_at_zero_and_go_into_the_depth(poses):
    table = PoseTable(poses, np.full(6, 100.0), PoseConfig(), CPU, of_several=True)
    _, steps = table.at(torch.arange(6))
    assert torch.equal(steps, torch.zeros(6, 3))
    steps[:, 2].sum().backward()
    table.step()
    assert (table.at(torch.arange(6))[1][:, 2] < 0).all()


def test_runs_that_moved_all_images_of_a_particle_alike_do_not_go_on(poses):
    old = PoseTable(poses, np.full(6, 100.0), PoseConfig(), CPU)
    table = PoseTable(poses, np.full(6, 100.0), PoseConfig(), CPU, of_several=True)
    with pytest.raises(InputFileError, match="moved all tilt images of a particle by one"):
        table.load_state_dict(old.state_dict())


CPU = torch.device("cpu")
