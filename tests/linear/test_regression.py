"""Volumes regressed on functions of the latents: exact invariances of small sets of images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atom_images import Microscope, listed, rotations
from cryodrgn.data.config import DataConfig
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.imaging.linear_posterior import Posterior
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.linear.halves import correlations
from cryodrgn.linear.iteration import canonicalise
from cryodrgn.linear.latents import Latents
from cryodrgn.linear.maximisation import Solution
from cryodrgn.linear.regression import Coefficients, regress
from cryodrgn.linear.runner import prepare_disc
from cryodrgn.linear.states import StateReconstruction, StateSettings
from cryodrgn.linear.subspace import Subspace

COUNT, MICROSCOPE = 120, Microscope(box=16, pixel_size=4.0, width=4.0)
BALL = soft_sphere(16, 4.0, 4.0)
PART = soft_sphere(16, 2.0, 2.0).roll(3, 2)


@pytest.fixture(scope="module")
def moving():
    """Images of a molecule of which one part comes and goes with z, their optics, and z."""
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
    return images, (poses, defoci), z


def disc(images, optics, folder):
    """Images made ready, and their noise."""
    particles = listed(images.astype(np.float32), *optics, MICROSCOPE)
    data = DataConfig(files=ParticleFiles(particles=Path("numpy")))
    prepared = prepare_disc(
        data, particles, (0.0, 1.0), torch.device("cpu"), storage=Storage(scratch_dir=folder)
    )
    return prepared, initial_noise(prepared.images, np.zeros(COUNT, np.int64))


def test_volumes_of_all_images_are_masked_as_those_of_the_halves_are(moving, tmp_path):
    values, optics, z = moving
    images, noise = disc(values, optics, tmp_path)
    rows, coefficients = torch.arange(COUNT), Coefficients(values=torch.from_numpy(z)[:, None])
    # Halves of the same images: their volumes are those of all of them.
    found = regress(images, (rows, rows), coefficients, noise, BALL, focus=BALL)
    edge = (BALL > 0.3) & (BALL < 0.7)
    for volume, half in zip(found.volumes, found.halves[0], strict=True):
        inside = half[edge]
        assert float(volume[edge] @ inside / (inside @ inside)) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("scale", "offset"), [(0.1, 0.0), (1.0, 10.0), (30.0, -90.0)])
def test_states_are_the_same_in_any_unit_and_from_any_origin_of_z(
    moving, tmp_path, scale, offset
):
    values, optics, z = moving
    images, noise = disc(values, optics, tmp_path)
    found = []
    for factor, shift in ((1.0, 0.0), (scale, offset)):
        points = (factor * np.stack([z, [0.8] * COUNT], 1)[:, :, None] + shift).astype("f4")
        latents = Latents(mean=points[:, 0], source="test", half_means=points[:, 0] + 0)
        states = StateReconstruction(images, latents, noise, StateSettings(functions="linear"))
        model = states.image_model()
        (state,) = states.states(model, points[:1, 1], 4.0)
        maps = (state.volume, *state.half_maps, state.standard_error, states.mask)
        found.append((maps, model.regression.fsc, state.effective_number))
    (maps, fsc, number), (expected, *others) = found[1], found[0]
    for volume, other in zip(maps, expected, strict=True):
        limit = 2e-3 * float(other.abs().max())
        torch.testing.assert_close(volume, other, atol=limit, rtol=0)
    torch.testing.assert_close(fsc, others[0], atol=1e-3, rtol=0)
    assert number == pytest.approx(others[1], rel=1e-3)


def test_components_are_compared_within_their_own_mask(moving, tmp_path):
    """Priors come from this correlation, of which noise outside of the mask is no part."""
    values, optics, z = moving
    images, noise = disc(values, optics, tmp_path)
    coefficients = Coefficients(values=torch.from_numpy(z)[:, None])
    found = regress(
        images, images.halves(torch.arange(COUNT)), coefficients, noise, BALL, focus=PART
    )
    for volume, mask in enumerate((BALL, BALL * PART)):
        first, second = (
            Subspace(volumes=half[volume][None] * mask, prior=torch.ones(1, 9), radius=7)
            for half in found.half_maps
        )
        expected = correlations(first, second)[0]
        # The mean's is that of the volume at the mean of z.
        tolerance = (0.05, 1e-3)[volume]
        torch.testing.assert_close(found.fsc[volume], expected, atol=tolerance, rtol=0)


def test_priors_are_those_of_volumes_that_fill_the_box():
    """White volumes within masks: the variance on the grid is that without the mask."""
    size, radius, count = 24, 10, 500
    masks = torch.stack([soft_sphere(size, 9.0, 2.0), *2 * [soft_sphere(size, 4.0, 2.0)]])
    generator = torch.Generator().manual_seed(1)
    volumes = masks * torch.randn(3, size, size, size, generator=generator)
    mean = torch.randn(count, 2, generator=generator)
    none = torch.zeros(radius + 2, 3, 3)
    solution = Solution(volumes=volumes, covariance=none, noise=torch.ones(radius + 2))
    ones = torch.ones(count)
    posterior = Posterior(
        mean=mean, covariance=torch.zeros(count, 2, 2), contrast=ones, contrast_square=ones
    )
    found = canonicalise(solution, posterior, masks, radius).prior[:, 4:radius].mean(1)
    shares = masks.square().flatten(1).mean(1) / masks.flatten(1).mean(1)
    expected = shares * size**3 / 2
    # Of the envelope of the interpolation and of chance.
    assert found[1:].mean() / expected[1] == pytest.approx(
        float(found[0] / expected[0]), rel=0.4
    )


def test_kernels_weight_images_by_their_contrast(moving, tmp_path):
    """Images twice as strong of twice the contrast say the same; those of none say nothing."""
    values, optics, z = moving
    present = (np.arange(COUNT) % 3 > 0)[:, None, None]
    images, noise = disc(values * present, optics, tmp_path)
    stronger, _ = disc(np.where(present, 2 * values, values), optics, tmp_path)
    found = []
    for given, scale in ((images, 1), (stronger, 2)):
        contrasts = scale * present[:, 0, 0].astype(np.float32)
        latents = Latents(mean=z[:, None], source="test", contrasts=contrasts)
        states = StateReconstruction(
            given, latents, noise, StateSettings(functions="linear"), BALL
        )
        (state,) = states.kernel_states(np.array([[0.5]], np.float32), 4.0)
        found.append((state.volume, *state.half_maps))
    for volume, expected in zip(*found, strict=True):
        limit = 1e-4 * float(expected.abs().max())
        torch.testing.assert_close(volume, expected, atol=limit, rtol=0)
