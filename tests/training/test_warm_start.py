import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_latents, save_latents, save_pickles
from cryodrgn.training.warm_start import WarmStart, load_targets

# With a rate of next to nothing steps teach nothing: few are enough.
STILL = ("-n", 1, "--lr", 1e-9, "-b", 200)
SMALL = ("--qdim", 64, "--pdim", 16, "--qlayers", 1, "--players", 1, "--precision", "float32")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    arguments = "simulate -D 16 --Apix 12 -n 800 --num-states 8 --snr 2 -o"
    assert main([*arguments.split(), str(folder)]) == 0
    return folder


def test_the_encoder_begins_with_the_latents_it_was_taught(run, simulated, tmp_path):
    labels = np.load(simulated / "labels.npy")
    truth = ((labels - labels.mean()) / labels.std())[:, None].astype(np.float32)
    save_latents(tmp_path / "z.pkl", truth, np.full_like(truth, -3.0))
    star = simulated / "particles.star"
    options = ("--zdim", 1, *STILL, *SMALL)
    agreement = {}
    for name, more in (("cold", ()), ("warm", ("--init-z", tmp_path / "z.pkl"))):
        out = tmp_path / name
        run("train_vae", star, *options, *more, "--init-epochs", 20, "-o", out)
        found = load_latents(out / "z.pkl")[:, 0]
        agreement[name] = abs(np.corrcoef(found, truth[:, 0])[0, 1])
    assert agreement["warm"] > 0.85
    assert agreement["cold"] < 0.5


def test_a_wide_encoder_learns_latents_of_which_a_few_are_far_from_the_rest(
    run, simulated, tmp_path
):
    labels = np.load(simulated / "labels.npy")
    truth = ((labels - labels.mean()) / labels.std())[:, None].astype(np.float32)
    strange = truth.copy()
    strange[::200] *= 100
    save_latents(tmp_path / "z.pkl", strange, np.full_like(truth, -3.0))
    run(
        *("train_vae", simulated / "particles.star", "--zdim", 1, *STILL),
        *(*SMALL, "--qdim", 512, "--qlayers", 3),
        *("--init-z", tmp_path / "z.pkl", "--init-epochs", 20, "-o", tmp_path / "run"),
    )
    found = load_latents(tmp_path / "run" / "z.pkl")[:, 0]
    usual = np.arange(len(labels)) % 200 != 0
    assert abs(np.corrcoef(found[usual], truth[usual, 0])[0, 1]) > 0.93


def test_a_warm_run_goes_on_without_being_taught_again(run, simulated, tmp_path):
    save_pickles(tmp_path / "z.pkl", [np.random.default_rng(0).normal(size=(800, 2))])
    options = ("--zdim", 2, "--init-z", tmp_path / "z.pkl", "--init-epochs", 1, *SMALL)
    out = tmp_path / "run"
    run("train_vae", simulated / "particles.star", *options, "-n", 1, "-o", out)
    (tmp_path / "z.pkl").unlink()
    said = run("train_vae", "--load", "latest", "-n", 2, "-o", out)
    assert "has learnt" not in said


@pytest.mark.parametrize(
    "options", [("train_vae", "--init-z", "no.pkl"), ("train_dec", "--load-z", "no.pkl")]
)
def test_latents_that_are_missing_are_said_before_images_are_read(
    fail, simulated, tmp_path, options
):
    command, *options = options
    star, cache = simulated / "particles.star", tmp_path / "cache"
    message = fail(
        *(command, star, "--zdim", 2, *options, "--cache-dir", cache),
        *("-o", tmp_path / "run"),
    )
    assert "no.pkl" in message
    assert not cache.exists()
    assert not (tmp_path / "run").exists()


def test_targets_have_unit_variance_and_missing_dimensions_those_of_the_prior(tmp_path):
    mean = 5 + 3 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).numpy()
    save_latents(tmp_path / "z.pkl", mean, np.full_like(mean, np.log(0.9)))
    found, log_variance = load_targets(WarmStart(latents=tmp_path), 500, 3)
    torch.testing.assert_close(found.mean(0), torch.zeros(3), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(found[:, :2].std(0), torch.ones(2))
    assert (found[:, 2] == 0).all()
    assert (log_variance[:, 2] == 0).all()
    expected = np.log(0.9) - 2 * np.log(mean.std(0, ddof=1))
    np.testing.assert_allclose(log_variance[0, :2], expected, rtol=1e-4)


def test_latents_of_other_particles_are_refused(fail, simulated, tmp_path):
    save_pickles(tmp_path / "z.pkl", [np.zeros((7, 2), np.float32)])
    message = fail(
        *("train_vae", simulated / "particles.star", "--zdim", 2, "-o", tmp_path / "run"),
        *("--init-z", tmp_path / "z.pkl"),
    )
    assert "there are 800 particles" in message
    assert not (tmp_path / "run").exists()
