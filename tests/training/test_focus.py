"""Outside of a focus mask a consensus explains the images, and volumes are cut out by masks."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.data.fixed_density import FixedDensity
from cryodrgn.data.prepared import Storage, prepare_all
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.likelihood import predict
from cryodrgn.io.cryodrgn_pickle import load_pickles
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.training.focus import Masks, density_outside
from cryodrgn.training.run_config import TrainConfig
from finished_run import SMALL_VAE, Finished

BOX, SCALE = 16, 7.0


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    words = f"simulate -D {BOX} --Apix 12 -n 300 --num-states 1 --snr 100 -o"
    assert main([*words.split(), str(folder)]) == 0
    half = np.zeros((BOX, BOX, BOX), np.float32)
    half[: BOX // 2] = 1
    write_volume(folder / "half.mrc", half, 12.0)
    truth, _ = read_volume(folder / "gt/state_000.mrc")
    write_volume(folder / "scaled.mrc", 5 * truth, 12.0)
    write_volume(folder / "wrong.mrc", -truth, 12.0)
    return folder


@pytest.fixture(scope="module")
def particles(simulated):
    return open_particles(ParticleFiles(particles=simulated / "particles.star"))


@pytest.fixture(scope="module")
def images(particles, tmp_path_factory):
    prepared = prepare_all(
        particles,
        HalfPlaneFrequencies.disc(BOX),
        Preprocessing(scale=SCALE),
        storage=Storage(scratch_dir=tmp_path_factory.mktemp("scratch")),
    )
    return TrainingSet(particles, prepared, torch.device("cpu"))


def share_explained(images, density):
    batch = images.batch(torch.arange(len(images)))
    predicted = predict(density.slices(batch.coordinates), batch.compared_transfer())
    left = (batch.images - predicted).square().sum()
    return 1 - float(left / batch.images.square().sum())


def test_slices_of_a_fixed_density_are_the_images_of_its_volume(simulated, images):
    truth, _ = read_volume(simulated / "gt/state_000.mrc")
    density = FixedDensity(torch.from_numpy(truth), images.device)
    batch = images.batch(torch.arange(len(images)))
    predicted = predict(density.slices(batch.coordinates), batch.compared_transfer())
    cosine = torch.nn.functional.cosine_similarity(
        predicted.flatten(), batch.images.flatten(), dim=0
    )
    assert cosine > 0.98


@pytest.mark.parametrize("name", [None, "scaled.mrc"])
def test_the_consensus_is_in_units_of_the_images_whatever_those_of_its_map(
    simulated, particles, images, name
):
    training = TrainConfig(
        focus_mask=simulated / "half.mrc",
        consensus=None if name is None else simulated / name,
    )
    nothing = torch.zeros(BOX, BOX, BOX)
    whole, outside = (
        density_outside(training, particles, images, Preprocessing(scale=SCALE), focus, None)
        for focus in (nothing, Masks.read(training, particles).focus)
    )
    assert share_explained(images, whole) > 0.95
    assert not outside.volume[: BOX // 2].any()
    assert torch.equal(outside.volume[BOX // 2 :], whole.volume[BOX // 2 :])


def test_a_consensus_that_does_not_explain_the_images_is_refused(simulated, particles, images):
    training = TrainConfig(focus_mask=simulated / "half.mrc", consensus=simulated / "wrong.mrc")
    focus = torch.ones(BOX, BOX, BOX)
    with pytest.raises(ConfigError, match="does not explain the images"):
        density_outside(training, particles, images, Preprocessing(scale=SCALE), focus, None)


def test_predicted_images_show_the_density_outside_beside_that_of_the_network(images):
    volume = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
    density = FixedDensity(volume, images.device)
    batch = replace(images.batch(torch.arange(4)), fixed=density)
    inner = torch.randn(4, images.num_points, 2)
    expected = inner + density.slices(batch.coordinates)
    torch.testing.assert_close(batch.whole_slices(inner), expected)
    one = batch.of_images(torch.tensor([2]))
    torch.testing.assert_close(one.whole_slices(inner[2:3]), expected[2:3])


def test_slices_of_a_fixed_density_have_gradients_where_poses_move(images):
    volume = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
    density = FixedDensity(volume, images.device)
    # Away from the planes of the grid, where a trilinear function has a kink.
    points = (torch.tensor([[[1.3, 2.4, -3.3], [4.6, -2.2, 0.4]]]) / BOX).requires_grad_()
    step = torch.tensor([[[0.0, 5e-4, 0.0], [1e-3, 0.0, 5e-4]]])
    values = density.slices(points)
    slope = torch.autograd.grad(values.sum(), points)[0]
    ahead, behind = (density.slices((points + sign * step).detach()).sum() for sign in (1, -1))
    torch.testing.assert_close((slope * step).sum(), (ahead - behind) / 2, rtol=2e-3, atol=0)


def test_a_focussed_run_goes_on_exactly_and_cuts_its_volumes_out(simulated, tmp_path):
    def train(name, *more):
        words = ("--zdim", 2, "-b", 32, *SMALL_VAE, "--precision", "float32")
        masked = ("--focus-mask", simulated / "half.mrc", "--mask", simulated / "half.mrc")
        line = ("train_vae", simulated / "particles.star", *words, *masked, *more)
        assert main([str(word) for word in (*line, "-o", tmp_path / name)]) == 0
        return Finished(tmp_path / name)

    whole = train("whole", "-n", 2)
    train("part", "-n", 1)
    part = train("part", "-n", 2, "--load", "latest")
    for name, value in whole.weights().items():
        assert torch.equal(part.weights()[name], value), name
    # Most of the molecule is known from the beginning.
    assert whole.metrics[0]["reconstruction"] < 0.8
    words = ("eval_vol", whole.path / "weights.pkl", "-z", 0, 0, "-o", tmp_path / "vol.mrc")
    assert main([str(word) for word in words]) == 0
    volume, _ = read_volume(tmp_path / "vol.mrc")
    assert not volume[BOX // 2 :].any()
    assert volume[: BOX // 2].any()


def test_images_of_a_focussed_run_show_what_lies_outside_of_the_focus(simulated, tmp_path):
    star, run = simulated / "particles.star", tmp_path / "run"
    words = ("--zdim", 1, *SMALL_VAE, "--focus-mask", simulated / "half.mrc", "-n", 1)
    assert main([str(word) for word in ("train_vae", star, *words, "-o", run)]) == 0
    words = (star, run / "weights.pkl", "-o", tmp_path / "losses.pkl")
    assert main(["eval_images", *map(str, words)]) == 0
    *_, (_, reconstruction, _) = load_pickles(tmp_path / "losses.pkl")[0:3]
    trained = Finished(run).metrics[-1]["reconstruction"]
    assert reconstruction / 300 == pytest.approx(trained, rel=0.05)
    rows = csv.DictReader((run / "scores.csv").read_text().splitlines())
    contrasts = [float(row["contrast"]) for row in rows]
    # All are 1; against the focus alone they follow the direction of view.
    assert np.mean(contrasts) == pytest.approx(1, abs=0.1)
    assert np.std(contrasts) < 0.5


def test_a_consensus_without_focus_mask_is_refused(simulated):
    with pytest.raises(ConfigError, match="`focus_mask`"):
        TrainConfig(consensus=simulated / "scaled.mrc")


def test_a_focus_mask_beside_a_linear_model_that_explains_all_is_refused(simulated):
    with pytest.raises(ConfigError, match="train_linear `focus_mask`"):
        TrainConfig(focus_mask=simulated / "half.mrc", linear_run=simulated)
