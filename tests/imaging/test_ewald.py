"""Curvature of the Ewald sphere, against images whose atoms have a defocus each."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atom_images import Microscope, particle_set, rotations
from cryodrgn.data.preprocessing import Preprocessing, ctf_parameters
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.fourier.transforms import transform_on_lattice
from cryodrgn.imaging.ctf import contrast_transfer
from cryodrgn.imaging.ewald import depth_limit, sidebands
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.reconstruction.backproject import backproject

# Curvature that matters in a small box: slow electrons.
CURVED = Microscope(box=40, pixel_size=0.4, voltage=10.0, cs=0.0, width=0.2, curvature=1)


def atoms_in_a_ball(rng, count=30, radius=5.2):
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * radius * rng.uniform(size=(count, 1)) ** (1 / 3)


def bands_of(images, rows, lattice, sign):
    frequencies = (lattice.frequencies / CURVED.pixel_size)[None].expand(len(rows), -1, -1)
    return frequencies, sidebands(
        frequencies,
        ctf_parameters(images.ctf, rows),
        torch.from_numpy(images.poses.rotations[rows]),
        sign,
        pixel_sizes=torch.from_numpy(images.pixel_sizes[rows]),
        box_size=images.box_size,
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_two_side_bands_of_the_atoms_are_their_image_height_by_height(sign, rng):
    microscope = replace(CURVED, curvature=sign)
    atoms, rows = atoms_in_a_ball(rng), np.arange(3)
    poses = rotations(3, rng)
    images = particle_set(atoms, poses, microscope, rng, defocus=(100.0, 300.0)).images
    lattice = HalfPlaneFrequencies.disc(40, 19)
    frequencies, bands = bands_of(images, rows, lattice, sign)
    turns = torch.from_numpy(images.poses.rotations)
    points = slice_coordinates(lattice.frequencies, turns)

    def transform(where):
        places = torch.from_numpy(atoms.T / CURVED.pixel_size).float()
        phase = -2 * torch.pi * where @ places
        return torch.stack([phase.cos().sum(-1), phase.sin().sum(-1)], dim=-1)

    exact = (points + bands.offsets, points - bands.offsets)
    envelope = torch.exp(-2 * (torch.pi * CURVED.width) ** 2 * frequencies.square().sum(-1))
    observed = transform_on_lattice(torch.from_numpy(images.read(rows)), lattice, None)
    right, wrong = (
        bands.predicted(*(transform(where) for where in order)) * envelope[..., None] - observed
        for order in (exact, exact[::-1])
    )
    # Constants of the wavelength differ by 3e-5.
    assert float(right.norm()) < 0.01 * float(observed.norm())
    assert float(wrong.norm()) > 0.3 * float(observed.norm())
    for moved, plain in zip(bands.points(points), exact, strict=True):
        torch.testing.assert_close(moved.norm(dim=-1), points.norm(dim=-1))
        assert float((moved - plain).norm(dim=-1).max()) < 2e-3


def test_side_bands_add_up_to_the_ctf_and_to_its_square_where_they_meet(rng):
    images = particle_set(atoms_in_a_ball(rng), rotations(2, rng), CURVED, rng).images
    rows, lattice = np.arange(2), HalfPlaneFrequencies.disc(40, 19)
    frequencies, bands = bands_of(images, rows, lattice, 1)
    ctf = contrast_transfer(frequencies, ctf_parameters(images.ctf, rows))
    ones = torch.zeros(2, len(lattice), 2)
    ones[..., 0] = 1
    whole = bands.predicted(ones, ones)
    torch.testing.assert_close(whole[..., 0], ctf)
    assert float(whole[..., 1].abs().max()) == 0
    points = slice_coordinates(lattice.frequencies, torch.from_numpy(images.poses.rotations))
    weights = sum(weight for _, _, weight in bands.matched(ones, points, None))
    low = lattice.points.float().norm(dim=-1) < 3
    torch.testing.assert_close(weights[:, low], ctf.square()[:, low], atol=0.02, rtol=0)


@pytest.fixture(scope="module")
def curved_set():
    rng = np.random.default_rng(2)
    atoms = atoms_in_a_ball(rng)
    particles = particle_set(atoms, rotations(500, rng), CURVED, rng, noise=0.5)
    return particles, torch.from_numpy(CURVED.volume(atoms))


def test_maps_need_the_curvature_and_its_sign(curved_set):
    particles, truth = curved_set
    curves = {
        sign: fourier_shell_correlation(
            backproject(particles, Preprocessing(), ewald=sign).volume, truth
        ).values[:18]
        for sign in (-1, 0, 1)
    }
    means = {sign: float(curve.mean()) for sign, curve in curves.items()}
    rng = np.random.default_rng(2)
    atoms = atoms_in_a_ball(rng)
    flat = particle_set(
        atoms, rotations(500, rng), replace(CURVED, curvature=0), rng, noise=0.5
    )
    ideal = fourier_shell_correlation(backproject(flat, Preprocessing()).volume, truth)
    assert means[1] > float(ideal.values[:18].mean()) - 0.01
    assert means[0] < means[1] - 0.02
    assert means[-1] < means[0] - 0.05


def test_depth_limit_is_that_of_the_literature():
    # 1000 Å at 300 kV: 3.7 Å.
    assert depth_limit(Microscope(voltage=300.0).wavelength, 1000.0) == pytest.approx(
        3.7, abs=0.05
    )
