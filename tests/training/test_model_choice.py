import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryodrgn.cli.main import main
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.run_config import load_run_config
from cryodrgn.linear.latents import run_latents
from cryodrgn.reconstruction.trained import TrainedModel
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.held_out import choose_held_out
from cryodrgn.training.model_choice import FEWEST_PARTICLES, ModelChoice, remedy_for_few
from cryodrgn.training.monitor import HeldOutEvaluator
from cryodrgn.training.run_log import read_events

FAST = ("-b", 20, "--precision", "float32", "--screen", "none")
VAE = (*FAST, "--qdim", 16, "--qlayers", 1, "--pdim", 32, "--players", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A molecule in six states, and a linear model of it that has one component."""
    folder = tmp_path_factory.mktemp("choice")
    for line in (
        "simulate -D 16 --Apix 12 -n 600 --num-states 6 --snr 1 -o DATA",
        "train_linear DATA/particles.star --components 1 -o DATA/linear",
    ):
        assert main(line.replace("DATA", str(folder)).split()) == 0
    return folder


def judged(run, made, out, *more):
    """What is said of a network on the linear model, and the event that says it."""
    said = run(
        *("train_vae", made / "particles.star", "-o", out, *VAE),
        *("--from", made / "linear", "--held-out", 0.3, *more),
    )
    (found,) = (e for e in read_events(out / "events.jsonl") if e["event"] == "ModelsCompared")
    assert found["verdict"] in said
    return found


def test_a_network_that_has_learnt_nothing_adds_nothing(run, made, tmp_path):
    found = judged(run, made, tmp_path / "run", "-n", 1, "--lr", 1e-12)
    assert abs(found["gain"]) < 1e-3
    assert "adds nothing to the linear model" in found["verdict"]
    assert found["num_particles"] == 180


def test_a_network_that_learns_what_one_component_cannot_say_is_said_to_help(
    run, made, tmp_path
):
    found = judged(run, made, tmp_path / "run", "-n", 6, "--lr", 2e-3, "--zdim", 3)
    assert found["gain"] > 3 * found["error"]
    assert "explains the images better" in found["verdict"]


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (0.9, "better than the linear model alone: trust its volumes"),
        (0.25, "better than the linear model alone, but not clearly, by two to three "),
        (0.1, "adds nothing to the linear model: trust the volumes of the linear model"),
        (-0.2, "adds nothing to the linear model: trust the volumes of the linear model"),
        (-0.25, "worse than the linear model alone, but not clearly, by two to three "),
        (-0.9, "worse than the linear model alone: trust the volumes of the linear model"),
    ],
)
def test_a_sentence_says_which_volumes_to_trust(gain, words):
    choice = ModelChoice(gain=gain, error=0.1, num_particles=50)
    assert words in choice.in_words
    assert "± 0.1" in choice.in_words
    assert "50 particles" in choice.in_words


def test_few_particles_choose_no_model():
    few = ModelChoice(gain=0.9, error=0.1, num_particles=FEWEST_PARTICLES - 1)
    assert not few.network_helps
    assert "too few particles were held out to say if the network helps, at least 30" in (
        few.in_words
    )
    assert ModelChoice(gain=0.9, error=0.1, num_particles=FEWEST_PARTICLES).network_helps


@given(st.integers(1, 5000))
def test_the_share_to_hold_out_that_is_named_is_enough(count):
    remedy = remedy_for_few(count)
    if count < 2 * FEWEST_PARTICLES:
        assert remedy == "train on more particles"
        return
    share = float(remedy.split()[-3])
    assert len(choose_held_out(count, share, seed=0)) >= FEWEST_PARTICLES
    assert share <= 0.5


def test_a_share_that_is_too_small_is_told_before_training(made, tmp_path, capsys):
    words = (
        *("train_vae", made / "particles.star", "-o", tmp_path / "run", *VAE),
        *("--from", made / "linear", "-n", 1, "--held-out", 0.02),
    )
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().err
    assert "12 particles are held out, too few" in said
    assert "at least 30 are needed: give train_vae --held-out 0.05 or more" in said


@pytest.mark.parametrize(("epochs", "is_early"), [(2, True), (5, False), (None, False)])
def test_a_gain_within_its_error_is_not_shown_yet_after_few_epochs(epochs, is_early):
    choice = ModelChoice(gain=0.029, error=0.017, num_particles=200, num_epochs=epochs)
    early = "after 2 epochs it is not shown yet that the network adds anything to the linear "
    assert choice.in_words.startswith(early) is is_early
    assert ("adds nothing" in choice.in_words) is not is_early
    assert "trust the volumes of the linear model" in choice.in_words
    nothing = ModelChoice(gain=1e-4, error=4e-4, num_particles=200, num_epochs=epochs)
    assert "adds nothing" in nothing.in_words


@pytest.mark.parametrize(("gain", "side"), [(-0.0003, "worse"), (0.0003, "better")])
def test_a_difference_that_is_smaller_than_a_parameter_costs_is_none(gain, side):
    choice = ModelChoice(gain=gain, error=8e-5, num_particles=500)
    found = (
        f"the images {side} than the linear model alone, but by too little to matter: trust "
    )
    assert found in choice.in_words
    assert not choice.network_helps
    assert not choice.network_harms


def test_without_particles_kept_out_nothing_is_judged(run, made, tmp_path):
    out = tmp_path / "run"
    run(
        *("train_vae", made / "particles.star", "-o", out, *VAE),
        *("--from", made / "linear", "-n", 1),
    )
    names = [event["event"] for event in read_events(out / "events.jsonl")]
    assert "ModelsCompared" not in names


def test_a_posterior_that_is_too_narrow_is_not_held_against_the_volumes(run, tmp_path, caplog):
    """Where the divergence does not count, the encoder's variances vanish."""
    run("simulate", "-D", 16, "--Apix", 12, "-n", 600, "--num-states", 1, "-o", tmp_path)
    run(
        "train_linear",
        tmp_path / "particles.star",
        "--components",
        1,
        "-o",
        tmp_path / "linear",
    )
    found = judged(run, tmp_path, tmp_path / "run", "-n", 3, "--lr", 1e-3, "--beta", 0)
    assert "trust the volumes of the linear model" in found["verdict"]
    # The molecule is rigid, and its linear model knows.
    assert "no component carries signal above noise: the linear model" in caplog.text


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """A rigid molecule in images of varied contrasts, and a linear model that has them."""
    folder = tmp_path_factory.mktemp("varied")
    words = f"simulate -D 16 --Apix 12 -n 600 --num-states 1 --snr 1e6 -o {folder}"
    assert main(words.split()) == 0
    path, rng = folder / "particles.mrcs", np.random.default_rng(1)
    images = ImageStack.whole_files([path]).read(np.arange(600))
    contrasts = rng.normal(1, 0.3, len(images))[:, None, None]
    noise = rng.normal(size=images.shape) * images.std()
    with stack_writer(folder / "varied.mrcs", 16, 12.0) as writer:
        writer.append((contrasts * images + noise).astype(np.float32))
    (folder / "varied.mrcs").replace(path)
    words = f"train_linear {folder}/particles.star --contrast --components 1 -o {folder}/linear"
    assert main(words.split()) == 0
    return folder


@pytest.mark.parametrize("option", [("--no-contrast",), ()])
def test_contrasts_that_a_linear_run_was_told_to_leave_out_are_said(
    run, varied, tmp_path, option, caplog
):
    star, linear = varied / "particles.star", tmp_path / "linear"
    run("train_linear", star, *option, "--components", 1, "-o", linear)
    run("reconstruct_states", linear, "--method", "basis", "-o", tmp_path / "states")
    for start in (linear, tmp_path / "states"):
        words = ("train_vae", star, "--from", start, *VAE, "-n", 1, "-o", tmp_path / "run")
        run(*words, "--held-out", 0.1, "--overwrite")
        sentence = f"{start}: the linear model took contrasts of images for 1, as it was told"
        assert (sentence in caplog.text) is bool(option)


@pytest.mark.parametrize("more", [(), ("--no-contrast",)])
def test_a_latent_that_follows_contrasts_is_no_better_volume(run, varied, tmp_path, more):
    words = ("-n", 6, "--lr", 2e-3, "--zdim", 2, *more)
    found = judged(run, varied, tmp_path / "run", *words)
    assert found["gain"] < 3 * found["error"]
    assert "trust the volumes of the linear model" in found["verdict"]


def test_a_network_has_contrasts_where_its_linear_model_has_them(run, varied, tmp_path, caplog):
    contrasts = RunDirectory(tmp_path / "run").linear.contrasts
    words = ("train_vae", varied / "particles.star", "-o", tmp_path / "run", *VAE)
    words = (*words, "--from", varied / "linear")
    said = run(*words, "-n", 1)
    assert "images have contrasts (--contrast), which vary by 0.2" in said
    assert contrasts.is_file()
    # A run that goes on stays what it is.
    assert "contrasts are taken for 1" not in caplog.text
    assert "--contrast" not in run(*words, "-n", 1, "--no-contrast", "--overwrite")
    assert "contrasts are taken for 1 (`with_contrast=False`), though" in caplog.text
    assert not contrasts.is_file()
    assert "--contrast" not in run(*words, "-n", 2, "--load", "latest")
    # Free latents, which no linear model tells, begin with the contrasts of the run, too.
    words = ("train_dec", varied / "particles.star", "--from", varied / "linear", *FAST)
    said = run(*words, "--dim", 16, "-n", 1, "-o", tmp_path / "free")
    assert "at first, contrasts spread by 0.1" in said
    # Who reads the run has its contrasts.
    assert len(run_latents(RunDirectory(tmp_path / "free")).contrasts) == 600
    assert not contrasts.is_file()


def test_the_network_that_is_judged_is_the_one_that_is_written(
    run, made, tmp_path, monkeypatch
):
    judge, seen = HeldOutEvaluator.choice, []

    def look(self):
        seen.append({k: v.clone() for k, v in self._model.decoder.state_dict().items()})
        return judge(self)

    monkeypatch.setattr(HeldOutEvaluator, "choice", look)
    judged(run, made, tmp_path / "run", "-n", 2, "--lr", 1e-2, "--average", 0.5)
    run_files = RunDirectory(tmp_path / "run")
    trained = TrainedModel.load(run_files.weights(), load_run_config(run_files.config_yaml))
    (judged_weights,) = seen
    for name, value in trained.model.decoder.state_dict().items():
        assert torch.equal(judged_weights[name], value), name
