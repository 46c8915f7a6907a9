"""The hand of the Ewald sphere's curvature, told by images that show it."""

from dataclasses import replace

import numpy as np
import pytest

from atom_images import Microscope, particle_set, rotations
from cryodrgn.diagnosis.curvature import (
    fit_curvature,
    radius_of_curvature,
    sample_within_memory,
)
from cryodrgn.diagnosis.fit import QuickImages

CURVED = Microscope(box=32, pixel_size=0.4, voltage=10.0, cs=0.0, width=0.3)


@pytest.mark.parametrize("hand", [1, -1, 0])
def test_images_tell_the_hand_of_the_curvature_they_have(hand):
    rng = np.random.default_rng(5)
    atoms = 4.0 * rng.normal(size=(25, 3)) / 1.7
    microscope = replace(CURVED, curvature=hand)
    poses = rotations(200, rng)
    particles = particle_set(atoms, poses, microscope, rng, noise=1.0, defocus=(40.0, 160.0))
    images, rows = particles.images, np.arange(200)
    radius = radius_of_curvature(images, rows)
    assert radius == 15
    found = fit_curvature(QuickImages(images, rows, radius))
    assert found.hand == hand
    assert (f"hand {hand:+d}" in found.in_words()) == (hand != 0)


def test_curvature_is_not_looked_for_where_resolution_does_not_ask_for_it(rng):
    usual = Microscope(box=32, pixel_size=3.0)
    atoms = rng.normal(scale=10, size=(3, 3))
    images = particle_set(atoms, rotations(4, rng), usual, rng).images
    assert radius_of_curvature(images, np.arange(4)) is None
    assert radius_of_curvature(replace(images, ctf=None), np.arange(4)) is None


def test_a_sample_is_no_larger_than_memory_allows():
    rows = np.arange(10, 100_010)
    few = sample_within_memory(rows, 128)
    assert 500 < len(few) < 1000
    assert (few[0], few[-1]) == (rows[0], rows[-1])
    assert len(sample_within_memory(rows[:50], 128)) == 50
