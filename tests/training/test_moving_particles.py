"""Particles of tilt series move in three dimensions while a network learns."""

import numpy as np
import pytest
import starfile

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_latents, load_poses, save_pickles
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.runs.run import open_run
from finished_run import SMALL_VAE, Finished

BOX, PARTICLES, TILTS = 16, 40, 5
FIXED = ("-b", 8, "--precision", "float32")
REFINE = (*SMALL_VAE, "--zdim", 2, *FIXED, "--do-pose-sgd", "--pretrain", 0, "--pose-lr", 0.02)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Tilts of a rigid molecule, and poses of particles off by 2 px in random directions.

    Rows stand in any order.
    """
    folder = tmp_path_factory.mktemp("series")
    words = f"simulate -D {BOX} --Apix 12 -n {PARTICLES} --num-states 1 --snr 20 --tilt-series"
    assert main([*words.split(), "--tilt-step", "30", "-o", str(folder)]) == 0
    star = folder / "particles.star"
    blocks = starfile.read(star)
    order = np.random.default_rng(0).permutation(PARTICLES * TILTS)
    blocks["particles"] = blocks["particles"].iloc[order]
    starfile.write(blocks, star, overwrite=True)
    particles = open_particles(ParticleFiles(particles=star))
    rng = np.random.default_rng(1)
    off = rng.normal(size=(PARTICLES, 3))
    off *= 2 / BOX / np.linalg.norm(off, axis=1, keepdims=True)
    rotations, shifts = truth(star)
    seen = np.einsum("nij,nj->ni", rotations, off[particles.particle_of_image])[:, :2]
    in_file = np.argsort(particles.images.rows)
    poses = rotations[in_file], (shifts + seen)[in_file].astype(np.float32)
    save_pickles(folder / "off.pkl", [poses])
    return star


def truth(star):
    """Rotations and shifts as fractions of the box, particle after particle."""
    images = open_particles(ParticleFiles(particles=star)).images
    poses = images.require_poses()
    return poses.rotations, poses.shifts / images.side_lengths[:, None]


def rms_in_pixels(star, poses):
    """Of errors of shifts, after the displacement of the whole structure that fits best."""
    particles = open_particles(ParticleFiles(particles=star, poses=poses))
    rotations, expected = truth(star)
    found = particles.images.require_poses().shifts / particles.images.side_lengths[:, None]
    errors, axes = (found - expected).ravel(), rotations[:, :2].reshape(-1, 3)
    errors = errors - axes @ np.linalg.lstsq(axes, errors)[0]
    return BOX * np.sqrt(2 * np.mean(errors**2))


def test_displaced_particles_are_found_again(series, run, tmp_path):
    """One shift for all tilts would leave 0.77 px of displacements by 2 px at random."""
    off = series.parent / "off.pkl"
    assert rms_in_pixels(series, off) > 1.4
    words = ("--do-pose-sgd", "--pretrain", 6, "--pose-lr", 0.02, "--dim", 32, "--lr", 3e-3)
    options = ("-b", 4, "--precision", "float32", "--checkpoint", 25, "-n", 26, "-o", tmp_path)
    run("train_nn", series, "--poses", off, *words, *options)
    assert rms_in_pixels(series, tmp_path / "pose.pkl") < 0.3


def test_moved_poses_go_on_and_are_read_by_later_commands(series, run, tmp_path):
    off, folders = series.parent / "off.pkl", [tmp_path / "whole", tmp_path / "resumed"]
    words = ("train_vae", series, "--poses", off, *REFINE, "-o")
    run(*words, folders[0], "-n", 3)
    run(*words, folders[1], "-n", 1)
    run("train_vae", "-o", folders[1], "--load", "latest", "-n", 3)
    whole, resumed = map(Finished, folders)
    assert whole.has_the_weights_of(resumed)
    names = ("pose.pkl", "z.pkl")
    assert all((whole.path / n).read_bytes() == (resumed.path / n).read_bytes() for n in names)
    assert len(load_poses(whole.path / "pose.pkl")[0]) == PARTICLES * TILTS
    assert (whole.path / "scores.csv").is_file()
    assert "not judged" not in whole.log

    out = tmp_path / "e.pkl"
    moved = ("--poses", whole.path / "pose.pkl", "-o", out)
    run("eval_images", series, whole.path / "weights.pkl", *moved)
    np.testing.assert_allclose(load_latents(out), whole.latents, atol=1e-4)
    opened = open_run(whole.path)
    assert opened.rotations().shape == (PARTICLES, 3, 3)
    assert len(opened.particles(poses=whole.path / "pose.pkl")) == PARTICLES


def test_poses_of_the_best_tilts_alone_are_read_with_these(
    series, run, fail, write_pickle, tmp_path
):
    chosen = ("--ind", write_pickle(np.array([3, 5, 11, 20, 31]), "index.pkl"))
    best, out, off = ("--ntilts", 3), tmp_path / "e.pkl", series.parent / "off.pkl"
    run("train_vae", series, "--poses", off, *chosen, *best, *REFINE, "-n", 1, "-o", tmp_path)
    assert len(load_poses(tmp_path / "pose.pkl")[0]) == 15
    assert "not judged" not in Finished(tmp_path).log
    words = ("eval_images", series, tmp_path / "weights.pkl", "-o", out)
    words += ("--poses", tmp_path / "pose.pkl")
    run(*words, *chosen)
    np.testing.assert_allclose(load_latents(out), Finished(tmp_path).latents, atol=1e-4)
    said = fail(*words, *chosen, "--ntilts", 5)
    assert "200 images of tilt series, of which 25 are used, but" in said
    assert "has 15 rows; give a table with a row for every image, or the --ind and" in said


def test_poses_of_tilt_pairs_are_not_refined(fail, write_stack, write_pickle, rng, tmp_path):
    images = write_stack(rng.normal(size=(4, BOX, BOX)).astype(np.float32))
    poses = write_pickle(np.tile(np.eye(3, dtype=np.float32), (4, 1, 1)), "poses.pkl")
    words = ("--tilt", images, "--poses", poses, *REFINE, "--qlayers", 3, "-o", tmp_path)
    said = fail("train_vae", images, *words)
    assert "--do-pose-sgd does not go with --tilt: a pair has one pose in its file" in said
