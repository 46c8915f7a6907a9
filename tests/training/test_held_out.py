"""Training that keeps particles out, and what it says of itself."""

import csv
import shutil

import mrcfile
import numpy as np
import pytest
import torch

from cryodrgn.io.cryodrgn_pickle import load_latents, save_pickles
from cryodrgn.training.held_out import choose_held_out, state_groups
from finished_run import SMALL_NN, SMALL_VAE, Finished

KEPT_OUT = ("--held-out", 0.2)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("simulated")
    line = f"simulate -D 16 --Apix 12 -n 60 --num-states 2 --snr 1 -o {folder}"
    assert main(line.split()) == 0
    return folder


def table(folder):
    with (folder / "convergence.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("storage", [(), ("--lazy",)])
@pytest.mark.parametrize(
    ("command", "small"), [("train_vae", (*SMALL_VAE, "--zdim", 2)), ("train_nn", SMALL_NN)]
)
def test_weights_do_not_depend_on_the_images_kept_out(
    run, simulated, tmp_path, command, small, storage
):
    other = tmp_path / "other"
    shutil.copytree(simulated, other)
    rows = choose_held_out(60, 0.2, 0).numpy()
    with mrcfile.open(other / "particles.mrcs", mode="r+") as mrc:
        mrc.data[rows] = -3 * mrc.data[rows]
    for folder, out in ((simulated, "a"), (other, "b")):
        line = (command, folder / "particles.star", *small, "-n", 2, "--norm", 0, 10, *storage)
        run(*line, *KEPT_OUT, "-o", tmp_path / out)
    a, b = Finished(tmp_path / "a"), Finished(tmp_path / "b")
    assert a.has_the_weights_of(b)
    assert table(a.path)[-1]["error"] != table(b.path)[-1]["error"]


def test_particles_kept_out_get_latents_like_all_others(run, simulated, tmp_path):
    star = simulated / "particles.star"
    line = ("train_vae", star, *SMALL_VAE, "--zdim", 2, "-n", 1, *KEPT_OUT, "-o", tmp_path)
    run(*line, "--precision", "float32")
    finished = Finished(tmp_path)
    assert finished.latents.shape == (60, 2)
    assert finished.metrics[-1]["images"] == 48
    run("eval_images", star, tmp_path / "weights.pkl", "-o", tmp_path / "e.pkl")
    np.testing.assert_allclose(finished.latents, load_latents(tmp_path / "e.pkl"), atol=1e-4)


def test_a_set_listed_twice_is_as_sure_of_what_is_held_out(run, simulated, tmp_path):
    save_pickles(tmp_path / "twice.pkl", [np.repeat(np.arange(60), 2)])
    line = ("train_vae", simulated / "particles.star", *SMALL_VAE, "--zdim", 2, "-n", 1)
    # Forty particles are trained on, so that states are of four groups of the same ones.
    still = ("--lr", 1e-12, "--held-out", 1 / 3, "--precision", "float32", "--norm", 0, 10)
    run(*line, *still, "-o", tmp_path / "a")
    run(*line, *still, "--ind", tmp_path / "twice.pkl", "-o", tmp_path / "b")
    (once,), (twice,) = table(tmp_path / "a"), table(tmp_path / "b")
    assert twice["exchange_images"] == once["exchange_images"] != "0"
    for name in ("error", "explained", "exchange_gain", "exchange_error", "exchange_score"):
        assert float(twice[name]) == pytest.approx(float(once[name]), rel=1e-2), name


def test_every_epoch_is_said_in_log_and_table(run, simulated, tmp_path):
    star = simulated / "particles.star"
    run("train_vae", star, *SMALL_VAE, "--zdim", 2, "-n", 3, *KEPT_OUT, "-o", tmp_path)
    rows = table(tmp_path)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["map_change"] == ""
    assert float(rows[2]["map_change"]) > 0
    assert {f"shell_{shell}" for shell in range(9)} <= rows[0].keys()
    assert Finished(tmp_path).log.count("not converged") == 3


def test_training_stops_once_it_has_converged_and_says_how_to_go_on(
    run, fail, simulated, tmp_path
):
    star, out = simulated / "particles.star", tmp_path / "out"
    line = ("train_nn", star, *SMALL_NN, "-n", 40, *KEPT_OUT, "-o", out)
    said = run(*line, "--lr", 1e-9, "--stop-when-converged")
    # Nothing changes at such a rate: converged as soon as it can be told, and settled after it.
    assert "converged at epoch 6" in said
    assert len(table(out)) == 9
    assert Finished(out).checkpoint()["epoch"] == 8
    message = fail("train_nn", "-o", out, "--load", "latest", "-n", 60)
    assert "stopped after 9 epochs; go on with --no-stop-when-converged" in message
    run("train_nn", "-o", out, "--load", "latest", "-n", 10, "--no-stop-when-converged")
    assert len(table(out)) == 10


def test_mistakes_are_named(run, fail, simulated, tmp_path):
    star = simulated / "particles.star"
    line = ("train_vae", star, *SMALL_VAE, "--zdim", 2, "-o", tmp_path / "no")
    assert "--held-out must be from 0 to 0.5, got 0.7" in fail(*line, "--held-out", 0.7)
    assert "of 60 particles keeps out 1, at least two" in fail(*line, "--held-out", 0.02)
    assert "does not go with poses" in fail(*line, *KEPT_OUT, "--do-pose-sgd")
    assert not (tmp_path / "no").exists()
    run(*line[:-1], tmp_path / "run", "-n", 1)
    message = fail("train_vae", "-o", tmp_path / "run", "--load", "latest", "-n", 2,
                   "--stop-when-converged")  # fmt: skip
    assert "keeps no particles out" in message


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_every_group_that_stands_for_a_state_has_members(count):
    latents = torch.arange(2.0 * count).view(count, 2)
    groups = state_groups(latents)
    assert groups.shape[1] == max(1, count // 4)
    assert set(groups.flatten().tolist()) <= set(range(count))
    assert latents[groups].mean(1).isfinite().all()
