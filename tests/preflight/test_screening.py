"""Bad images are left out by row, and everything after leads back to the original file."""

import numpy as np
import pytest

from cryodrgn.io.legacy_pickle import load_indices, load_latents, save_pickles
from cryodrgn.io.mrc import MrcFile
from cryodrgn.io.run_config import load_run_config, parent_indices
from finished_run import SMALL_VAE

COUNT = 60


@pytest.fixture
def files(tmp_path, write_stack, rng):
    """A stack with three bad images, and poses."""

    def make(*bad):
        images = rng.normal(size=(COUNT, 16, 16))
        for number, row in enumerate(bad):
            images[row] = (np.nan, 0.0)[number] if number < 2 else images[row]
            images[row, 2, 2] += 1e4 if number == 2 else 0
        save_pickles(tmp_path / "poses.pkl", [np.tile(np.eye(3), (COUNT, 1, 1))])
        return write_stack(images), "--poses", tmp_path / "poses.pkl"

    return make


TRAIN = ("--zdim", 2, "-n", 1, *SMALL_VAE)


def table(folder):
    return (folder / "screened.csv").read_text().splitlines()


def test_a_few_bad_images_are_left_out_and_their_rows_listed(run, files, tmp_path):
    out = tmp_path / "out"
    run("train_vae", *files(7, 30, 41), *TRAIN, "-o", out)
    assert table(out) == ["row,reason", "7,not finite", "30,constant", "41,hot pixels"]
    assert len(load_latents(out / "z.pkl")) == COUNT - 3
    kept = load_indices(out / "screened_ind.pkl")
    assert kept.tolist() == sorted(set(range(COUNT)) - {7, 30, 41})
    # The run knows its particles by the same rows, as with --ind.
    assert parent_indices(out) == out / "screened_ind.pkl"
    dataset = load_run_config(out / "config.yaml")["dataset_args"]
    assert dataset["ind"] == str(out / "screened_ind.pkl")
    chosen = tmp_path / "chosen.pkl"
    run("select", out, "--random", "--count", COUNT - 3, "-o", chosen)
    assert sorted(load_indices(chosen)) == kept.tolist()


def test_rows_are_those_of_the_file_whatever_was_selected_before(run, files, tmp_path):
    out, index = tmp_path / "out", tmp_path / "ind.pkl"
    line = files(7, 30, 41)
    save_pickles(index, [np.arange(10, COUNT)[::-1].copy()])
    run("train_vae", *line, *TRAIN, "--ind", index, "-o", out)
    assert table(out) == ["row,reason", "30,constant", "41,hot pixels"]
    expected = [row for row in range(COUNT - 1, 9, -1) if row not in {30, 41}]
    assert load_indices(out / "screened_ind.pkl").tolist() == expected


def test_a_run_goes_on_with_the_images_it_began_with(run, files, tmp_path):
    out, line = tmp_path / "out", files(7)
    run("train_vae", *line, *TRAIN, "-o", out)
    run("train_vae", "-o", out, "--load", "latest", "-n", 2)
    run("train_vae", *line, *TRAIN, "-n", 3, "--load", "latest", "-o", out)
    assert len(load_latents(out / "z.2.pkl")) == COUNT - 1


def test_many_bad_images_are_refused(fail, files, tmp_path, rng, write_stack):
    line = files(1, 2, 3)
    images = rng.normal(size=(COUNT, 16, 16))
    images[:4] = 0
    stack = write_stack(images, "many.mrcs")
    message = fail("train_vae", stack, *line[1:], *TRAIN, "-o", tmp_path / "out")
    assert "4 of 60 images screened cannot be used (rows 0, 1, 2, 3;" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["screened.csv"]


def test_only_some_are_looked_at_unless_all_are_asked_for(
    run, files, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("cryodrgn.preflight.screening.SAMPLE", 30)
    line = (*files(7), "-o", tmp_path / "x.mrc")
    from cryodrgn.cli.main import main

    assert main([str(word) for word in ("backproject_voxel", *line)]) == 2
    assert "leave it out with --screen all" in capsys.readouterr().err
    run("backproject_voxel", *line, "--screen", "all")
    assert table(tmp_path) == ["row,reason", "7,not finite"]


def test_downsampling_keeps_every_row(run, files, tmp_path):
    stack = files(7)[0]
    run("downsample", stack, "-D", 8, "-o", tmp_path / "out" / "x.mrcs")
    images = MrcFile.open(tmp_path / "out" / "x.mrcs").sections()
    assert len(images) == COUNT
    assert np.isnan(images[7]).all()
    assert np.isfinite(np.delete(images, 7, axis=0)).all()
    assert table(tmp_path / "out") == ["row,reason", "7,not finite"]


def test_latents_of_images_that_are_left_out_say_which(run, files, tmp_path):
    line = files(7)
    run("train_vae", *line, *TRAIN, "-o", tmp_path / "run")
    out = tmp_path / "out"
    run("eval_images", line[0], tmp_path / "run/weights.pkl", *line[1:], "-o", out / "z.pkl")
    assert len(load_latents(out / "z.pkl")) == COUNT - 1
    assert 7 not in load_indices(out / "screened_ind.pkl")
