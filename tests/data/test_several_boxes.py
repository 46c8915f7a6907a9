"""Sets of several pixel sizes and boxes, made into stacks: phase flipped, and downsampled."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import optics_simulation as simulated
from cryodrgn.data.preprocessing import Preprocessing, prepare_images
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.reconstruction.backproject import backproject

DESIGN = simulated.Design(box_size=32, pixel_size=3.0, num_images=60, noise=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Half of the images with 32 px of 3 Å, half of them with 28 px of 3.6 Å, in one file."""
    folder = tmp_path_factory.mktemp("kinds")
    other = simulated.at_the_same_dose(DESIGN, 28, 3.6)
    parts = (("a", DESIGN), ("b", other))
    stars = [simulated.write_set(folder / n, d, simulated.Term()) for n, d in parts]
    simulated.joined(*stars, folder / "both.star")
    return folder


def opened(path, **more):
    return open_particles(ParticleFiles(particles=path, **more))


def agreement(particles):
    volume = backproject(particles, Preprocessing(window_radius=0.85)).volume
    truth = torch.from_numpy(DESIGN.truth())
    if len(volume) < len(truth):
        from cryodrgn.fourier.resample import downsample_volume

        truth = downsample_volume(truth, len(volume))
    return fourier_shell_correlation(volume, truth).values[1:-1].mean()


def test_two_pixel_sizes_together_are_as_good_as_either_alone(folder):
    alone = agreement(opened(folder / "a/particles.star"))
    assert agreement(opened(folder / "both.star")) > alone + 1e-3


def test_downsampled_images_have_one_box_and_show_what_they_showed(run, folder, tmp_path):
    said = run(
        *("downsample", folder / "both.star", "-D", 20, "-o", tmp_path / "small.star"),
        *("--outdir", tmp_path),
    )
    assert "4.8 Å/px" in said
    small, both = opened(tmp_path / "small.star"), opened(folder / "both.star").cropped(20)
    assert small.images.sampling is None
    assert (small.images.shapes == 20).all()
    np.testing.assert_allclose(small.images.pixel_sizes, 4.8, rtol=1e-6)
    np.testing.assert_allclose(small.images.poses.shifts, both.images.poses.shifts, atol=1e-4)
    # Below the Nyquist frequency, and of the whole field of view, they are the same numbers.
    lattice, rows = HalfPlaneFrequencies.disc(20, 9), np.arange(len(both))
    ours, theirs = (
        # Where shifts are known, images are cut about the particle.
        prepare_images(
            replace(one.images, poses=None), rows, lattice, Preprocessing(), centred=False
        )
        for one in (small, both)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.abs().max()), rtol=0)
    assert agreement(small) > agreement(both) - 1e-3


def test_a_box_that_holds_more_than_images_show_is_refused_with_the_largest(fail, folder):
    said = fail("downsample", folder / "both.star", "-D", 30, "-o", folder / "no.star")
    assert "32 × 32 px at 3 Å/px (60 images), 28 × 28 px at 3.6 Å/px (60 images)" in said
    assert "give -D 26 at most" in said
    assert not (folder / "no.star").exists()


def test_a_single_stack_of_several_kinds_is_refused_with_the_way_out(fail, folder):
    said = fail("downsample", folder / "both.star", "-D", 20, "-o", folder / "no.mrcs")
    assert "name a .star" in said


def test_every_kind_is_flipped_in_its_own_box(run, tool, fail_tool, folder, tmp_path):
    run("parse_ctf_star", folder / "both.star", "-o", tmp_path / "ctf.pkl")
    line = ("phase_flip", folder / "both.star", tmp_path / "ctf.pkl", "-o")
    assert "a name.star" in fail_tool(*line, tmp_path / "no.mrcs")
    tool(*line, tmp_path / "flipped.star")
    stacks = [ImageStack.whole_files([tmp_path / f"flipped.{n}.mrcs"]) for n in (0, 1)]
    assert [stack.box_size for stack in stacks] == [32, 28]
    assert [stack.pixel_size for stack in stacks] == pytest.approx([3, 3.6])
    plain = opened(folder / "b/particles.star").images.read(np.arange(60))
    flipped = stacks[1].read(np.arange(60))
    np.testing.assert_allclose(
        np.abs(np.fft.fft2(flipped))[:, 1:14, 1:14],
        np.abs(np.fft.fft2(plain))[:, 1:14, 1:14],
        rtol=1e-3,
        atol=1e-2,
    )
    found = opened(tmp_path / "flipped.star")
    assert found.images.ctf.correction is not None
    assert agreement(found) > agreement(opened(folder / "both.star")) - 1e-3
    assert "flipped" in fail_tool(
        "phase_flip", tmp_path / "flipped.star", tmp_path / "ctf.pkl", "-o", tmp_path / "x.star"
    )
