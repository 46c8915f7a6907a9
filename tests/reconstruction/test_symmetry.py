"""Maps of symmetric molecules: every image stands for as many as there are mates."""

import numpy as np
import pytest
import torch

from atom_images import Microscope, listed, particle_set, rotations
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.geometry.symmetry import point_group
from cryodrgn.reconstruction.backproject import backproject

PLAIN = Preprocessing(window_radius=0.85)


def symmetric_atoms(group, rng, count=4):
    unit = rng.normal(size=(count, 3))
    unit *= rng.uniform(12, 20, (count, 1)) / np.linalg.norm(unit, axis=1, keepdims=True)
    return np.concatenate([unit @ mate.T for mate in group])


def area(volume, truth):
    return fourier_shell_correlation(volume, torch.from_numpy(truth)).area()


def expanded(particles, group):
    """Every image in all poses R S, one after another."""
    images, count = particles.images, len(particles)
    rows = np.repeat(np.arange(count), len(group))
    poses = (images.poses.rotations[:, None] @ group[None]).reshape(-1, 3, 3)
    return listed(images.read(rows), poses, images.ctf.defocus_u[rows], Microscope(), rows)


@pytest.fixture(scope="module", params=["D7", "O"])
def case(request):
    rng = np.random.default_rng(1)
    group = point_group(request.param)
    atoms = symmetric_atoms(group, rng)
    poses = rotations(40, rng)
    few = particle_set(atoms, poses, Microscope(), rng, noise=2.0)
    # As many images as the few stand for, each with noise of its own.
    all_poses = (poses[:, None] @ group[None]).reshape(-1, 3, 3)
    many = particle_set(atoms, all_poses, Microscope(), rng, noise=2.0)
    return request.param, group, Microscope().volume(atoms), few, many


def test_few_images_with_symmetry_are_as_good_as_all_that_they_stand_for(case):
    name, _, truth, few, many = case
    alone = backproject(few, PLAIN)
    symmetric = backproject(few, PLAIN, symmetry=name)
    sampled = backproject(many, PLAIN)
    assert area(symmetric.volume, truth) > area(alone.volume, truth) + 0.05
    assert abs(area(symmetric.volume, truth) - area(sampled.volume, truth)) < 0.01
    assert abs(symmetric.fsc.area() - sampled.fsc.area()) < 0.03


def test_symmetry_is_the_map_of_the_expanded_set_and_so_are_its_half_maps(case):
    name, group, _, few, _ = case
    symmetric = backproject(few, PLAIN, symmetry=name.lower())
    found = backproject(expanded(few, group), PLAIN)
    for one, other in zip(symmetric.half_maps, found.half_maps, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4 * float(one.abs().max()), rtol=0)


def test_half_maps_of_noise_agree_no_better_for_copies_of_images():
    rng, group = np.random.default_rng(0), point_group("D7")
    noise = rng.normal(size=(60, 32, 32)).astype(np.float32)
    particles = listed(noise, rotations(60, rng), np.full(60, 1e4), Microscope())
    copies = expanded(particles, group)
    apart = backproject(copies, PLAIN, symmetry="D7").fsc.values[2:].mean()
    assert abs(apart) < 0.2
    # The same rows, as if they were other images: copies in both halves agree with each other.
    mixed = copies.with_images({"copies": None})
    assert backproject(mixed, PLAIN, symmetry="D7").fsc.values[2:].mean() > 0.99
