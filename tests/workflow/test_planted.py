import json

import numpy as np
import pytest

from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import read_volume
from cryodrgn.workflow.planted import area_under_curve, discriminant
from finished_run import SMALL_VAE


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A rigid set with a large motion planted in a third of its images."""
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("planted")
    words = f"simulate -D 16 --Apix 12 -n 400 --num-states 1 --snr 2 -o {folder}/sim"
    assert main(words.split()) == 0
    words = (
        f"power {folder}/sim/particles.star -o {folder}/power --plant --domain-kda 15 "
        "--motions 30 --shares 0.33"
    )
    assert main(words.split()) == 0
    return folder / "power/planted"


def test_only_the_images_of_the_minor_state_are_changed(planted):
    labels = np.load(planted / "labels.npy")
    assert labels.mean() == pytest.approx(0.33, abs=0.08)
    images = ImageStack.whole_files([planted / "particles.mrcs"]).read(np.arange(400))
    assert images.shape == (400, 16, 16)
    states = [read_volume(planted / f"gt/state_{number:03d}.mrc")[0] for number in range(2)]
    # A domain only moves: the mass stays.
    assert states[1].sum() == pytest.approx(states[0].sum(), rel=0.02)
    assert np.abs(states[1] - states[0]).max() > 0.3 * states[0].max()


def test_the_linear_model_brings_the_motion_back(run, planted, tmp_path):
    star = planted / "particles.star"
    run("train_linear", star, "-o", tmp_path / "run", "--components", 2, "--radius", 6)
    said = run("power", star, "-o", tmp_path, "--judge", tmp_path / "run")
    assert "the planted motion was brought back: area under the ROC curve" in said
    found = json.loads((tmp_path / "judgement.json").read_text())
    assert found["auc"] > 0.9
    assert found["difference_correlation"] > 0.6


def test_a_network_that_was_not_trained_did_not_bring_it_back(run, planted, tmp_path):
    star = planted / "particles.star"
    run(
        "train_vae", star, "--zdim", 2, "-n", 1, *SMALL_VAE, "-o", tmp_path / "run",
        "--lr", 1e-9,
    )  # fmt: skip
    said = run("power", star, "-o", tmp_path, "--judge", tmp_path / "run")
    found = json.loads((tmp_path / "judgement.json").read_text())
    assert "difference of the volumes with the planted one" in said
    assert abs(found["difference_correlation"]) < 0.5


def test_a_run_on_a_set_that_is_not_planted_is_refused(fail, planted, tmp_path):
    star = planted.parent.parent / "sim/particles.star"
    (tmp_path / "config.yaml").write_text("dataset_args: {}\nmodel_args: {zdim: 1}\n")
    said = fail("power", star, "-o", tmp_path, "--judge", tmp_path)
    assert "is no planted set" in said or "config" in said


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    scores = np.array([0.0, 1.0, 1.0, 2.0])
    is_minor = np.array([False, True, False, True])
    # Of the four pairs three are in order and one is a tie.
    assert area_under_curve(scores, is_minor) == pytest.approx(3.5 / 4)
    assert area_under_curve(-scores, is_minor) == pytest.approx(0.5 / 4)


def test_a_discriminant_is_tried_on_other_particles(rng):
    is_minor = rng.random(400) < 0.5
    noise = rng.normal(size=(400, 8))
    assert area_under_curve(discriminant(noise, is_minor), is_minor) == pytest.approx(
        0.5, abs=0.1
    )
    noise[:, 3] += 3 * is_minor
    assert area_under_curve(discriminant(noise, is_minor), is_minor) > 0.95
