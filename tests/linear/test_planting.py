import pytest
import torch

from cryodrgn.data.batches import generator_at
from cryodrgn.data.config import DataConfig
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.linear.planting import Background, coverage, plant, signals
from cryodrgn.linear.runner import estimated_norm, prepare_disc
from cryodrgn.particles.optics_groups import optics_groups

RADIUS = 6


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Images of one state, and its difference from another one."""
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("planting")
    words = "simulate -D 16 --Apix 12 -n 200 --num-states 2 --snr 0.5 -o"
    assert main([*words.split(), str(folder)]) == 0
    data = DataConfig(files=ParticleFiles(particles=folder / "particles.star"))
    particles = data.open()
    images = prepare_disc(
        data,
        particles,
        estimated_norm(data, particles),
        torch.device("cpu"),
        storage=Storage(scratch_dir=folder),
    )
    states = [read_volume(folder / f"gt/state_{n:03d}.mrc")[0] for n in range(2)]
    difference = torch.from_numpy(states[1] - states[0])
    background = Background(
        volumes=torch.from_numpy(states[0])[None],
        latents=torch.zeros(200, 0),
        noise=initial_noise(images.images, optics_groups(particles.images)),
    )
    return images, difference, background


def values_of(images, rows):
    return torch.cat([batch.images for batch in images.batches(rows, RADIUS)])


def test_the_planted_signal_is_what_was_measured(scene):
    images, difference, background = scene
    rows = torch.arange(0, 200, 3)
    none, all_of_them = (
        plant(images, rows, torch.full((len(rows),), minor), difference, background, RADIUS)
        for minor in (False, True)
    )
    before, after = values_of(none, rows), values_of(all_of_them, rows)
    torch.testing.assert_close(before, values_of(images, rows))
    precision = background.noise.precision(rows, images.num_points(RADIUS))
    total = ((after - before).square().sum(-1) * precision).sum() / len(rows)
    measured = signals(images, rows, difference[None], background.noise, RADIUS)[0]
    assert float(measured.sum()) == pytest.approx(float(total), rel=1e-4)


def test_simulated_noise_has_the_spectrum_of_the_images(scene):
    images, difference, background = scene
    rows = torch.arange(200)
    minor = torch.zeros(200, dtype=torch.bool)
    drawn = [
        values_of(
            plant(
                images,
                rows,
                minor,
                difference,
                background,
                RADIUS,
                simulated_noise=generator_at(seed, (0,)),
            ),
            rows,
        )
        for seed in (0, 1)
    ]
    precision = background.noise.precision(rows, images.num_points(RADIUS))
    power = ((drawn[0] - drawn[1]) * precision.sqrt()[..., None]).square().mean() / 2
    assert float(power) == pytest.approx(1.0, abs=0.02)


def test_own_heterogeneity_is_taken_out_of_the_images(scene):
    images, difference, background = scene
    rows = torch.arange(200)
    latents = torch.randn(200, 1, generator=generator_at(3, (0,)))
    own = Background(
        volumes=torch.cat([background.volumes, difference[None]]),
        latents=latents,
        noise=background.noise,
    )
    minor = torch.zeros(200, dtype=torch.bool)
    without = values_of(plant(images, rows, minor, difference, own, RADIUS), rows)
    ones = torch.ones(200, dtype=torch.bool)
    planted = values_of(plant(images, rows, ones, difference, background, RADIUS), rows)
    whole = values_of(images, rows)
    expected = whole - latents[:, :, None] * (planted - whole)
    torch.testing.assert_close(without, expected, atol=1e-4, rtol=1e-4)


def test_views_from_all_directions_cover_what_one_direction_leaves_empty(scene):
    images, _, background = scene
    rows = torch.arange(200)
    rotations = torch.from_numpy(images.images._particles.images.require_poses().rotations)
    # Turned back, every particle is seen along z.
    along_z = coverage(images, rows, background.noise, RADIUS, rotations.mT)
    own = coverage(images, rows, background.noise, RADIUS)
    turns = random_rotations(200, generator_at(0, (0,)))
    uniform = coverage(images, rows, background.noise, RADIUS, turns)
    assert float(along_z.sum()) == pytest.approx(float(own.sum()), rel=0.05)
    assert int((along_z > 0).sum()) < 0.5 * int((own > 0).sum())
    assert int((uniform > 0).sum()) == pytest.approx(int((own > 0).sum()), rel=0.05)
