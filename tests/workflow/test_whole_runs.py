"""Whole runs as the page types them, on sets with junk, with poses that err, of tilt series."""

import json

import numpy as np
import pytest
import torch

from cryodrgn.geometry.rotations import rotation_distance, rotation_from_vector
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles, load_poses, save_pickles
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.run_config import load_run_config
from cryodrgn.linear.latents import recorded_data
from cryodrgn.rundir import WholeRunFiles
from pages import lines_of

# The networks and the length of training say nothing here.
SHORT = ("--zdim", 2, "--qdim", 16, "--pdim", 16, "-n", 1, "--held-out", 0)
COUNT, JUNK = 800, np.arange(0, 800, 20)


def spoil(folder, box_size, pixel_size):
    """Replace every twentieth image by noise."""
    path = folder / "particles.mrcs"
    images = ImageStack.whole_files([path]).read(np.arange(COUNT))
    noise = np.random.default_rng(8).normal(scale=(2 / 3) ** 0.5, size=images[JUNK].shape)
    images[JUNK] = noise * images.std()
    with stack_writer(folder / "spoilt.mrcs", box_size, pixel_size) as writer:
        writer.append(images.astype(np.float32))
    (folder / "spoilt.mrcs").replace(path)


@pytest.mark.slow
def test_lines_of_the_page_end_in_a_report(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("-D", 16, "--Apix", 12, "-n", 120, "--num-states", 3, "--snr", 3)
    run("simulate", *words, "-o", tmp_path)
    (tmp_path / "run_data.star").symlink_to("particles.star")
    plain, quick = lines_of("docs/run.md")
    plain.run()
    quick.run({"pose.pkl": "poses.pkl", "00_run": "01_run"})
    for folder in ("00_run", "01_run"):
        assert WholeRunFiles(tmp_path / folder).report.is_file()


@pytest.mark.slow
def test_rounds_end_when_no_more_junk_is_found_and_training_goes_on_without(run, tmp_path):
    words = ("-D", 24, "--Apix", 8, "-n", COUNT, "--num-states", 6, "--snr", 0.5)
    run("simulate", *words, "-o", tmp_path)
    spoil(tmp_path, 24, 8.0)
    files = WholeRunFiles(tmp_path / "out")
    line = ("run", tmp_path / "particles.star", "-o", files.path, "--rounds", 4, *SHORT)
    said = run(*line)
    assert "no more than by chance: nothing else is left out" in said
    last = max(number for number in range(1, 5) if files.linear_round(number).path.exists())
    assert 2 <= last < 4
    good = load_pickles(files.linear_round(last).judged.good)[0]
    trained = recorded_data(load_run_config(files.training.config_yaml)).open()
    rows = trained.original_rows
    assert len(np.intersect1d(rows, JUNK)) <= 2
    assert len(rows) >= COUNT - len(JUNK) - 10
    assert set(good) <= set(rows)
    assert len(load_latents(files.training.latents())) == len(rows)
    steps = json.loads(files.manifest.read_text())["steps"]
    assert [name for name in steps if name.startswith("linear")][-1] == f"linear {last}"
    assert "$ cryodrgn" not in run(*line)


@pytest.mark.slow
def test_poses_that_err_are_corrected_and_trained_with(run, tmp_path):
    words = ("-D", 48, "--Apix", 4, "-n", 1000, "--num-states", 1, "--snr", 1)
    run("simulate", *words, "-o", tmp_path)
    truth, shifts = load_poses(tmp_path / "poses.pkl")
    rng = np.random.default_rng(3)
    turns = np.deg2rad(1.5) * rng.normal(size=(len(truth), 3)) / 3**0.5
    wrong = rotation_from_vector(torch.from_numpy(turns).float()).numpy() @ truth
    moved = shifts + rng.normal(size=shifts.shape) * 0.3 / 48
    save_pickles(tmp_path / "wrong.pkl", [(wrong, moved.astype(np.float32))])
    files = WholeRunFiles(tmp_path / "out")
    poses = ("--poses", tmp_path / "wrong.pkl")
    said = run("run", tmp_path / "particles.star", *poses, "-o", files.path, *SHORT, "-D", 48)
    assert "the network goes on with the corrected poses" in said
    config = load_run_config(files.training.config_yaml)
    assert config["dataset_args"]["poses"] == str(files.linear.poses())
    # Nuisances are looked for in what the network saw.
    (line,) = (line for line in said.splitlines() if " nuisance " in line)
    assert f"--poses {files.linear.poses()}" in line
    found, places = load_poses(files.linear.poses())

    def error(rotations):
        pair = (torch.from_numpy(part) for part in (rotations, truth))
        return float(rotation_distance(*pair).square().mean().sqrt())

    assert error(found) < 0.9 * error(wrong)
    # One round; 0.75 here.
    assert np.abs(places - shifts).mean() < 0.85 * np.abs(moved - shifts).mean()


@pytest.mark.slow
def test_a_tilt_series_becomes_a_report(run, tmp_path):
    words = ("-D", 16, "--Apix", 12, "-n", 240, "--num-states", 4, "--snr", 1)
    run("simulate", *words, "--tilt-series", "--tilt-step", 20, "-o", tmp_path)
    files = WholeRunFiles(tmp_path / "out")
    said = run("run", tmp_path / "particles.star", "-o", files.path, *SHORT)
    assert "those of particles of several images are not corrected" in said
    assert files.report.is_file()
    assert len(load_latents(files.training.latents())) == 240
