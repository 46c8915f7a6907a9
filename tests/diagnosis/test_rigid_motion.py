"""What changes along a latent axis: a molecule, its place, its contrast, or nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.diagnosis.rigid_motion import axis_changes, rigid_changes
from cryodrgn.geometry.rotations import rotation_from_vector
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.simulation.simulate import SimulationSettings, simulate
from cryodrgn.simulation.states import hinge_states

COUNT = 600


def simulated(folder, num_states):
    settings = SimulationSettings(num_images=COUNT, pixel_size=8.0, snr=1.0)
    files = simulate(hinge_states(num_states, 90.0, 24, 8.0).volumes, settings, folder)
    return open_particles(ParticleFiles(particles=files.star)).images, np.load(files.labels)


@pytest.fixture(scope="module")
def rigid(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("rigid"), 1)[0]


def sample(images):
    return QuickImages(images, np.arange(COUNT))


def test_errors_of_the_poses_move_the_molecule_rigidly(rigid, rng):
    errors = torch.from_numpy(0.07 * rng.normal(size=(COUNT, 3))).float()
    stated = torch.from_numpy(rigid.poses.rotations) @ rotation_from_vector(errors)
    perturbed = replace(rigid, poses=replace(rigid.poses, rotations=stated.numpy()))
    for change in axis_changes(sample(perturbed), errors.numpy()):
        assert change.rigid_share > 0.6
        assert change.is_real


def test_a_hinge_is_no_rigid_motion_and_noise_changes_nothing(tmp_path, rng):
    images, labels = simulated(tmp_path, 6)
    latents = np.stack([labels, rng.normal(size=COUNT)], axis=1)
    hinge, noise = axis_changes(sample(images), latents)
    assert hinge.is_real
    assert hinge.rigid_share < 0.3
    assert hinge.contrast_share < 0.2
    assert not noise.is_real


def test_images_of_different_contrast_change_in_contrast(rigid, rng):
    factors = rng.uniform(0.5, 1.5, COUNT).astype(np.float32)

    class Scaled:
        box_size = 24

        def __len__(self):
            return COUNT

        def read(self, rows):
            return rigid.read(rows) * factors[rows, None, None]

        def select(self, rows):
            return self

    (change,) = axis_changes(sample(replace(rigid, pixels=Scaled())), factors[:, None])
    assert change.contrast_share > 0.7
    assert change.rigid_share < 0.3


def test_rigid_changes_of_a_ball_are_those_of_its_shifts_alone():
    axis = torch.arange(24.0) - 12
    squares = axis.square()
    ball = torch.exp(-(squares[:, None, None] + squares[:, None] + squares) / 20)
    changes = rigid_changes(ball)
    turning = max(float(change.norm()) for change in changes[:3])
    shifting = min(float(change.norm()) for change in changes[3:])
    assert turning < 0.02 * shifting
