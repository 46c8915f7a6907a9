"""Weights and runs of another model are refused in a sentence that names the options."""

import pytest
import yaml

from cryodrgn.cli.main import main
from finished_run import SMALL_NN, SMALL_VAE

FAST = ("--screen", "none", "-n", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Particles, a linear run, a network alone, and one on the linear model."""
    folder = tmp_path_factory.mktemp("models")
    star = folder / "particles.star"
    vae = ("train_vae", star, *SMALL_VAE, *FAST, "--held-out", 0.1)
    for line in (
        ("simulate", "-D", 16, "--Apix", 12, "-n", 100, "--snr", 1, "-o", folder),
        ("train_linear", star, "--components", 2, "--radius", 6, "-o", folder / "linear"),
        (*vae, "--zdim", 2, "-o", folder / "alone"),
        (*vae, "--from", folder / "linear", "-o", folder / "sum"),
    ):
        assert main([str(word) for word in line]) == 0
    return folder


ON_LINEAR, ALONE = "a network on a linear model (--from {0}/linear)", "a network alone"


@pytest.mark.parametrize(
    ("weights", "more", "said"),
    [
        ("sum", ("--zdim", 2), f"it is of {ON_LINEAR}, and this is {ALONE}; give the options"),
        ("alone", ("--from", "linear"), f"it is of {ALONE}, and this is {ON_LINEAR}; give"),
        ("alone", ("--zdim", 3), "of this run: --zdim 2 there, 3 here; give the options of"),
        ("linear", ("--zdim", 2), "whose folder networks begin with by --from; give"),
    ],
)
def test_weights_of_another_model_are_refused(fail, made, tmp_path, weights, more, said):
    more = [made / word if word == "linear" else word for word in more]
    words = (*more, "--load", made / weights / "weights.pkl", "-o", tmp_path / "out")
    message = fail("train_vae", made / "particles.star", *SMALL_VAE, *FAST, *words)
    assert f"{weights}/weights.pkl does not fit the model of this run: " in message
    assert said.format(made) in message
    assert not (tmp_path / "out").exists()


def test_weights_with_an_encoder_do_not_fit_free_latents(fail, made, tmp_path):
    words = ("--zdim", 2, "--load", made / "alone/weights.pkl", "-o", tmp_path / "out")
    message = fail("train_dec", made / "particles.star", *SMALL_NN, *FAST, *words)
    assert "it is one of train_vae, not of train_dec; give" in message


def test_a_model_of_another_config_is_refused(fail, made, tmp_path):
    words = ("-c", made / "alone/config.yaml", "-z", 0, 0, "-o", tmp_path / "map.mrc")
    message = fail("eval_vol", made / "sum/weights.pkl", *words)
    assert "config.yaml: it is of a network on a linear model, and this is a network" in message


def test_a_config_of_another_run_of_the_same_model_is_said(run, made, tmp_path, caplog):
    own, other = made / "alone/config.yaml", tmp_path / "config.yaml"
    words = ("eval_vol", made / "alone/weights.pkl", "-z", 0, 0, "-o", tmp_path / "map.mrc")
    for config, is_said in ((own, False), (other, True)):
        content = yaml.safe_load(own.read_text())
        content["dataset_args"]["norm"][1] *= 1.1
        other.write_text(yaml.safe_dump(content))
        caplog.clear()
        run(*words, "-c", config)
        assert (f"{other} is of another run than {own}" in caplog.text) is is_said


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        (
            "sum",
            ("--zdim", 2),
            f"other settings: it is of {ON_LINEAR}, and this is {ALONE}; go",
        ),
        (
            "alone",
            ("--from", "linear"),
            f"it is of {ALONE}, and this is {ON_LINEAR}; go on with",
        ),
        (
            "sum",
            ("--held-out", 0.2),
            "config.yaml; leave out --held-out 0.2 (it is 0.1 there),",
        ),
        ("alone", ("--qdim", 8), "config.yaml; leave out --qdim 8 (it is 16 there), or choose"),
        ("alone", ("--qdim", 16, "--held-out", 0.1), "nothing is left to train"),
    ],
)
def test_a_run_of_another_model_does_not_go_on(fail, made, name, more, said):
    more = [made / word if word == "linear" else word for word in more]
    words = (*more, "-n", 1, "--load", "latest", "-o", made / name)
    assert said.format(made) in fail("train_vae", made / "particles.star", *words)


def test_a_run_is_not_replaced_by_one_that_begins_with_its_weights(fail, made):
    weights = made / "alone/weights.pkl"
    words = ("--zdim", 2, *SMALL_VAE, "--load", weights, "-o", made / "alone", "--overwrite")
    message = fail("train_vae", made / "particles.star", *words)
    assert f"--overwrite replaces the run in {made}/alone, of which --load {weights}" in message
    assert weights.exists()


def test_a_folder_without_a_run_is_no_linear_model(fail, made, tmp_path):
    words = (*SMALL_VAE, "--from", tmp_path, "-o", tmp_path / "out")
    message = fail("train_vae", made / "particles.star", *words)
    assert (
        "is no folder of a run: it has no config.yaml; expected one of train_linear" in message
    )


def test_the_config_of_another_run_is_named(fail, made, tmp_path):
    config = made / "linear/config.yaml"
    words = ("--config", config, "-z", 0, 0, "-o", tmp_path / "x.mrc")
    said = fail("eval_vol", made / "alone/weights.pkl", *words)
    assert f"alone/weights.pkl does not fit the model of --config {config}: it is" in said
    assert "; leave --config out, or give that of the run that wrote the weights" in said
