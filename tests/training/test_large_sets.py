"""Sets larger than memory, and images larger than the box of the training."""

import numpy as np
import pytest

from cryodrgn.data import batches
from finished_run import SMALL_VAE, Finished

COUNT = 70


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("simulated")
    line = f"simulate -D 16 --Apix 12 -n {COUNT} --num-states 2 --snr 1 -o {folder}"
    assert main(line.split()) == 0
    return folder


@pytest.fixture
def small_buffers(monkeypatch):
    """Buffers of about sixteen images."""
    monkeypatch.setattr(batches, "BLOCK_BYTES", 4 * 784)
    monkeypatch.setattr(batches, "BUFFER_BYTES", 16 * 784)


@pytest.fixture
def trained(run, simulated, tmp_path):
    def train(name, *options, particles=simulated / "particles.star"):
        line = ("train_vae", particles, "--zdim", 2, "-n", 2, "-b", 6, *SMALL_VAE)
        words = run(*line, "--precision", "float32", *options, "-o", tmp_path / name)
        return Finished(tmp_path / name), words

    return train


def test_a_streamed_run_is_the_run_in_memory(small_buffers, trained):
    in_memory, words = trained("a")
    assert "in memory" in words
    streamed, words = trained("b", "--memory", 1e-9)
    assert "in a scratch file" in words
    assert streamed.has_the_weights_of(in_memory)
    np.testing.assert_array_equal(streamed.latents, in_memory.latents)


def test_selections_stream_too(small_buffers, trained, write_pickle):
    ind = ("--ind", write_pickle(np.arange(1, COUNT, 2), "ind.pkl"))
    in_memory, _ = trained("a", *ind)
    streamed, _ = trained("b", *ind, "--memory", 1e-9)
    assert len(streamed.latents) == COUNT // 2
    assert streamed.has_the_weights_of(in_memory)


def test_a_cache_is_made_once_and_used_again(small_buffers, trained, tmp_path):
    cache = ("--cache-dir", tmp_path / "cache")
    first, words = trained("a", *cache)
    assert "preparing images" not in words
    (path,) = (tmp_path / "cache").iterdir()
    written = path.stat().st_mtime_ns
    _, words = trained("b", *cache, "--seed", 5, "--lr", 1e-3)
    assert "using the images prepared before" in words
    assert path.stat().st_mtime_ns == written
    assert trained("c")[0].has_the_weights_of(first)


def test_other_images_do_not_use_the_cache(trained, simulated, tmp_path):
    cache = ("--cache-dir", tmp_path / "cache")
    trained("a", *cache)
    trained("b", *cache, "--invert-data")
    trained("c", *cache, "--window")
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_cropping_on_the_fly_is_training_on_downsampled_images(
    run, trained, simulated, tmp_path
):
    run("downsample", simulated / "particles.mrcs", "-D", 12, "-o", tmp_path / "small.mrcs")
    pickles = ("--poses", simulated / "poses.pkl", "--ctf", simulated / "ctf.pkl")
    expected, _ = trained("a", *pickles, "--enc-mask", 5, particles=tmp_path / "small.mrcs")
    found, _ = trained("b", "-D", 12, "--enc-mask", 5)
    assert found.config["lattice_args"]["D"] == 13
    assert found.config["training"]["pixel_size"] == pytest.approx(16)
    # They differ in the corners of the spectrum's edge, where downsampling takes a mean.
    np.testing.assert_allclose(found.latents, expected.latents, atol=0.02)
    assert found.latents.std() > 0.1


def test_images_are_cropped_for_a_model_of_a_smaller_box(run, trained, simulated, tmp_path):
    found, _ = trained("a", "-D", 12)
    out = ("-o", tmp_path / "out.pkl", "--out-z", tmp_path / "z.pkl")
    run("eval_images", simulated / "particles.star", found.path / "weights.pkl", *out)
    from cryodrgn.io.cryodrgn_pickle import load_latents

    np.testing.assert_allclose(load_latents(tmp_path / "z.pkl"), found.latents, atol=1e-4)


@pytest.mark.parametrize(("box", "words"), [(11, "-D must be even"), (18, "box size")])
def test_an_impossible_crop_is_refused(fail, simulated, tmp_path, box, words):
    line = ("train_vae", simulated / "particles.star", "--zdim", 1, "-D", box)
    assert words in fail(*line, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tilt_pairs_are_cropped_together(trained, simulated):
    tilt = ("--tilt", simulated / "particles.mrcs", "--qlayers", 3)
    found, _ = trained("a", *tilt, "-D", 12)
    assert found.config["lattice_args"]["D"] == 13
