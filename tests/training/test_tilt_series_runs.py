"""Runs of all kinds on tilt series: latents are of particles, sums are over their images."""

import numpy as np
import pytest
import starfile
import torch

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from finished_run import SMALL_NN, SMALL_VAE, Finished

PARTICLES, TILTS = 50, 5
FIXED = ("-b", 4, "--precision", "float32")
VAE = (*SMALL_VAE, "--zdim", 2, *FIXED)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    words = f"simulate -D 16 --Apix 12 -n {PARTICLES} --num-states 2 --snr 0.5 --tilt-series"
    assert main([*words.split(), "--tilt-step", "30", "-o", str(folder)]) == 0
    return folder / "particles.star"


@pytest.fixture(scope="module")
def vae(series, tmp_path_factory):
    out = tmp_path_factory.mktemp("vae")
    words = ("train_vae", series, "-o", out, "-n", 2, *VAE)
    assert main([str(word) for word in words]) == 0
    return Finished(out)


def test_tilt_series_are_read_by_the_encoder_of_any_number_of_images(vae):
    assert vae.config["model_args"]["encode_mode"] == "subtomogram"
    assert vae.latents.shape == (PARTICLES, 2)
    # The half ball of radius 8: one of each pair of frequencies but the origin, two numbers.
    axis = np.arange(-8, 9)
    inside = (axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2 <= 64).sum()
    assert vae.shapes["encoder.main.0.weight"] == (16, inside - 1)


def test_the_order_of_rows_in_the_file_changes_no_latent(vae, series, run, tmp_path):
    blocks = starfile.read(series)
    rows, rng = blocks["particles"], np.random.default_rng(0)
    order = rng.permutation(len(rows))
    blocks["particles"] = rows.iloc[order]
    path = series.parent / "shuffled.star"
    starfile.write(blocks, path, overwrite=True)
    out = tmp_path / "eval.pkl"
    run("eval_images", path, vae.path / "weights.pkl", "-o", out)
    # Particles are in the order in which they first appear.
    names = list(dict.fromkeys(blocks["particles"].rlnTomoParticleName))
    places = [int(name.split("/")[1]) - 1 for name in names]
    np.testing.assert_allclose(load_latents(out), vae.latents[places], atol=1e-5)


def test_trained_models_encode_tilt_series_as_in_training(vae, series, run, tmp_path):
    run("eval_images", series, vae.path / "weights.pkl", "-o", tmp_path / "e.pkl")
    np.testing.assert_allclose(load_latents(tmp_path / "e.pkl"), vae.latents, atol=1e-5)


@pytest.mark.parametrize("more", [("--ntilts", 2), ("--single-images",)])
def test_series_are_evaluated_as_the_run_has_read_them(series, run, tmp_path, more):
    run("train_vae", series, *VAE, *more, "-n", 1, "-o", tmp_path / "run")
    finished = Finished(tmp_path / "run")
    said = run("eval_images", series, finished.path / "weights.pkl", "-o", tmp_path / "e.pkl")
    assert "tilt series are read as those of the run: " in said
    np.testing.assert_allclose(load_latents(tmp_path / "e.pkl"), finished.latents, atol=1e-5)


def test_drawn_tilts_go_on_as_if_the_run_had_not_been_interrupted(series, run, tmp_path):
    words = ("train_vae", series, *VAE, "--random-tilts", "--ntilts", 2, "-o")
    run(*words, tmp_path / "a", "-n", 3)
    run(*words, tmp_path / "b", "-n", 1)
    run("train_vae", "-o", tmp_path / "b", "--load", "latest", "-n", 3)
    whole, resumed = Finished(tmp_path / "a"), Finished(tmp_path / "b")
    for name, value in whole.weights().items():
        assert torch.equal(value, resumed.weights()[name])
    run(*words, tmp_path / "c", "-n", 3, "--seed", 1)
    assert not np.allclose(Finished(tmp_path / "c").latents, whole.latents)


OF_4 = ("--encode-mode", "tilt", "--ntilts", 3, "--t-emb-dim", 6, "--tlayers", 1)


@pytest.fixture(scope="module")
def finished(series, tmp_path_factory):
    out = tmp_path_factory.mktemp("tilt")
    words = ("train_vae", series, "-o", out, "-n", 1, *VAE, *OF_4, "--tdim", 10)
    assert main([str(word) for word in words]) == 0
    return Finished(out)


