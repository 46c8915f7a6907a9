"""Sets that are wrong in a known way; the whole table is made by benchmarks/check_cases.py."""

from dataclasses import replace

import numpy as np
import pytest

from cryodrgn.diagnosis.convention_verdict import judge
from cryodrgn.diagnosis.fit import QuickImages
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
    return open_particles(ParticleFiles(particles=files.star)).images


def verdict_on(images, *, invert=False):
    return judge(QuickImages(images, np.arange(len(images)), invert=invert))


def test_a_good_set_passes_and_its_halves_agree(good):
    verdict = verdict_on(good)
    assert verdict.passed, verdict.sentence
    assert not verdict.changes
    assert verdict.stated_gain > 5 * verdict.control_gain
    assert verdict.skewness > 1
    assert verdict.fsc.values[:6].min() > 0.9


def test_a_set_listed_twice_is_as_sure(good):
    rows = np.repeat(np.arange(len(good)), 2)
    once, twice = (
        judge(QuickImages(images, np.arange(len(images))))
        for images in (good, replace(good.select(rows), copies=rows))
    )
    for ours, theirs in zip(twice.comparisons, once.comparisons, strict=True):
        if "one row too" in ours.words:
            continue
        assert ours.difference == pytest.approx(theirs.difference, rel=1e-3, abs=1e-2)
        assert ours.error == pytest.approx(theirs.error, rel=1e-3)


def test_white_particles_are_told_by_their_map(good):
    verdict = verdict_on(good, invert=True)
    assert len(verdict.changes) == 1
    assert "the sign must be inverted (add or drop `invert`)" in verdict.sentence


def inverted_rotations(images):
    inverse = images.poses.rotations.transpose(0, 2, 1).copy()
    return replace(images, poses=replace(images.poses, rotations=inverse))


def negative_shifts(images):
    return replace(images, poses=replace(images.poses, shifts=-images.poses.shifts))


def swapped_defocus(images):
    ctf = images.ctf
    swapped = replace(ctf, defocus_u=ctf.defocus_v, defocus_v=ctf.defocus_u)
    return replace(images, ctf=swapped)


def shuffled(images):
    order = np.random.default_rng(1).permutation(len(images))
    return replace(images, poses=images.poses.select(order), ctf=images.ctf.select(order))


def wrong_pixel_size(images):
    return replace(images, pixel_sizes=images.pixel_sizes * np.float32(1.4))


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

    verdict = verdict_on(replace(good, pixels=Noise()))
    assert not verdict.passed
    assert verdict.skewness is None
