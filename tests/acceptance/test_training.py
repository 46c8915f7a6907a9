"""Training and evaluation against recorded values of upstream, reference.md §9."""

import numpy as np
import pytest
import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import images_from_lattice, transform_on_lattice
from cryodrgn.io.cryodrgn_pickle import load_pickles, load_poses
from cryodrgn.io.mrc import read_volume, stack_writer
from cryodrgn.io.particle_files import open_stack
from finished_run import Finished


def test_latents_and_losses_of_images(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    words = run(
        *("eval_images", upstream / "hand.mrcs", upstream / "het_weights.pkl"),
        *("--config", upstream / "het_config.yaml", "--poses", upstream / "hand_rot.pkl"),
        *("-o", tmp_path / "out.pkl"),
    )
    assert "reconstruction 0.92589" in words
    mean, log_variance, sums = load_pickles(tmp_path / "out.pkl")
    loss, reconstruction, kl = (total / 100 for total in sums)
    assert reconstruction == pytest.approx(0.9258954, abs=1e-5)
    assert kl == pytest.approx(0.4485643, abs=1e-5)
    assert loss == pytest.approx(0.9259129, abs=1e-5)
    expected = load_pickles(acceptance / "reference/eval_z.pkl")
    np.testing.assert_allclose(mean, expected[0], atol=1e-5)
    np.testing.assert_allclose(log_variance, expected[1], atol=1e-5)


def test_training_goes_on_from_weights_of_version_4(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    run(
        *("train_vae", upstream / "hand.mrcs", "--poses", upstream / "hand_rot.pkl"),
        *("--load", upstream / "het_weights.pkl", "--zdim", 8, "--qdim", 8, "--qlayers", 2),
        *("--pdim", 8, "--players", 3, "--pe-type", "gaussian", "--pe-dim", 8),
        *("--domain", "hartley", "--invert-data", "--window", "--norm", 0, 94.4266),
        *("-n", 2, "-o", tmp_path, "--precision", "float32"),
    )
    # The weights are of epoch 1 of 4.x, which counts from 1: one epoch is left.
    (row,) = Finished(tmp_path).metrics
    assert row["reconstruction"] == pytest.approx(0.925, abs=0.003)


@pytest.fixture
def translated(acceptance, tmp_path):
    """The toy stack moved so that the shifts of ``toy_rot_trans.pkl`` centre it again."""
    images, _ = open_stack(acceptance / "upstream/toy_projections.mrcs")
    _, fractions = load_poses(acceptance / "upstream/toy_rot_trans.pkl")
    lattice = HalfPlaneFrequencies.square(30)
    values = transform_on_lattice(torch.from_numpy(images.read(np.arange(1000))), lattice)
    moved = shift_transform(
        values, lattice.frequencies[None], torch.from_numpy(-30 * fractions)
    )
    with stack_writer(tmp_path / "translated.mrcs", 30, 1.0) as writer:
        writer.append(images_from_lattice(moved, lattice).numpy())
    return tmp_path / "translated.mrcs"


# Upstream reaches as much in ten epochs of a network of width 256 at a rate of 1e-4.
TOY = {
    "fourier, a stack": (
        *("toy_projections.mrcs", "toy_angles.pkl"),
        ("--domain", "fourier", "--dim", 128, "--lr", 2e-3, "-n", 4),
    ),
    "hartley, a star file": (
        *("toy_projections.star", "toy_rot_zerotrans.pkl"),
        ("--domain", "hartley", "--dim", 96, "--lr", 2e-3, "-n", 4),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", TOY)
def test_the_toy_model_is_learnt(run, acceptance, tmp_path, case):
    particles, poses, training = TOY[case]
    upstream = acceptance / "upstream"
    particles = upstream / particles
    run(
        *("train_nn", particles, "--poses", upstream / poses, *training),
        *("--checkpoint", 10, "-o", tmp_path / "run"),
    )
    finished = Finished(tmp_path / "run")
    assert finished.metrics[-1]["total"] <= 0.04
    volume, _ = read_volume(tmp_path / "run/reconstruct.mrc")
    truth, _ = read_volume(upstream / "toymodel_small_nocenter.mrc")
    # The CTF of the star file is −0.995 throughout: its images show the model's negative.
    sign = -1 if particles.suffix == ".star" else 1
    assert sign * np.corrcoef(volume.flat, truth.flat)[0, 1] >= 0.93


def test_moved_images_are_learnt_as_those_that_are_centred(
    run, acceptance, translated, tmp_path
):
    upstream = acceptance / "upstream"
    cases = {
        "centred": (upstream / "toy_projections.mrcs", upstream / "toy_angles.pkl"),
        "moved": (translated, upstream / "toy_rot_trans.pkl"),
        "uncorrected": (translated, upstream / "toy_rot_zerotrans.pkl"),
    }
    losses = {}
    for name, (particles, poses) in cases.items():
        options = ("--dim", 64, "-n", 1, "--precision", "float32", "-o", tmp_path / name)
        run("train_nn", particles, "--poses", poses, *options)
        (row,) = Finished(tmp_path / name).metrics
        losses[name] = row["total"]
    assert losses["moved"] == pytest.approx(losses["centred"], rel=1e-3)
    assert losses["uncorrected"] > 1.05 * losses["centred"]


def test_a_list_of_stacks_trains_as_the_stack_does(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    np.savetxt(tmp_path / "ind.txt", np.arange(0, 1000, 4), fmt="%d")
    options = ("--poses", upstream / "toy_angles.pkl", "--ind", tmp_path / "ind.txt")
    options += ("--dim", 32, "-n", 1)
    for ending in ("mrcs", "txt"):
        particles = upstream / f"toy_projections.{ending}"
        run("train_nn", particles, *options, "-o", tmp_path / ending)
    assert Finished(tmp_path / "txt").has_the_weights_of(Finished(tmp_path / "mrcs"))


def test_a_tilt_pair_trains(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    losses = []
    for angle in (45, -45):
        run(
            *("train_vae", upstream / "hand.mrcs", "--tilt", upstream / "hand_tilt.mrcs"),
            *("--poses", upstream / "hand_rot.pkl", "--tilt-deg", angle, "--zdim", 1),
            *("--qdim", 32, "--pdim", 64, "--lr", 1e-3, "-n", 5, "--checkpoint", 5),
            *("-o", tmp_path / str(angle)),
        )
        losses.append(Finished(tmp_path / str(angle)).metrics[-1]["reconstruction"])
    assert losses[0] < 0.9 * losses[1]