class TestEncoderOfCryodrgn4:
    """--encode-mode tilt on tilt series."""

    def test_config_and_weights_are_laid_out_as_there(self, finished):
        model, data = finished.config["model_args"], finished.config["dataset_args"]
        assert (model["encode_mode"], data["ntilts"]) == ("tilt", 3)
        expected = {"ntilts": 3, "t_emb_dim": 6, "tlayers": 1, "tdim": 10}
        assert model["tilt_params"] == expected
        assert finished.shapes["encoder.encoder1.main.4.weight"] == (6, 16)
        assert finished.shapes["encoder.encoder2.main.0.weight"] == (10, 18)

    def test_a_trained_model_reads_the_best_tilts_of_all(self, finished, series, run, tmp_path):
        run("eval_images", series, finished.path / "weights.pkl", "-o", tmp_path / "e.pkl")
        found = load_latents(tmp_path / "e.pkl")
        np.testing.assert_allclose(found, finished.latents, atol=1e-5)

    def test_particles_of_fewer_tilts_are_counted_and_refused(self, series, fail, tmp_path):
        blocks = starfile.read(series)
        blocks["particles"] = blocks["particles"].drop(index=[0, 1, 2, 7, 8, 9])
        path = series.parent / "fewer.star"
        starfile.write(blocks, path, overwrite=True)
        words = ("train_vae", path, *VAE, *OF_4[:2], "--ntilts", 3, "-o", tmp_path / "x")
        said = fail(*words)
        assert "reads 3 tilts of every particle, but 2 of 50" in said
        assert "the fewest 2" in said
        assert not (tmp_path / "x").exists()

    def test_single_images_are_refused(self, series, fail, tmp_path):
        words = ("--encode-mode", "tilt", "--qlayers", 3, "--single-images", "-o", tmp_path)
        said = fail("train_vae", series, "--zdim", 2, *words)
        assert "--encode-mode tilt needs the second images of the tilt pairs" in said


def test_the_plan_counts_images(series, run, caplog, tmp_path):
    run("train_nn", series, *SMALL_NN, *FIXED, "-n", 1, "-o", tmp_path)
    plan = f"plan: {PARTICLES} particles, {PARTICLES * TILTS} images of 16 px, 1 epoch"
    assert plan in caplog.text


def test_auto_decoders_learn_a_latent_of_every_particle(series, run, tmp_path):
    words = (*SMALL_NN, *FIXED, "--zdim", 2, "--random-tilts", "--ntilts", 2)
    run("train_dec", series, *words, "-n", 1, "-o", tmp_path)
    assert Finished(tmp_path).latents.shape == (PARTICLES, 2)


def test_a_linear_run_goes_from_tilt_series_to_states_and_pages(series, run, tmp_path):
    linear, states = tmp_path / "linear", tmp_path / "states"
    run("train_linear", series, "--components", 1, "--radius", 5, "-o", linear)
    mean, log_variance = load_pickles(linear / "z.pkl")
    assert mean.shape == log_variance.shape == (PARTICLES, 1)
    labels = np.load(series.parent / "labels.npy")
    # Two states 90° apart: the first coordinate tells them.
    assert abs(np.corrcoef(mean[:, 0], labels)[0, 1]) > 0.8
    run("reconstruct_states", linear, "--num-states", 2, "-o", states)
    assert len(list(states.glob("state_00?.mrc"))) == 2
    run("conformational_density", linear, "--dims", 1, "-o", tmp_path / "density")
    run("analyze", linear, -1, "--skip-vol", "--skip-umap")
    assert (linear / "analyze" / "report.html").is_file()
    run("eval_images", series, linear / "weights.pkl", "-o", tmp_path / "e.pkl")
    np.testing.assert_allclose(load_latents(tmp_path / "e.pkl"), mean, atol=1e-3)
    still = (*SMALL_VAE, *FIXED, "-n", 1, "--lr", 1e-12)
    run("train_vae", series, "--from", linear, *still, "-o", tmp_path / "network")
    found = Finished(tmp_path / "network").config["training"]["settings"]["training"]["kl"]
    assert found["beta"] == pytest.approx(2 / TILTS)


def test_a_selection_is_of_particles(series, run, write_pickle, tmp_path):
    index = write_pickle(np.array([3, 5, 11]), "index.pkl")
    particles = open_particles(ParticleFiles(particles=series, indices=index))
    assert len(particles) == 3
    assert len(particles.images) == 3 * TILTS
    run("train_vae", series, "--ind", index, *VAE, "-n", 1, "-o", tmp_path / "run")
    assert Finished(tmp_path / "run").latents.shape == (3, 2)


def test_tilts_are_not_drawn_from_single_images(series, fail, tmp_path):
    said = fail(
        "train_vae", series, "--single-images", "--zdim", 2, "--random-tilts", "-o", tmp_path
    )
    assert "--random-tilts is for tilt series" in said


def test_an_encoder_of_one_image_says_which_one_it_reads(series, run, caplog, tmp_path):
    run("train_vae", series, *VAE, "--encode-mode", "mlp", "-n", 1, "-o", tmp_path)
    assert "`encode_mode` mlp reads the image of the smallest dose" in caplog.text
