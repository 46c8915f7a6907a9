"""Meanings that differ between cryoDRGN 0.2 and 4.x, switched together by --compat."""

import numpy as np
import pytest

from cryodrgn import compat
from cryodrgn.cli import tools
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_pickles, save_latents, save_pickles
from cryodrgn.io.latent_text import load_index_text, load_latent_text
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.run_config import load_run_config
from cryodrgn.jobs.train_vae import TrainVae
from cryodrgn.jobs.training import data_config

TRAIN = ("--zdim", 2, "-n", 2, "--qdim", 8, "--pdim", 8)
NEW = ("--compat", "4")


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    folder = tmp_path_factory.mktemp("particles")
    line = f"simulate -D 16 --Apix 12 -n 24 --num-states 2 --snr 5 -o {folder}"
    assert main(line.split()) == 0
    return folder / "particles.star"


@pytest.fixture(scope="module")
def trained(star):
    """A run under the meanings of 4.x, with an analysis."""
    out = star.parent / "run"
    line = ["train_vae", star, "-o", out, *TRAIN, *NEW]
    assert main([str(word) for word in line]) == 0
    assert (
        main(["analyze", str(out), "2", "--ksample", "2", "--n-per-pc", "2", "--skip-umap"])
        == 0
    )
    return out


def test_training_inverts_windows_and_counts_epochs_from_1(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"weights.1.pkl", "weights.2.pkl", "z.1.pkl", "z.2.pkl", "weights.pkl"} < names
    assert not {"weights.0.pkl", "z.0.pkl"} & names
    config = load_run_config(trained / "config.yaml")
    assert config["training"]["compat"] == "4"
    assert config["dataset_args"]["invert_data"]
    assert config["dataset_args"]["window_r"] == 0.85


def test_volumes_of_such_a_run_count_from_1_as_do_their_captions(trained):
    for folder in (trained / "analyze.2/pc1", trained / "analyze.2/kmeans2"):
        assert {path.name for path in folder.glob("vol_*.mrc")} == {
            "vol_001.mrc",
            "vol_002.mrc",
        }
    record = (trained / "analyze.2/analysis.yaml").read_text()
    assert "1: PC1 =" in record
    assert "0: PC1 =" not in record
    labels = load_pickles(trained / "analyze.2/kmeans2/labels.pkl")[0]
    assert set(labels.tolist()) == {0, 1}


def test_a_run_goes_on_as_it_began_whatever_the_environment_says(run, trained):
    before = {path.name for path in trained.glob("weights.*")}
    run("train_vae", "-o", trained, "--load", "latest", "-n", 3)
    assert {path.name for path in trained.glob("weights.*")} - before == {"weights.3.pkl"}


def test_what_is_said_on_the_command_line_counts(star, capfd, monkeypatch):
    monkeypatch.setenv(compat.VARIABLE, "4")
    words = [star, star.parent / "plain", "--uninvert-data", "--no-window"]
    line = ["train_vae", words[0], "-o", *words[1:], *TRAIN]
    assert main([str(word) for word in line]) == 0
    config = load_run_config(star.parent / "plain/config.yaml")
    assert not config["dataset_args"]["invert_data"]
    assert not config["dataset_args"]["window"]
    assert capfd.readouterr().err.count("meanings of cryoDRGN 4 hold") == 1


@pytest.mark.parametrize(("version", "inverted"), [("0.2", False), ("4", True)])
def test_functions_of_python_follow_the_environment(star, monkeypatch, version, inverted):
    monkeypatch.setenv(compat.VARIABLE, version)
    job = TrainVae.with_given({"particles": star, "outdir": star.parent / "none", "zdim": 2})
    data = data_config(job, star)
    assert (data.invert, data.window_radius is not None) == (inverted, inverted)


def test_a_backprojection_is_the_negative(run, star, tmp_path):
    run("backproject_voxel", star, "-o", tmp_path / "a")
    run("backproject_voxel", star, "-o", tmp_path / "b", *NEW)
    maps = [read_volume(tmp_path / name / "backproject.mrc")[0] for name in "ab"]
    np.testing.assert_array_equal(maps[0], -maps[1])


def test_o_of_graph_traversal_names_the_z_values(run, tmp_path, rng):
    latents = rng.normal(size=(40, 2)).astype(np.float32)
    save_latents(tmp_path / "z.pkl", latents, latents)
    line = ("graph_traversal", tmp_path / "z.pkl", "--anchors", 1, 2, "--avg-neighbors", 9)
    out, indices = tmp_path / "out.txt", tmp_path / "ind.txt"
    run(*line, *NEW, "-o", out, "--outind", indices)
    nodes = load_index_text(indices)
    np.testing.assert_allclose(load_latent_text(out, 2), latents[nodes], rtol=1e-6)
    run(*line, "-o", out, "--out-z", tmp_path / "z.txt")
    np.testing.assert_array_equal(load_index_text(out), nodes)


def test_clusters_are_counted_from_1(tool, tmp_path):
    save_pickles(tmp_path / "labels.pkl", [np.array([0, 1, 2, 1])])
    line = ("select_clusters", tmp_path / "labels.pkl", "-o", tmp_path / "i.pkl", "--sel", 2)
    tool(*line)
    assert load_pickles(tmp_path / "i.pkl")[0].tolist() == [2]
    tool(*line, *NEW)
    assert load_pickles(tmp_path / "i.pkl")[0].tolist() == [1, 3]


def test_clusters_that_are_not_there_are_named_as_they_count(tmp_path, capsys):
    save_pickles(tmp_path / "labels.pkl", [np.array([0, 1, 2, 1])])
    line = ["select_clusters", str(tmp_path / "labels.pkl"), "-o", str(tmp_path / "i.pkl")]
    for options, last in (((), 2), (NEW, 3)):
        assert tools.main([*line, *options, "--sel", "0", "4"]) == 2
        missing = 0 if options else 4
        found = f"no particle is in cluster {missing}; the labels run from {last - 2} to {last}"
        assert found in capsys.readouterr().err


@pytest.mark.parametrize("command", ["select -o i.pkl", "filter"])
def test_clusters_that_count_from_0_all_the_same_are_said_to(command, tmp_path, capsys):
    assert main([*command.split(), *NEW, str(tmp_path / "nowhere"), "--clusters", "1"]) == 2
    assert "but here --clusters count from 0" in capsys.readouterr().err


def test_another_version_is_refused(fail, star, monkeypatch, tmp_path):
    monkeypatch.setenv(compat.VARIABLE, "5")
    said = fail("backproject_voxel", star, "-o", tmp_path)
    assert said.endswith("CRYODRGN_COMPAT is '5', expected 0.2 or 4\n")
