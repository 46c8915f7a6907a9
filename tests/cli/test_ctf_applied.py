"""Images that were corrected for their CTF, in files that do not say so."""

import numpy as np
import pytest

from cryodrgn.cli import tools
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.star import read_star
from cryodrgn.linear.latents import recorded_data
from cryodrgn.particles.optics import CORRECTIONS
from cryodrgn.runs.run import open_run
from finished_run import SMALL_VAE

COLUMNS = {
    "flipped": "rlnCtfDataArePhaseFlipped",
    "multiplied": "rlnCtfDataAreCtfPremultiplied",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("applied")
    assert main(f"simulate -D 32 --Apix 6 -n 30 --num-states 1 -o {folder}".split()) == 0
    for state in COLUMNS:
        line = f"write_star {folder}/particles.star --ctf-applied {state} -o {folder}/{state}"
        assert tools.main(f"{line}.star".split()) == 0
    return folder


@pytest.fixture
def stack(folder):
    """The bare stack with its pickles."""
    tables = ("--poses", folder / "poses.pkl", "--ctf", folder / "ctf.pkl")
    return (folder / "particles.mrcs", *tables)


def made(run, out, *words):
    run("backproject_voxel", *words, "-o", out)
    return read_volume(out)[0]


@pytest.mark.parametrize("state", COLUMNS)
def test_an_option_says_what_a_column_says(run, tool, folder, stack, tmp_path, state):
    star = read_star(folder / f"{state}.star")["optics"]
    assert set(star.text(COLUMNS[state])) == {"1"}
    said = made(run, tmp_path / "star.mrc", folder / f"{state}.star")
    option = ("--ctf-applied", state)
    # A .star file holds angles and defocus as text.
    same = {"atol": 1e-5 * np.abs(said).max()}
    np.testing.assert_allclose(made(run, tmp_path / "a.mrc", *stack, *option), said, **same)
    tool("write_cs", folder / f"{state}.star", "-o", tmp_path / "x.cs", "--full-path")
    found = made(run, tmp_path / "cs.mrc", tmp_path / "x.cs", *option)
    np.testing.assert_allclose(found, said, atol=1e-3 * np.abs(said).max())
    plain = made(run, tmp_path / "b.mrc", tmp_path / "x.cs")
    assert np.abs(plain - said).max() > 0.02 * np.abs(said).max()


def test_a_cryosparc_file_is_said_not_to_hold_it(folder, tmp_path, capsys):
    words = ["write_cs", str(folder / "flipped.star"), "-o", str(tmp_path / "x.cs")]
    assert tools.main(words) == 0
    assert "give every command on it --ctf-applied" in capsys.readouterr().err


def test_the_option_overrules_a_file_and_says_so(run, folder, tmp_path, capsys):
    words = ["backproject_voxel", str(folder / "flipped.star"), "--ctf-applied", "none"]
    assert main([*words, "-o", str(tmp_path / "a.mrc")]) == 0
    assert "all are taken as --ctf-applied none says" in capsys.readouterr().err
    plain = made(run, tmp_path / "b.mrc", folder / "particles.star")
    found = read_volume(tmp_path / "a.mrc")[0]
    np.testing.assert_allclose(found, plain, atol=1e-5 * np.abs(plain).max())


def test_a_run_remembers_it(run, folder, stack, tmp_path):
    option, small = ("--ctf-applied", "flipped"), ("--zdim", 1, "-n", 1, "--no-amp", *SMALL_VAE)
    out = tmp_path / "run"
    run("train_vae", *stack, *option, *small, "-o", out)
    config = load_run_config(out / "config.yaml")
    assert recorded_data(config).files.correction == "flipped"
    assert (open_run(out).particles().images.ctf.correction == CORRECTIONS["flipped"]).all()
    said = run("eval_images", *stack, out / "weights.pkl", "-o", tmp_path / "e.pkl")
    assert "--ctf-applied flipped" in said
    latents = load_pickles(tmp_path / "e.pkl")[0]
    np.testing.assert_allclose(latents, load_latents(out / "z.pkl"), atol=1e-5)
    run("train_vae", "-o", out, "--load", "latest", "-n", 2)


def test_without_a_ctf_it_says_nothing(fail, folder, tmp_path):
    words = (folder / "particles.mrcs", "--poses", folder / "poses.pkl")
    said = fail(
        "backproject_voxel", *words, "--ctf-applied", "flipped", "-o", tmp_path / "x.mrc"
    )
    assert "has no CTF parameters" in said
    assert "give them with --ctf" in said
    assert not list(tmp_path.iterdir())


def test_images_that_are_evaluated_without_a_ctf_are_said_to_be(run, folder, stack, tmp_path):
    weights = tmp_path / "run/weights.pkl"
    small = ("--zdim", 1, *SMALL_VAE, "-n", 1)
    run("train_vae", folder / "particles.star", *small, "-o", tmp_path / "run")
    words = ("eval_images", stack[0], weights, "--poses", folder / "poses.pkl")
    said = run(*words, "-o", tmp_path / "e.pkl")
    assert "comes without CTF parameters: its images are taken to carry no CTF" in said
    said = run(*words, "--ctf", folder / "ctf.pkl", "-o", tmp_path / "f.pkl")
    assert "comes without CTF parameters" not in said
