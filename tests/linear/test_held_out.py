"""Functions of a latent are chosen by what volumes predict of the other half's images."""

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.run_config import load_run_config
from cryodrgn.linear import states
from cryodrgn.linear.held_out import Candidate, compared
from cryodrgn.linear.latents import recorded_data
from cryodrgn.linear.runner import prepare_disc
from cryodrgn.rundir import LinearFiles, RunDirectory
from cryodrgn.simulation.simulate import SimulationSettings, simulate

BOX, PIXEL, COUNT = 20, 8.0, 400
PLACES = ((3, 0, 1), (-2, 3, -2), (-1, -3, 2))


def ball(shift, radius):
    return torch.roll(soft_sphere(BOX, radius, 2.0), shift, (0, 1, 2))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Few images of a body with three pieces that come and go: a plane through all volumes."""
    folder = tmp_path_factory.mktemp("pieces")
    volumes = []
    for number in range(8):
        volume = ball((0, 0, 0), 2.0)
        for piece, shift in enumerate(PLACES):
            volume = volume + (number >> piece & 1) * ball(shift, 2.0)
        volumes.append(volume.numpy())
    settings = SimulationSettings(num_images=COUNT, pixel_size=PIXEL, snr=1.5)
    simulate(volumes, settings, folder / "sim")
    words = ["train_linear", str(folder / "sim/particles.star"), "--components", "4"]
    assert main([*words, "-o", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def model(pieces):
    """Images of the run, their noise, and its volumes."""
    run = RunDirectory(pieces / "run")
    data = recorded_data(load_run_config(run.config_yaml))
    particles, device = data.open(), torch.device("cpu")
    storage = Storage(scratch_dir=pieces)
    images = prepare_disc(data, particles, data.norm, device, storage=storage)
    noise = initial_noise(images.images, np.zeros(COUNT, dtype=np.int64))
    weights = torch.load(run.weights(), weights_only=True)["model_state_dict"]
    return images, noise, weights["volumes"] / data.norm[1]


def test_candidates_are_compared_by_what_they_predict(model, pieces):
    images, noise, volumes = model
    latents = torch.from_numpy(load_latents(pieces / "run/z.pkl"))
    halves = images.halves(torch.arange(COUNT))
    mask, groups = torch.ones(BOX, BOX, BOX), (latents[:, 0] > 0).long()

    def candidate(shown):
        return Candidate(functions=lambda z: z, halves=(shown, shown))

    def compare(first, second):
        return compared(
            *(images, halves, groups, latents, None, noise, mask),
            *(candidate(first), candidate(second)),
        )

    assert compare(volumes, volumes).gain == 0
    assert not compare(volumes, volumes).is_certain
    assert abs(compare(volumes, 3 * volumes).gain) < 1e-4
    assert compare(volumes.flip(1), volumes).is_certain
    assert not compare(volumes, volumes.flip(1)).is_certain
    still = volumes.clone()
    still[1:] = 0
    assert compare(still, volumes).is_certain


def test_states_of_few_images_are_linear_in_z_where_that_predicts_better(
    run, pieces, tmp_path, monkeypatch
):
    shown = []

    def compared_with_record(images, halves, groups, latents, *others):
        shown.append(latents)
        return compared(images, halves, groups, latents, *others)

    monkeypatch.setattr(states, "compared", compared_with_record)
    z = load_latents(pieces / "run/z.pkl")
    assert z.shape[1] == 3
    words = ("reconstruct_states", pieces / "run", "-z", *z[5].tolist())
    said = run(*words, "-o", tmp_path / "best")
    assert "regressed on the coordinates of z: with 20 smooth functions the corr" in said
    # Latents of the half models agree with those of all images that the coordinates are better.
    apart, together = shown
    np.testing.assert_array_equal(apart, np.load(LinearFiles(pieces / "run").half_latents))
    np.testing.assert_array_equal(together, z)
    run(*words, "--functions", 0, "-o", tmp_path / "linear")
    best, linear = (
        read_volume(tmp_path / name / "state_000.mrc")[0] for name in ("best", "linear")
    )
    np.testing.assert_allclose(best, linear, atol=1e-5 * np.abs(linear).max())
    assert "are regressed on" not in run(*words, "--functions", 20, "-o", tmp_path / "smooth")
    smooth, _ = read_volume(tmp_path / "smooth/state_000.mrc")
    assert not np.allclose(smooth, linear, atol=0.02 * np.abs(linear).max())


def test_a_network_begins_with_the_functions_that_reconstruct_states_takes(
    run, fail, pieces, tmp_path
):
    out, words = tmp_path / "out", ("train_vae", pieces / "sim/particles.star")
    words += ("-o", out, "--from", pieces / "run", "--qdim", 8, "--qlayers", 1)
    words += ("--pdim", 8, "--players", 1, "--lr", 1e-12, "-n")
    said = run(*words, 1)
    assert "regressed on the coordinates of z: with 20 smooth functions the corr" in said
    assert "the network begins with 3 functions of the latent" in said
    z = load_latents(pieces / "run/z.pkl")
    found, expected = tmp_path / "found.mrc", tmp_path / "expected"
    run("eval_vol", out / "weights.pkl", "-z", *z[5].tolist(), "-o", found)
    run("reconstruct_states", pieces / "run", "-z", *z[5].tolist(), "-o", expected)
    volumes = [read_volume(path)[0] for path in (found, expected / "state_000.mrc")]
    np.testing.assert_allclose(*volumes, atol=1e-3 * np.abs(volumes[1]).max())
    # It goes on as it began: by itself, from its weights, and where these are lost.
    assert f"{out} holds this run already; go on with it" in fail(*words, 1)
    run(*words, 2, "--load", "latest")
    elsewhere = [tmp_path / "other" if word == out else word for word in words]
    weights = out / "weights.pkl"
    said = fail(*elsewhere, 1, "--load", weights)
    assert f"nothing is left to train with {weights}: 2 epochs are done in the run" in said
    assert not (tmp_path / "other").exists()
    run(*elsewhere, 3, "--load", out / "weights.pkl")
    for path in out.glob("weights*"):
        path.unlink()
    assert "begins again" in run(*words, 3, "--load", "latest")
