"""Recorded files and values of upstream, reference.md §9."""

import pickle

import mrcfile
import numpy as np
import pytest
import torch

from cryodrgn.data.preprocessing import Preprocessing, preprocess
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import images_from_lattice, transform_on_lattice
from cryodrgn.io.particle_files import ParticleFiles, open_particles, open_stack


def load(path):
    with path.open("rb") as file:
        return pickle.load(file)


def largest_difference(found, expected):
    return max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True))


def test_ctf_of_a_relion_file(run, acceptance, tmp_path):
    star = acceptance / "upstream/FinalRefinement-OriginalParticles-PfCRT.star"
    out = tmp_path / "ctf.pkl"
    run("parse_ctf_star", star, "-D", 300, "--Apix", 1.035, "-w", 0.1, "-o", out)
    assert np.abs(load(out) - load(acceptance / "upstream/ctf1.pkl")).max() < 1e-5


def test_ctf_of_a_cryosparc_file(run, acceptance, tmp_path):
    table = acceptance / "upstream/cryosparc_P12_J24_001_particles.cs"
    run("parse_ctf_csparc", table, "-o", tmp_path / "ctf.pkl")
    expected = load(acceptance / "upstream/ctf2.pkl")
    assert np.abs(load(tmp_path / "ctf.pkl") - expected).max() < 1e-5


def test_poses_of_a_relion_file(run, acceptance, tmp_path):
    star = acceptance / "upstream/FinalRefinement-OriginalParticles-PfCRT.star"
    run("parse_pose_star", star, "-D", 300, "-o", tmp_path / "pose.pkl")
    expected = load(acceptance / "upstream/pose.star.pkl")
    assert largest_difference(load(tmp_path / "pose.pkl"), expected) < 1e-5


def test_poses_of_a_cryosparc_file(run, acceptance, tmp_path):
    table = acceptance / "upstream/cryosparc_P12_J24_001_particles.cs"
    run("parse_pose_csparc", table, "-D", 180, "-o", tmp_path / "pose.pkl")
    expected = load(acceptance / "upstream/pose.cs.pkl")
    assert largest_difference(load(tmp_path / "pose.pkl"), expected) < 1e-5


def test_the_order_of_blocks_in_a_star_file_does_not_matter(acceptance):
    first, second = (
        open_particles(ParticleFiles(particles=acceptance / "upstream" / name))
        for name in ("relion31.star", "relion31.v2.star")
    )
    assert len(first) == len(second) == 5
    rows = np.arange(5)
    np.testing.assert_array_equal(first.images.read(rows), second.images.read(rows))
    one, two = first.images, second.images
    np.testing.assert_array_equal(one.poses.rotations, two.poses.rotations)
    np.testing.assert_array_equal(one.poses.shifts, two.poses.shifts)
    np.testing.assert_array_equal(one.pixel_sizes, two.pixel_sizes)
    for name, values in one.ctf.columns().items():
        np.testing.assert_array_equal(values, two.ctf.columns()[name])


def test_stacks_lists_and_star_files_give_the_same_images(acceptance):
    upstream = acceptance / "upstream"
    expected = open_stack(upstream / "toy_projections.mrcs")[0].read(np.arange(1000))
    for name in ("toy_projections.star", "toy_projections.txt", "toy.star"):
        np.testing.assert_array_equal(
            open_stack(upstream / name)[0].read(np.arange(1000)), expected
        )
    some = open_stack(upstream / "toy_projections_13.star")[0].read(np.arange(13))
    numbers = [93, 32, 4, 5, 523, 556, 230, 875, 685, 321, 598, 155, 321]
    np.testing.assert_array_equal(some, expected[np.array(numbers) - 1])


def test_datadir_leads_to_stacks_elsewhere(acceptance):
    star = acceptance / "upstream/toy_projections_dir.star"
    images, _ = open_stack(star, acceptance / "upstream/toy_datadir")
    whole = open_stack(acceptance / "upstream/toy_projections.mrcs")[0].read(np.arange(1000))
    # toy_images_b starts with images 0, 2, 3 of the whole stack.
    np.testing.assert_array_equal(images.read(np.arange(3)), whole[[0, 2, 3]])


def test_preprocessed_images(acceptance):
    # Inverted, windowed, scaled by 94.45951 (reference.md §3.3).
    numbers = np.array([43, 12, 53, 64, 31, 56, 75, 63, 27, 62, 96])
    images, _ = open_stack(acceptance / "upstream/hand.mrcs")
    lattice = HalfPlaneFrequencies.square(64)
    settings = Preprocessing(window_radius=0.85, invert=True, scale=94.45951)
    values = preprocess(torch.from_numpy(images.read(numbers)), lattice, settings)
    expected = np.load(acceptance / "upstream/hand_11_particles.npy")
    found = lattice.to_hartley(values).reshape(11, 65, 65)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shifted_image(acceptance):
    images, _ = open_stack(acceptance / "upstream/hand.mrcs")
    image = torch.from_numpy(images.read(np.array([0])))
    lattice = HalfPlaneFrequencies.square(64)
    # A whole-pixel shift of the whole square, by phase ramps.
    values = transform_on_lattice(image, lattice)
    moved = shift_transform(values, lattice.frequencies[None], torch.tensor([[5.0, 10.0]]))
    found = images_from_lattice(moved, lattice)
    expected = np.load(acceptance / "upstream/im_shifted.npy")
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_downsampled_hand(run, acceptance, tmp_path):
    out = tmp_path / "hand.32.mrcs"
    run("downsample", acceptance / "upstream/hand.mrcs", "-D", 32, "-o", out)
    with mrcfile.open(out) as mrc:
        found = mrc.data.astype(np.float64)
        assert mrc.voxel_size.x == 2.0
    assert found.sum() == pytest.approx(165041.0, abs=0.1)
    # Below the new Nyquist frequency, where upstream takes one end for the mean of both, the
    # transforms are those of upstream.
    expected, _ = open_stack(acceptance / "reference/hand_ds32.mrcs")
    difference = np.fft.fft2(found - expected.read(np.arange(100)))
    difference[:, 16] = difference[:, :, 16] = 0
    assert np.abs(difference).max() < 1e-3
