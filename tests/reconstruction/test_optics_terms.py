"""Sets of known optics, simulated by numpy alone, come back like the set without the term."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import optics_simulation as optics
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.cryosparc import CryosparcParticles
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
    return particles.with_images({"ctf": replace(particles.images.ctf, **changes)})


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
    bare = particles.with_images({"b_factors": None, "weights": None})
    _, without = agreement(changed(bare, correction=None))
    assert without < 0.9 * amplitude


def test_premultiplied_images_are_prepared_as_phase_flipped_ones(read, agreement):
    maps = [
        backproject(read(OTHERS[name]), Preprocessing(window_radius=0.85)).volume
        for name in ("phase flipped", "premultiplied")
    ]
    assert fourier_shell_correlation(*maps).values[:-1].min() > 0.999


def lengths_of_cryosparc(shift, tilt, trefoil, tetra):
    """The phases of docs/optics.md, in polar coordinates."""
    wavelength = optics.WAVELENGTH

    def odd(kx, ky):
        k, angle = np.hypot(kx, ky), np.arctan2(ky, kx)
        linear = shift[0] * kx + shift[1] * ky
        coma = k**2 * (tilt[0] * kx + tilt[1] * ky)
        three = k**3 * (trefoil[0] * np.cos(3 * angle) + trefoil[1] * np.sin(3 * angle)) / 3
        return -2 * np.pi * (linear + wavelength**2 * (coma + three))

    def even(kx, ky):
        k, angle = np.hypot(kx, ky), np.arctan2(ky, kx)
        waves = [np.cos(2 * angle), np.sin(2 * angle), np.cos(4 * angle), np.sin(4 * angle)]
        parts = (q * w for q, w in zip(tetra, waves, strict=True))
        total = sum(part * share for part, share in zip(parts, (1, 1, 0.25, 0.25), strict=True))
        return 2 * np.pi * wavelength**3 * k**4 * total

    return optics.Term(odd=odd, even=even)


def test_lengths_of_cryosparc_are_undone(read, agreement, plain, tmp_path):
    lengths = {
        "ctf/shift_A": (1.0, -0.5),
        "ctf/tilt_A": (2e4, -1e4),
        "ctf/trefoil_A": (3e4, 2e4),
        "ctf/tetra_A": (8e5, -5e5, 2e6, 1e6),
    }
    particles = read(lengths_of_cryosparc(*lengths.values()))
    assert particles.images.ctf.odd_zernike is None
    kinds = [(name, "f4", (len(values),)) for name, values in lengths.items()]
    table = np.zeros(len(particles), [*kinds, ("ctf/accel_kv", "f4")])
    table["ctf/accel_kv"] = optics.VOLTAGE_KV
    for name, values in lengths.items():
        table[name] = values
    with (tmp_path / "particles.cs").open("wb") as file:
        np.save(file, table)
    terms = CryosparcParticles(tmp_path / "particles.cs").optics_terms()
    assert abs(agreement(changed(particles, **terms))[0] - plain[0]) < 0.003
    assert agreement(particles)[0] < plain[0] - 0.02
