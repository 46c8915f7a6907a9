import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.run_config import load_run_config
from cryodrgn.reconstruction.trained import TrainedModel
from cryodrgn.rundir import RunDirectory
from pages import lines_of

FAST = ("-b", 60, "--precision", "float32", "--screen", "none")
VAE = (*FAST, "--qdim", 16, "--qlayers", 1, "--pdim", 16, "--players", 1)
DEC = (*FAST, "--dim", 16, "--layers", 1)
STILL = ("-n", 1, "--lr", 1e-12)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A simulated set, a linear run of it, and states of that."""
    folder = tmp_path_factory.mktemp("linear")
    for line in (
        "simulate -D 16 --Apix 12 -n 600 --num-states 6 --snr 1 -o DATA",
        "train_linear DATA/particles.star --components 3 -o DATA/linear",
        "reconstruct_states DATA/linear --num-states 2 --functions 5 -o DATA/states",
    ):
        assert main(line.replace("DATA", str(folder)).split()) == 0
    return folder


def start(run, made, out, *more):
    return run("train_vae", made / "particles.star", "-o", out, *VAE, *more)


def beta_of(folder):
    config = load_run_config(folder / "config.yaml")
    return config["training"]["settings"]["training"]["kl"]["beta"]


def model_at(folder):
    run = RunDirectory(folder)
    return TrainedModel.load(run.weights(), load_run_config(run.config_yaml))


@pytest.mark.parametrize("beginning", ["linear", "states"])
def test_a_network_begins_with_latents_and_volumes_of_the_linear_model(
    run, made, tmp_path, beginning
):
    out = tmp_path / "run"
    start(run, made, out, "--from", made / beginning, *STILL)
    log = (out / "run.log").read_text()
    assert "look like junk" in log or "looks like junk" in log
    assert "preliminary" not in log
    mean, log_variance = load_pickles(out / "z.pkl")
    linear_mean, linear_log_variance = load_pickles(made / "linear" / "z.pkl")
    np.testing.assert_allclose(mean, linear_mean, atol=1e-4)
    np.testing.assert_allclose(log_variance, linear_log_variance, atol=1e-3)
    z = torch.from_numpy(mean[:2])
    device = torch.device("cpu")
    states = model_at(made / "states").volume_decoder(device)
    ours = model_at(out).volume_decoder(device)
    if beginning == "states":
        for found, expected in zip(ours.volumes(z), states.volumes(z), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_volumes_of_a_linear_run_are_regressed_as_states_are(run, made, tmp_path):
    out = tmp_path / "run"
    start(run, made, out, "--from", made / "linear", *STILL)
    run("reconstruct_states", made / "linear", "--num-states", 2, "-o", tmp_path / "states")
    z, device = torch.from_numpy(load_latents(out / "z.pkl")[:1]), torch.device("cpu")
    expected = next(model_at(tmp_path / "states").volume_decoder(device).volumes(z))
    found = next(model_at(out).volume_decoder(device).volumes(z))
    limit = 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(found, expected, atol=limit, rtol=0)


def test_an_encoder_as_wide_as_its_output_begins_at_zero_too(run, made, tmp_path):
    out = tmp_path / "run"
    start(run, made, out, "--from", made / "linear", *STILL, "--zdim", 8)
    found, known = load_latents(out / "z.pkl"), load_latents(made / "linear" / "z.pkl")
    np.testing.assert_allclose(found[:, : known.shape[1]], known, atol=1e-4)


def test_a_run_on_a_linear_model_goes_on_exactly_when_that_is_gone(run, made, tmp_path):
    linear = tmp_path / "linear"
    shutil.copytree(made / "linear", linear)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ("--from", linear, "--zdim", 4)
    start(run, made, whole, *more, "-n", 2)
    start(run, made, parts, *more, "-n", 1)
    shutil.rmtree(linear)
    start(run, made, parts, *more, "-n", 2, "--load", "latest")
    one, other = (load_checkpoint(folder / "weights.pkl") for folder in (whole, parts))
    for name, values in one["model_state_dict"].items():
        assert torch.equal(values, other["model_state_dict"][name]), name
    again = run("train_vae", "-o", parts, "--load", "latest", "-n", 3)
    assert "Epoch: 3" in again
    assert beta_of(whole) == beta_of(parts) == 2 * 4


def test_a_weight_of_the_divergence_that_was_given_stays(run, made, tmp_path):
    out, more = tmp_path / "run", ("--from", made / "linear")
    start(run, made, out, *more, *STILL, "--beta", 1)
    start(run, made, out, *more, "-n", 2, "--lr", 1e-12, "--load", "latest")
    assert beta_of(out) == 1


@pytest.mark.parametrize("tuning", [(), ("--optimizer", "muon", "--average", 0.1)])
def test_volumes_that_learn_go_on_exactly(run, made, tmp_path, tuning):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ("--from", made / "linear", "--train-volumes", *tuning)
    start(run, made, whole, *more, "-n", 2)
    start(run, made, parts, *more, "-n", 1)
    start(run, made, parts, *more, "-n", 2, "--load", "latest")
    one, other = (load_checkpoint(folder / "weights.pkl") for folder in (whole, parts))
    for name, values in one["model_state_dict"].items():
        assert torch.equal(values, other["model_state_dict"][name]), name
    assert one["model_state_dict"]["decoder.changes.steps"].abs().max() > 1e-4


def test_a_run_does_not_go_on_with_another_linear_model(run, fail, made, tmp_path):
    out = tmp_path / "run"
    start(run, made, out, "--from", made / "linear", "-n", 1)
    message = fail(
        *("train_vae", made / "particles.star", "-o", out, *VAE, "--load", "latest"),
        *("--from", made / "states", "-n", 2),
    )
    assert f"--from {made / 'linear'} there, {made / 'states'} here" in message


def test_weights_of_a_network_on_a_linear_model_are_read_by_all_commands(run, made, tmp_path):
    out = tmp_path / "run"
    start(run, made, out, "--from", made / "linear", "--zdim", 4, "-n", 1, "--lr", 1e-3)
    weights, star = out / "weights.pkl", made / "particles.star"
    run("eval_images", star, weights, "-o", tmp_path / "losses.pkl")
    found = load_pickles(tmp_path / "losses.pkl")[0]
    np.testing.assert_allclose(found, load_latents(out / "z.pkl"), atol=1e-3)
    run("eval_vol", weights, "-z", *found[0].tolist(), "-o", tmp_path / "volume.mrc")
    run("eval_vol", weights, "-z", *found[0].tolist(), "-o", tmp_path / "small.mrc", "-d", 8)
    assert read_volume(tmp_path / "small.mrc")[0].shape == (8, 8, 8)
    z, device = torch.from_numpy(found[:1]), torch.device("cpu")
    expected = next(model_at(out).volume_decoder(device).volumes(z)).numpy()
    volume = read_volume(tmp_path / "volume.mrc")[0]
    np.testing.assert_allclose(volume, expected, atol=1e-4 * abs(expected).max())


def test_free_latents_begin_with_those_of_the_linear_model(run, made, tmp_path):
    out = tmp_path / "run"
    run(
        *("train_dec", made / "particles.star", "-o", out, *DEC, *STILL),
        *("--from", made / "states", "--zdim", 4, "--z-lr", 1e-9),
    )
    found, known = load_latents(out / "z.pkl"), load_latents(made / "linear" / "z.pkl")
    width = known.shape[1]
    np.testing.assert_allclose(found[:, :width], known, atol=1e-5)
    np.testing.assert_allclose(found[:, width:], 0, atol=1e-5)


def test_latents_and_network_learn(run, made, tmp_path):
    out = tmp_path / "run"
    more = ("--from", made / "linear", "--zdim", 4, "-n", 1, "--lr", 1e-3)
    start(run, made, out, *more, "--do-pose-sgd", "--pretrain", 0)
    found, known = load_latents(out / "z.pkl"), load_latents(made / "linear" / "z.pkl")
    assert abs(found[:, : known.shape[1]] - known).max() > 1e-3
    assert (out / "pose.pkl").exists()
    weights = load_checkpoint(out / "weights.pkl")["model_state_dict"]
    assert weights["decoder.network.decoder.main.4.weight"].abs().max() > 1e-4


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--from", "RUN", "--zdim", 1), "give 2 or more, or leave it out"),
        (("--from", "RUN", "-D", 8), "fit both at one box size"),
        (("--from", "RUN", "--invert-data"), "give both the same"),
        (("--from", "RUN", "--encode-mode", "mlp"), "leave out --encode-mode"),
        (("--from", "RUN", "--norm", 1, 2), "give --norm 0 and a scale"),
        (("--from", "nothing"), "nothing"),
        (("--zdim", 2, "--train-volumes"), "give its run (--from), or leave it out"),
    ],
)
def test_what_does_not_go_with_a_linear_model_is_refused(fail, made, tmp_path, more, expected):
    words = [made / "linear" if word == "RUN" else word for word in more]
    message = fail("train_vae", made / "particles.star", "-o", tmp_path / "run", *VAE, *words)
    assert expected in message
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_run_of_a_network_is_no_linear_model(run, fail, made, tmp_path):
    vae = tmp_path / "vae"
    start(run, made, vae, "--zdim", 1, "-n", 1)
    out = tmp_path / "run"
    message = fail("train_vae", made / "particles.star", "-o", out, *VAE, "--from", vae)
    assert "expected one of train_linear" in message
    message = fail(
        "train_vae", made / "particles.star", "-o", out, *VAE, "--from", made / "lin"
    )
    assert f"{made / 'lin'} does not exist; similar names in {made}: linear" in message
    assert not out.exists()


def test_lines_of_the_page_work_as_typed(run, made, tmp_path, monkeypatch):
    for name in ("particles.star", "particles.mrcs"):
        shutil.copy(made / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    lines = [line.words for line in lines_of("docs/network.md")]
    assert [words[0] for words in lines][:3] == ["train_linear", "train_vae", "analyze"]
    for command, *words in lines:
        if command == "train_vae":
            words[words.index("-n") + 1] = "1"
            words += [str(word) for word in VAE]
        if command == "train_dec":
            words += ["-n", "1", *(str(word) for word in DEC)]
        if command == "analyze":
            words += ["--skip-umap", "--pc", "1", "--n-per-pc", "2"]
        if command == "compare_models":
            # Of the networks that it names the page trains none.
            words = [{"01_vae": "01_network"}.get(w, w) for w in words if w != "02_alone"]
        run(command, *words)
    assert "Which model: the network" in Path("01_network/analyze/report.html").read_text()
    assert Path("01_network/volumes/vol_019.mrc").exists()
    assert Path("losses.pkl").exists()


def test_the_noise_of_the_linear_model_is_the_first_of_a_run(run, made, tmp_path):
    out = tmp_path / "run"
    said = start(run, made, out, "--from", made / "linear", *STILL, "--noise-model", "radial")
    assert "as the linear model left it" in said
    state = load_checkpoint(made / "linear" / "weights.pkl")["model_state_dict"]
    noise = load_checkpoint(out / "weights.pkl")["run_state"]["noise"]
    _, scale = load_run_config(out / "config.yaml")["dataset_args"]["norm"]
    told = next(value for name, value in state.items() if name.endswith("noise"))
    shells = noise["spectra"].shape[1]
    expected = told[:, :shells] / scale**2
    torch.testing.assert_close(noise["spectra"], expected, rtol=1e-4, atol=0)
    assert not torch.equal(noise["weights"], torch.ones_like(noise["weights"]))


def test_contrasts_are_estimated_along_with_a_network_on_a_linear_model(run, made, tmp_path):
    out = tmp_path / "run"
    more = ("--from", made / "linear", "-n", 2, "--lr", 1e-3, "--contrast")
    assert "contrasts spread by" in start(run, made, out, *more)
    contrasts = np.load(RunDirectory(out).linear.contrasts)
    assert contrasts.shape == (600,)
    # Images of this set have the same contrast.
    assert abs(contrasts.mean() - 1) < 0.1
    assert contrasts.std() < 0.1
