"""Sets of known optics, simulated by numpy alone, come back like the set without the term."""

from dataclasses import replace

import pytest
import torch

import optics_simulation as optics
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.reconstruction.backproject import backproject

DESIGN = optics.Design(box_size=32, num_images=150, num_balls=20, noise=0.1)
PHASES = {
    "beam tilt": optics.beam_tilt(1.5, -1.0),
    "trefoil": optics.trefoil(80, -60),
    "fourth order": optics.fourth_order(150, 100, 20),
}
OTHERS = {
    "B factors": optics.b_factors(0, 40),
    "scales": optics.scales(1, 0.5),
    "phase flipped": optics.corrected("flipped"),
    "premultiplied": optics.corrected("multiplied"),
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    def make(term):
        star = optics.write_set(tmp_path_factory.mktemp("set"), DESIGN, term)
        return open_particles(ParticleFiles(particles=star))

    return make


@pytest.fixture(scope="module")
def agreement():
    """Mean Fourier shell correlation of the map with the truth, and its amplitude there."""
    truth = torch.from_numpy(DESIGN.truth())

    def compute(particles):
        volume = backproject(particles, Preprocessing(window_radius=0.85)).volume
        curve = fourier_shell_correlation(volume, truth).values[1:-1]
        scale = (volume * truth).sum() / truth.square().sum()
        return float(curve.mean()), float(scale)

    return compute


@pytest.fixture(scope="module")
def plain(read, agreement):
    return agreement(read(optics.Term()))


def changed(particles, **changes):
    return particles.with_images(ctf=replace(particles.images.ctf, **changes))


@pytest.mark.parametrize("name", PHASES)
def test_an_aberration_is_undone_and_its_other_sign_does_twice_the_harm(
    name, read, agreement, plain
):
    particles = read(PHASES[name])
    ctf = particles.images.ctf
    assert abs(agreement(particles)[0] - plain[0]) < 0.003
    odd, even = ctf.odd_zernike, ctf.even_zernike
    without, _ = agreement(changed(particles, odd_zernike=None, even_zernike=None))
    wrong, _ = agreement(
        changed(
            particles,
            odd_zernike=None if odd is None else -odd,
            even_zernike=None if even is None else -even,
        )
    )
    assert without < plain[0] - 0.02
    assert wrong < without - 0.02


@pytest.mark.parametrize("name", OTHERS)
def test_weaker_and_corrected_images_are_predicted_as_they_are(name, read, agreement, plain):
    particles = read(OTHERS[name])
    area, amplitude = agreement(particles)
    # Phase-flipped images keep in the box what the CTF had spread beyond it, and are better.
    assert area > plain[0] - 0.003
    assert amplitude > 0.93 * plain[1]
    bare = particles.with_images(b_factors=None, weights=None)
    _, without = agreement(changed(bare, correction=None))
    assert without < 0.9 * amplitude


def test_premultiplied_images_are_prepared_as_phase_flipped_ones(read, agreement):
    maps = [
        backproject(read(OTHERS[name]), Preprocessing(window_radius=0.85)).volume
        for name in ("phase flipped", "premultiplied")
    ]
    assert fourier_shell_correlation(*maps).values[:-1].min() > 0.999
