"""A run remembers where its stacks were, and looks there first."""

import shutil

import numpy as np
import pytest
import yaml

from cryodrgn.cli.main import main
from cryodrgn.errors import InputFileError
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.locate import locate_stacks
from cryodrgn.io.run_config import load_run_config, parent_indices
from cryodrgn.runs.run import open_run


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A run on stacks in the folder of a project, and others of the same name elsewhere."""
    sim, project = tmp_path / "sim", tmp_path / "project"
    line = f"simulate -D 16 --Apix 12 -n 16 --num-states 2 --snr 5 -o {sim}"
    assert main(line.split()) == 0
    (project / "job").mkdir(parents=True)
    (project / "stacks").mkdir()
    shutil.copy(sim / "particles.mrcs", project / "stacks")
    text = (sim / "particles.star").read_text()
    (project / "job/particles.star").write_text(text.replace("@particles", "@stacks/particles"))
    monkeypatch.chdir(project)
    words = "train_vae job/particles.star -o run --zdim 2 -n 1 --qdim 8 --pdim 8"
    assert main(words.split()) == 0
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "stacks").mkdir(parents=True)
    shutil.copy(sim / "particles.mrcs", elsewhere / "stacks")
    monkeypatch.chdir(elsewhere)
    return project


def test_the_config_holds_the_folders(project):
    config = load_run_config(project / "run/config.yaml")
    assert config["dataset_args"]["stack_folders"] == [str(project / "stacks")]


def test_commands_on_the_run_ask_for_no_datadir(project, run):
    star, out = project / "job/particles.star", project / "run"
    with pytest.raises(InputFileError, match="could be"):
        locate_stacks(["stacks/particles.mrcs"], star)
    run("train_vae", "-o", out, "--load", "latest", "-n", 2)
    run(
        "train_vae",
        star,
        "-o",
        out,
        "--load",
        "latest",
        "-n",
        3,
        "--zdim",
        2,
        "--qdim",
        8,
        "--pdim",
        8,
    )
    run("analyze", out, "last", "--skip-vol", "--skip-umap", "--ksample", 3)
    run("eval_images", star, out / "weights.pkl", "-o", project / "z.pkl")
    assert (out / "analyze/view_directions.png").is_file()
    assert open_run(out).particles().images.pixels.paths == [project / "stacks/particles.mrcs"]


def test_stacks_that_have_moved_are_looked_for_and_named(project, run, monkeypatch, caplog):
    monkeypatch.chdir(project)
    (project / "stacks").rename(project / "job/stacks")
    run("train_vae", "-o", project / "run", "--load", "latest", "-n", 2)
    there = project / "job/stacks/particles.mrcs"
    said = f"particles.mrcs is no more where the run found it ({project}/stacks): {there}"
    assert caplog.text.count(said) == 1
    caplog.clear()
    # From then on they are where the run found them last.
    run("train_vae", "-o", project / "run", "--load", "latest", "-n", 3)
    assert "is no more" not in caplog.text


def test_a_run_goes_on_with_stacks_in_a_folder_that_is_named(project, run):
    (project / "stacks").rename(project / "moved")
    words = ("train_vae", "-o", project / "run", "--load", "latest", "--datadir")
    run(*words, project / "moved", "-n", 2)
    whole = ("--zdim", 2, "--qdim", 8, "--pdim", 8, "-n", 3)
    run(*words, project / "moved", project / "job/particles.star", *whole)
    assert open_run(project / "run").particles().images.pixels.paths == [
        project / "moved/particles.mrcs"
    ]


def test_a_file_that_is_gone_is_said_to_be_the_runs_and_may_be_named_anew(project, run, fail):
    star, out = project / "job/particles.star", project / "run"
    renamed = star.rename(project / "job/renamed.star")
    words = ("train_vae", "-o", out, "--load", "latest", "-n", 2)
    message = fail(*words)
    assert f"({out}/config.yaml names it as particles of the run)" in message
    assert "give their new place with the argument PARTICLES, or put it back" in message
    with pytest.raises(InputFileError, match=r"config.yaml names it as particles of the run"):
        open_run(out).particles()
    few = project / "job/few.star"
    few.write_text("\n".join(renamed.read_text().rstrip().split("\n")[:-1]) + "\n")
    assert "begun with 16 particles, but its files hold 15 now" in fail(*words, few)
    run(*words, renamed)
    assert len(open_run(out).particles()) == 16


def test_a_run_that_was_moved_has_its_kept_rows_with_it(project, run):
    out, moved = project / "run", project / "moved"
    config = yaml.safe_load((out / "config.yaml").read_text())
    for files in (config["dataset_args"], config["training"]["settings"]["data"]["files"]):
        files["ind" if "ind" in files else "indices"] = str(out / "screened_ind.pkl")
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    save_pickles(out / "screened_ind.pkl", [np.arange(16)])
    out.rename(moved)
    assert open_run(moved).original_rows(16).tolist() == list(range(16))
    assert parent_indices(moved) == moved / "screened_ind.pkl"
    # Where it was, another run may have begun since.
    out.mkdir()
    save_pickles(out / "screened_ind.pkl", [np.arange(16)[::-1]])
    assert open_run(moved).original_rows(16).tolist() == list(range(16))
    assert parent_indices(moved) == moved / "screened_ind.pkl"
    run("train_vae", "-o", moved, "--load", "latest", "-n", 2)
    assert load_run_config(moved / "config.yaml")["dataset_args"]["ind"].startswith(str(moved))


def test_of_several_folders_the_one_that_ends_like_the_name_is_taken(tmp_path):
    folders = [tmp_path / "a/one", tmp_path / "b/two"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "s.mrcs").touch()
    names = ["two/s.mrcs", "a/one/s.mrcs"]
    found = locate_stacks(names, tmp_path / "p.star", known=folders)
    assert [found[name] for name in names] == [folders[1] / "s.mrcs", folders[0] / "s.mrcs"]
