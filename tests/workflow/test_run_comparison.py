"""Finished runs are judged by images that none of them was trained on."""

import copy
import csv
import shutil

import numpy as np
import pytest
import torch
import yaml

import cryodrgn
from cryodrgn.io.checkpoints import load_checkpoint, save_checkpoint
from cryodrgn.io.cryodrgn_pickle import (
    load_latents,
    load_pickles,
    save_latents,
    save_pickles,
)
from cryodrgn.rundir import RunDirectory
from cryodrgn.workflow.run_comparison import RunComparison
from finished_run import SMALL_VAE, command

COUNT, HELD_OUT = 310, 31


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Particles, a linear run, and networks that kept some, others and no particles out."""
    folder = tmp_path_factory.mktemp("compared")
    star = folder / "sim/particles.star"
    command("simulate", "-D", 16, "--Apix", 12, "-n", COUNT, "--snr", 0.5, "-o", folder / "sim")
    fit = ("--components", 2, "--radius", 6)
    command("train_linear", star, "-o", folder / "linear", *fit)
    vae = ("train_vae", star, "--zdim", 2, "-n", 1, *SMALL_VAE)
    command(*vae, "-o", folder / "vae", "--held-out", 0.1)
    shutil.copytree(folder / "linear", folder / "linear2")
    for name, setting, value in (("other", "seed", 1), ("all", "held_out", None)):
        shutil.copytree(folder / "vae", folder / name)
        config = folder / name / "config.yaml"
        content = yaml.safe_load(config.read_text())
        content["training"]["settings"]["training"][setting] = value
        config.write_text(yaml.safe_dump(content))
    content = yaml.safe_load((folder / "vae/config.yaml").read_text())
    for name in ("few", "part"):
        shutil.copytree(folder / "vae", folder / name)
    few, part = copy.deepcopy(content), copy.deepcopy(content)
    few["training"]["settings"]["training"]["held_out"]["fraction"] = 0.01
    part["dataset_args"]["ind"] = str(folder / "ind.pkl")
    del part["training"]["rows"]
    part["training"]["settings"]["training"]["held_out"]["fraction"] = 0.5
    save_pickles(folder / "ind.pkl", [np.arange(100)])
    (folder / "few/config.yaml").write_text(yaml.safe_dump(few))
    (folder / "part/config.yaml").write_text(yaml.safe_dump(part))
    return folder


def compared(*runs):
    return cryodrgn.compare_models(runs)


def test_a_model_is_as_good_as_its_copy_and_better_than_one_with_noise(made, tmp_path):
    for name in ("copy", "noisy"):
        shutil.copytree(made / "linear", tmp_path / name)
    weights = tmp_path / "noisy/weights.pkl"
    content = load_checkpoint(weights)
    volumes = content["model_state_dict"]["volumes"]
    noise = torch.randn(volumes.shape, generator=torch.Generator().manual_seed(0))
    content["model_state_dict"]["volumes"] = volumes + 0.3 * volumes.std() * noise
    save_checkpoint(weights, content)
    found = compared(made / "linear", made / "vae", tmp_path / "copy", tmp_path / "noisy")
    assert np.array_equal(found.likelihoods[0], found.likelihoods[2])
    assert found.likelihoods.shape == (4, HELD_OUT)
    loss, error = found.behind(3)
    assert loss > 3 * error
    assert found.are_equal(2)
    assert not found.are_equal(3)
    assert "equally well" in found.in_words()


@pytest.mark.parametrize(("lead", "words"), [(0.1, "images equally"), (0.25, "nearly equally")])
def test_a_lead_of_two_standard_errors_is_said(lead, words):
    losses = np.tile([-1.0, 1.0], 50)
    losses *= 0.1 / (losses.std(ddof=1) / 10)
    found = RunComparison(
        names=("a", "b"), likelihoods=np.stack([losses + lead, 0 * losses]), epochs=(9, 9)
    )
    assert f"{words} well: trust the simplest" in found.in_words()


def test_latents_too_narrow_by_the_weight_of_the_divergence_are_made_wider(made, tmp_path):
    for name, beta in (("small", 0.01), ("large", 100.0)):
        shutil.copytree(made / "vae", tmp_path / name)
        mean, log_variance = load_pickles(made / "vae" / "z.pkl")
        save_latents(tmp_path / name / "z.pkl", mean, log_variance - 4)
        config = tmp_path / name / "config.yaml"
        content = yaml.safe_load(config.read_text())
        content["training"]["settings"]["training"]["kl"]["beta"] = beta
        config.write_text(yaml.safe_dump(content))
    found = compared(tmp_path / "small", tmp_path / "large")
    assert found.best == 0
    assert not found.are_equal(1)


def test_latents_of_an_encoder_are_not_held_against_a_network_on_a_linear_model(made, tmp_path):
    star, small = made / "sim/particles.star", ("-n", 1, "--lr", 1e-12, *SMALL_VAE)
    words = ("train_vae", star, "--from", made / "linear", "--held-out", 0.1, "--beta", 0)
    command(*words, *small, "-o", tmp_path / "plain")
    shutil.copytree(tmp_path / "plain", tmp_path / "narrow")
    mean, log_variance = load_pickles(tmp_path / "plain/z.pkl")
    save_latents(tmp_path / "narrow/z.pkl", mean, log_variance - 6)
    plain, narrow = compared(tmp_path / "plain", tmp_path / "narrow").likelihoods
    np.testing.assert_allclose(plain, narrow, atol=0.01)
    # Whatever the order, and the kind of run that is first.
    runs = made / "linear", tmp_path / "plain", tmp_path / "narrow"
    _, plain, narrow = compared(*runs).likelihoods
    np.testing.assert_allclose(plain, narrow, atol=0.01)


def test_an_untrained_network_is_behind_the_linear_model_in_either_order(made, tmp_path):
    first = compared(made / "linear", made / "vae")
    second = compared(made / "vae", made / "linear")
    assert first.names[first.best] == second.names[second.best] == str(made / "linear")
    np.testing.assert_allclose(first.likelihoods, second.likelihoods[::-1], atol=0.1)
    assert first.in_words().startswith(f"{made / 'linear'} explains the images best")
    (sentence,) = first.hardly_trained()
    assert sentence.startswith(f"{made / 'vae'} is a network of 1 epoch, hardly trained")
    (sentence,) = first.favoured()
    assert sentence.startswith(f"{made / 'linear'} is a linear model, fitted to all particles")
    out = tmp_path / "table.csv"
    command("compare_models", made / "linear", made / "vae", "-o", out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["run"] for row in rows] == list(first.names)
    behind = float(rows[1]["log_likelihood_behind_best"])  # written with six digits
    assert behind == pytest.approx(first.behind(1)[0], rel=1e-5)
    assert {row["particles"] for row in rows} == {str(HELD_OUT)}


def test_without_a_latent_the_likelihood_is_quadratic_in_the_map(made, tmp_path, monkeypatch):
    # At contrasts of 1.
    monkeypatch.setattr("cryodrgn.training.noise_and_contrast.LARGEST_SPREAD", 1e-6)
    runs = [tmp_path / f"times{factor}" for factor in range(4)]
    for factor, folder in enumerate(runs):
        shutil.copytree(made / "linear", folder)
        content = load_checkpoint(folder / "weights.pkl")
        volumes = content["model_state_dict"]["volumes"]
        volumes[0] *= factor
        volumes[1:] = 0
        save_checkpoint(folder / "weights.pkl", content)
        files = RunDirectory(folder)
        latents = np.zeros_like(load_latents(files.latents()))
        save_latents(files.latents(), latents, latents)
        eye = np.eye(latents.shape[1], dtype=np.float32)
        np.save(files.linear.covariances, np.tile(eye, (COUNT, 1, 1)))
    found = compared(*runs, made / "vae").likelihoods[:4]
    # Latents are as the prior says and change nothing: no sample matters.
    again = cryodrgn.compare_models((*runs, made / "vae"), seed=1).likelihoods[:4]
    np.testing.assert_allclose(found, again, rtol=1e-5)
    assert found.mean(1).argmax() == 1
    curvature = np.diff(found, 2, axis=0)
    assert (curvature < 0).all()
    np.testing.assert_allclose(curvature[0], curvature[1], rtol=1e-3)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (("linear",), "give two or more different runs"),
        (("linear", "linear"), "give two or more different runs"),
        (("linear", "linear2"), "are linear models, which leave no particles out"),
        (("linear", "all"), "all kept no particles out of training; use train_vae --held-out"),
        (("vae", "other"), "other by 1); give train_vae the same --seed"),
        (("vae", "few"), "few keeps out 3 of its 310; give train_vae --held-out 0.1 or more"),
        (("vae", "part"), "part has 100); give train_vae the same --ind"),
    ],
)
def test_what_cannot_be_compared_is_refused(made, fail, runs, said):
    assert said in fail("compare_models", *(made / run for run in runs))


def test_runs_without_held_out_particles_are_refused_before_images_are_read(
    made, fail, monkeypatch
):
    monkeypatch.delattr("cryodrgn.runs.run.Run.particles")
    monkeypatch.delattr("cryodrgn.runs.run.Run.model")
    message = fail("compare_models", made / "linear", made / "all")
    assert "kept no particles out of training" in message


def with_setting(made, name, group, **changes):
    """A copy of the network whose config says something else."""
    shutil.copytree(made / "vae", made / name)
    config = made / name / "config.yaml"
    content = yaml.safe_load(config.read_text())
    content[group].update(changes)
    config.write_text(yaml.safe_dump(content))


def unfinished(made):
    shutil.copytree(made / "vae", made / "unfinished")
    (made / "unfinished/weights.pkl").unlink()


def without_variance(made):
    shutil.copytree(made / "vae", made / "sure")
    latents = load_latents(made / "vae/z.pkl")
    save_latents(made / "sure/z.pkl", latents, np.full_like(latents, -2000))


def not_finite(made):
    shutil.copytree(made / "vae", made / "diverged")
    weights = made / "diverged/weights.pkl"
    content = load_checkpoint(weights)
    for values in content["model_state_dict"].values():
        values.fill_(float("nan"))
    save_checkpoint(weights, content)


@pytest.mark.parametrize(
    ("make", "run", "said"),
    [
        (
            unfinished,
            "unfinished",
            "is not finished, there is no weights.pkl; wait for it, or go on with",
        ),
        (without_variance, "sure", "variances of latents that are not finite and positive"),
        (not_finite, "diverged", "predicts images that are not finite numbers; leave it out"),
        (
            lambda made: with_setting(made, "single", "model_args", zdim=None),
            "single",
            "single is a run of a single structure, without latents; only runs of train_vae",
        ),
        (
            lambda made: with_setting(made, "pair", "dataset_args", particles_tilt="b.star"),
            "pair",
            "was trained with tilt pairs (train_vae --tilt), and cannot be compared",
        ),
        (
            lambda made: with_setting(
                made, "divided", "dataset_args", ctf_applied="multiplied"
            ),
            "divided",
            "images that are divided by their CTF and others that are not; give train_vae",
        ),
        (
            lambda made: with_setting(
                made,
                "cut",
                "dataset_args",
                sampling=dict.fromkeys(("pixel_size", "unit_pixel_size"), 8.0)
                | {"box_size": 16},
            ),
            "cut",
            "are of images cut to sides of 128 and 192 Å; give train_vae and",
        ),
    ],
)
def test_a_run_that_cannot_be_judged_by_the_same_images_is_named(made, fail, make, run, said):
    make(made)
    message = fail("compare_models", made / "vae", made / run)
    assert said in message
    assert str(made / run) in message


def test_an_expanded_set_is_judged_by_its_different_particles(made, tmp_path):
    expanded, out = made / "sim/expanded.star", tmp_path / "run"
    command("expand", made / "sim/particles.star", "--symmetry", "C2", "-o", expanded)
    vae = ("train_vae", expanded, "--zdim", 2, "-n", 1, *SMALL_VAE, "--held-out", 0.1)
    command(*vae, "-o", out)
    command(*vae, "-o", tmp_path / "other", "--lr", 1e-3)
    found = compared(out, tmp_path / "other")
    assert found.likelihoods.shape == (2, HELD_OUT)
