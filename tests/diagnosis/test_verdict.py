"""Sets that are wrong in a known way; the whole table is made by benchmarks/check_cases.py."""

from dataclasses import replace

import numpy as np
import pytest

from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.diagnosis.verdict import judge
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.simulation.simulate import SimulationSettings, simulate
from cryodrgn.simulation.states import hinge_states


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    settings = SimulationSettings(
        num_images=250, pixel_size=8.0, snr=1.0, defocus_range_um=(2.0, 4.0), astigmatism=8000.0
    )
    folder = tmp_path_factory.mktemp("good")
    files = simulate(hinge_states(1, 90.0, 24, 8.0).volumes, settings, folder)
    return open_particles(ParticleFiles(particles=files.star))


def verdict_on(particles, *, invert=False):
    return judge(QuickImages(particles, np.arange(len(particles)), invert=invert))


def test_a_good_set_passes_and_its_halves_agree(good):
    verdict = verdict_on(good)
    assert verdict.passed, verdict.sentence
    assert not verdict.changes
    assert verdict.stated_gain > 5 * verdict.control_gain
    assert verdict.skewness > 1
    assert verdict.fsc.values[:6].min() > 0.9


def test_white_particles_are_told_by_their_map(good):
    verdict = verdict_on(good, invert=True)
    assert verdict.changes == ("particles are white on black, the sign must be inverted",)


def inverted_rotations(particles):
    inverse = particles.poses.rotations.transpose(0, 2, 1).copy()
    return replace(particles, poses=replace(particles.poses, rotations=inverse))


def negative_shifts(particles):
    return replace(particles, poses=replace(particles.poses, shifts=-particles.poses.shifts))


def swapped_defocus(particles):
    ctf = particles.ctf
    swapped = replace(ctf, defocus_u=ctf.defocus_v, defocus_v=ctf.defocus_u)
    return replace(particles, ctf=swapped)


def shuffled(particles):
    order = np.random.default_rng(1).permutation(len(particles))
    return replace(
        particles, poses=particles.poses.select(order), ctf=particles.ctf.select(order)
    )


def wrong_pixel_size(particles):
    return replace(particles, pixel_sizes=particles.pixel_sizes * np.float32(1.4))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (inverted_rotations, "rotations are the inverse"),
        (negative_shifts, "shifts have the wrong sign"),
        (swapped_defocus, "defocus U and V are exchanged"),
        (shuffled, "poses do not belong to these images"),
        (wrong_pixel_size, "pixel size of the CTF must be multiplied by 0.7"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_convention_is_named_and_none_else(good, change, words):
    verdict = verdict_on(change(good))
    assert not verdict.passed
    assert words in verdict.changes[0]


def test_two_mistakes_are_both_named(good):
    verdict = verdict_on(negative_shifts(inverted_rotations(good)))
    assert sorted(words.split(" ")[0] for words in verdict.changes) == ["rotations", "shifts"]


def test_noise_fits_nothing(good, rng):
    class Noise:
        box_size = 24

        def __len__(self):
            return len(good)

        def read(self, rows):
            return rng.normal(size=(len(rows), 24, 24)).astype(np.float32)

        def select(self, rows):
            return self

    verdict = verdict_on(replace(good, images=Noise()))
    assert not verdict.passed
    assert verdict.skewness is None
