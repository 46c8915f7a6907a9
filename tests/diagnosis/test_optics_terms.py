"""Signs of the optics that a file gives, and the state of its images, told by the images."""

from dataclasses import replace

import numpy as np
import pytest

import optics_simulation as optics
from cryodrgn.diagnosis.conventions import STATED
from cryodrgn.diagnosis.image_state import (
    MULTIPLIED_UNSAID,
    NOT_MULTIPLIED,
    as_multiplied,
    multiplication_test,
)
from cryodrgn.diagnosis.optics_terms import borne_out, radius_of_terms, term_comparisons
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.star import read_star, write_star

COUNT = 100
ROWS = np.arange(COUNT)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    def make(term, noise=0.5):
        design = optics.Design(box_size=32, num_images=COUNT, num_balls=20, noise=noise)
        star = optics.write_set(tmp_path_factory.mktemp("set"), design, term)
        return open_particles(ParticleFiles(particles=star)).images

    return make


def with_ctf(images, **changes):
    return replace(images, ctf=replace(images.ctf, **changes))


@pytest.mark.parametrize(
    ("term", "column"),
    [
        (optics.beam_tilt(1.5, -1.0), "odd_zernike"),
        (optics.fourth_order(300, 200), "even_zernike"),
    ],
)
def test_the_sign_of_an_aberration_is_told(read, term, column):
    images = read(term)
    right = term_comparisons(images, ROWS, STATED)
    assert len(right) == 2
    assert all(comparison.is_worse for comparison in right)
    turned = with_ctf(images, **{column: -getattr(images.ctf, column)})
    found = term_comparisons(turned, ROWS, STATED)
    best = max(found, key=lambda comparison: comparison.gain)
    assert best.is_better
    assert best.words.endswith("have the wrong sign")
    kind = right[0].words.removesuffix(" have the wrong sign")
    said = f"The images bear out the {kind} that the file gives, and their signs."
    assert borne_out(right) == said


def test_b_factors_of_other_images_are_told(read):
    images = read(optics.b_factors(0, 80))
    right = term_comparisons(images, ROWS, STATED)
    assert all(c.is_worse for c in right)
    said = "The images bear out the B factors and scales that the file gives."
    assert borne_out(right) == said
    exchanged = replace(images, b_factors=images.b_factors[::-1].copy())
    assert all(c.is_better for c in term_comparisons(exchanged, ROWS, STATED))


def test_a_set_without_terms_is_compared_with_nothing(read):
    assert term_comparisons(read(optics.Term()), ROWS, STATED) == []


def test_the_resolution_follows_the_size_of_the_term(read):
    small, large = (read(optics.beam_tilt(size, 0.0)) for size in (0.1, 20.0))
    assert radius_of_terms(large, ROWS) < radius_of_terms(small, ROWS)


@pytest.mark.parametrize("noise", [0.0, 0.5, 5.0])
def test_noise_shows_if_images_were_multiplied_by_the_ctf(read, noise):
    for state in ("flipped", "multiplied"):
        images = read(optics.corrected(state), noise)
        found = multiplication_test(images, ROWS)
        assert found.is_clear
        assert found.is_multiplied == (state == "multiplied")


def test_a_wrong_state_is_named_and_put_right(read):
    multiplied, plain = read(optics.corrected("multiplied")), read(optics.Term())
    assert as_multiplied(multiplied, ROWS) == (multiplied, ())
    assert as_multiplied(plain, ROWS) == (plain, ())
    found, words = as_multiplied(with_ctf(multiplied, correction=None), ROWS)
    assert words == (MULTIPLIED_UNSAID,)
    assert set(found.ctf.correction) == {2}
    said = with_ctf(plain, correction=np.full(COUNT, 2))
    found, words = as_multiplied(said, ROWS)
    assert words == (NOT_MULTIPLIED,)
    assert set(found.ctf.correction) == {1}


def test_images_of_several_shapes_are_tested_by_the_most_frequent(tmp_path):
    tables = []
    for number, (side, count) in enumerate([(32, 60), (36, 20)], start=1):
        design = optics.Design(box_size=side, num_images=count, num_balls=20)
        star = optics.write_set(tmp_path / str(number), design, optics.corrected("multiplied"))
        blocks = read_star(star)
        tables.append({b: {n: t.text(n) for n in t.names} for b, t in blocks.items()})
        tables[-1]["optics"]["rlnOpticsGroup"] = [str(number)]
        particles = tables[-1]["particles"]
        particles["rlnOpticsGroup"] = [str(number)] * count
        names = particles["rlnImageName"]
        particles["rlnImageName"] = [n.replace("@", f"@{number}/") for n in names]
    joined = {
        block: {name: tables[0][block][name] + tables[1][block][name] for name in columns}
        for block, columns in tables[0].items()
    }
    write_star(tmp_path / "joined.star", joined)
    images = open_particles(ParticleFiles(particles=tmp_path / "joined.star")).images
    assert multiplication_test(images, np.arange(80)).is_multiplied
    assert as_multiplied(images, np.arange(80)) == (images, ())
