import json
import shutil

import numpy as np
import pytest
import yaml

from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import read_volume, write_volume
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


def forecast(planted, folder, probability):
    """A report of ``cryodrgn power`` on the planted motion."""
    motion = yaml.safe_load((planted / "simulation.yaml").read_text())["planted"]
    chance = {"count": 400, "size": motion["size"], "share": motion["share"]}
    other = {**chance, "size": 2 * motion["size"], "probability": 0.99}
    content = {"fitted": 400, "motion": motion["motion"]}
    content["chances"] = [other, {**chance, "probability": probability}]
    (folder / "power.json").write_text(json.dumps(content))


def test_the_linear_model_brings_the_motion_back(run, planted, tmp_path):
    star = planted / "particles.star"
    forecast(planted, tmp_path, 0.93)
    run("train_linear", star, "-o", tmp_path / "run", "--components", 2, "--radius", 6)
    said = run("power", star, "-o", tmp_path, "--judge", tmp_path / "run")
    assert "the planted motion was brought back: area under the ROC curve" in said
    assert "a motion of this size in this share of the particles was 93 %" in said
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


def test_a_set_in_which_nothing_was_planted_is_refused(fail, planted, tmp_path):
    star = planted.parent.parent / "sim/particles.star"
    text = "dataset_args: {}\nlattice_args: {D: 17}\nmodel_args: {zdim: 1}\n"
    (tmp_path / "config.yaml").write_text(text)
    write_volume(tmp_path / "state.mrc", np.ones((16, 16, 16), np.float32), 12.0)
    copy = tmp_path / "two"
    shutil.copytree(star.parent, copy)
    shutil.copy(tmp_path / "state.mrc", copy / "gt/state_001.mrc")
    said = fail("power", copy / star.name, "-o", tmp_path / "out", "--judge", tmp_path)
    assert "simulation.yaml does not say what was planted" in said
    assert not (tmp_path / "out").exists()


def test_a_run_on_the_original_images_is_refused(fail, planted, tmp_path):
    original = planted.parent.parent / "sim/particles.star"
    text = f"dataset_args: {{particles: {original}}}\nlattice_args: {{D: 17}}\n"
    (tmp_path / "config.yaml").write_text(text + "model_args: {zdim: 1}\n")
    star = planted / "particles.star"
    said = fail("power", star, "-o", tmp_path / "out", "--judge", tmp_path)
    assert f"was trained on {original}, not on the planted images" in said


def test_labels_of_more_states_are_refused(fail, planted, tmp_path):
    shutil.copytree(planted, tmp_path / "set")
    np.save(tmp_path / "set/labels.npy", np.arange(400))
    text = "dataset_args: {}\nlattice_args: {D: 17}\nmodel_args: {zdim: 1}\n"
    (tmp_path / "config.yaml").write_text(text)
    star = tmp_path / "set/particles.star"
    assert "must hold 0 or 1" in fail("power", star, "--judge", tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ind", "few.pkl"), "has 2 particles, but 8 components need at least 64"),
        (("--ind", "twice.pkl"), "rows, as symmetry expansion does"),
        (("--shares", 1e-9), "leaves less than one of 400 particles"),
        (("--shares", 0.003), "of 400 particles would be moved"),
        (("--axis", 0, 0, 0), "--axis 0 0 0 has no direction"),
        (("--domain-kda", 900), "at most half ("),
    ],
)
def test_what_cannot_be_planted_leaves_no_folder(
    fail, planted, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    save_pickles(tmp_path / "few.pkl", [np.arange(2)])
    save_pickles(tmp_path / "twice.pkl", [np.repeat(np.arange(60), 2)])
    star = planted.parent.parent / "sim/particles.star"
    assert said in fail("power", star, "-o", tmp_path / "out", "--plant", *words)
    assert not (tmp_path / "out").exists()


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
