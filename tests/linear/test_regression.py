"""Volumes regressed on functions of the latents: exact invariances of small sets of images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atom_images import Microscope, listed, rotations
from cryodrgn.data.config import DataConfig
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.linear.regression import Coefficients, regress
from cryodrgn.linear.runner import prepare_disc

COUNT, MICROSCOPE = 120, Microscope(box=16, pixel_size=4.0, width=4.0)


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Disc images of a molecule of which one part comes and goes with z, their noise, and z."""
    rng = np.random.default_rng(5)
    fixed, part = 7 * rng.normal(size=(6, 3)), np.array([[14.0, 4.0, 0.0]])
    poses, defoci = rotations(COUNT, rng), rng.uniform(8000, 20000, COUNT)
    z = rng.normal(size=COUNT).astype(np.float32)
    images = np.stack(
        [
            MICROSCOPE.image(fixed @ pose.T, defocus)
            + 2 * value * MICROSCOPE.image(part @ pose.T, defocus)
            for pose, defocus, value in zip(poses, defoci, z, strict=True)
        ]
    )
    images += images.std() * rng.normal(size=images.shape)
    return disc(images, poses, defoci, tmp_path_factory.mktemp("disc")), torch.from_numpy(z)


def disc(images, poses, defoci, folder):
    """Images made ready, and their noise."""
    particles = listed(images.astype(np.float32), poses, defoci, MICROSCOPE)
    data = DataConfig(files=ParticleFiles(particles=Path("numpy")))
    prepared = prepare_disc(
        data, particles, (0.0, 1.0), torch.device("cpu"), storage=Storage(scratch_dir=folder)
    )
    return prepared, initial_noise(prepared.images, np.zeros(COUNT, np.int64))


def test_volumes_of_all_images_are_masked_as_those_of_the_halves_are(moving):
    (images, noise), z = moving
    rows, mask = torch.arange(COUNT), soft_sphere(MICROSCOPE.box, 4.0, 4.0)
    # Halves of the same images: their volumes are those of all of them.
    found = regress(
        images, (rows, rows), Coefficients(values=z[:, None]), noise, mask, focus=mask
    )
    edge = (mask > 0.3) & (mask < 0.7)
    for volume, half in zip(found.volumes, found.halves[0], strict=True):
        inside = half[edge]
        assert float(volume[edge] @ inside / (inside @ inside)) == pytest.approx(1, abs=0.15)
