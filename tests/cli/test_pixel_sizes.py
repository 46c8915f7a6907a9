"""Sets of several pixel sizes are refused by all that reconstruct, and can be divided."""

import json
import re

import numpy as np
import pytest

from cryodrgn.cli import tools
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_array, save_pickles
from cryodrgn.io.cryosparc_tables import write_table
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.selection_files import load_indices

COUNT, BOX = 24, 16
FEW = np.arange(COUNT) % 3 == 0
FOUND = "mixes images of 12 Å/px (16 images) and 10 Å/px (8 images), which would need one pixel"


def command(words: str, *more: object) -> int:
    return main([*words.split(), *map(str, more)])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A set of one pixel size, a model of it, and the same set with two, in all formats."""
    folder = tmp_path_factory.mktemp("mixed")
    assert command(f"simulate -D {BOX} --Apix 12 -n {COUNT} --num-states 1 -o", folder) == 0
    star = folder / "particles.star"
    training = f"train_vae {star} --zdim 1 -n 1 --qdim 8 --pdim 8 -o"
    assert command(training, folder / "run") == 0
    ctf = load_array(folder / "ctf.pkl").copy()
    ctf[FEW, 1] = 10
    save_pickles(folder / "mixed.pkl", [ctf])
    stack, poses = str(folder / "particles.mrcs"), str(folder / "poses.pkl")
    words = ["write_star", stack, "--poses", poses, "--ctf", str(folder / "mixed.pkl")]
    assert tools.main([*words, "-o", str(folder / "mixed.star")]) == 0
    table = np.zeros(
        COUNT,
        [
            ("uid", "u8"),
            ("blob/path", "S20"),
            ("blob/idx", "u4"),
            ("blob/psize_A", "f4"),
            ("alignments3D/pose", "f4", (3,)),
            ("alignments3D/shift", "f4", (2,)),
        ],
    )
    table["uid"] = table["blob/idx"] = np.arange(COUNT)
    table["blob/path"], table["blob/psize_A"] = b"particles.mrcs", np.where(FEW, 10, 12)
    write_table(folder / "mixed.cs", table)
    whole = open_particles(ParticleFiles(particles=folder / "particles.mrcs"))
    for name, size, rows in (("large", 12.0, ~FEW), ("small", 10.0, FEW)):
        with stack_writer(folder / f"{name}.mrcs", BOX, size) as writer:
            writer.append(whole.images.read(np.flatnonzero(rows)))
    (folder / "mixed.txt").write_text("large.mrcs\nsmall.mrcs\n")
    return folder


COMMANDS = {
    "backproject_voxel": "{0}/mixed.star -o {0}/out/x.mrc",
    "train_nn": "{0}/mixed.star -n 1 -o {0}/out",
    "train_vae": "{0}/mixed.star --zdim 1 -n 1 -o {0}/out",
    "train_dec": "{0}/mixed.star --zdim 1 -n 1 -o {0}/out",
    "abinit_homo": "{0}/mixed.star -n 1 -o {0}/out",
    "abinit_het": "{0}/mixed.star --zdim 1 -n 1 -o {0}/out",
    "abinit": "{0}/mixed.star --zdim 1 -n 1 -o {0}/out",
    "train_linear": "{0}/mixed.star -o {0}/out",
    "reconstruct_states": "--particles {0}/mixed.star --latents {0}/run/z.pkl -o {0}/out",
    "eval_images": "{0}/mixed.star {0}/run/weights.pkl -c {0}/run/config.yaml -o {0}/out/z.pkl",
    "nuisance": "{0}/mixed.star {0}/run/z.pkl -o {0}/out",
    "run": "{0}/mixed.star -o {0}/out",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_reconstructs_refuses_them(files, fail, name):
    message = fail(name, *COMMANDS[name].format(files).split())
    assert f"mixed.star {FOUND}" in message
    assert "cryodrgn select --particles FILE --pixel-size Å" in message
    assert not (files / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        "{0}/particles.mrcs --poses {0}/poses.pkl --ctf {0}/mixed.pkl",
        "{0}/mixed.cs",
        "{0}/mixed.txt --poses {0}/poses.pkl",
    ],
)
def test_they_are_found_in_every_kind_of_file(files, fail, line):
    words = line.format(files).split()
    assert FOUND in fail("backproject_voxel", *words, "-o", files / "out/x.mrc")


def test_phase_flipping_refuses_them_because_a_header_holds_one(files, fail_tool):
    words = ("phase_flip", files / "particles.mrcs", files / "mixed.pkl")
    message = fail_tool(*words, "-o", files / "out.mrcs")
    assert f"mixed.pkl {FOUND}" in message
    assert "filter_mrcs and filter_pkl" in message


def test_a_check_names_them_and_judges_the_most_frequent(files, fail, tmp_path):
    message = fail("check", files / "mixed.star", "-o", tmp_path / "out")
    assert "The file mixes images of 12 Å/px (16 images) and 10 Å/px (8 images)" in message
    found = json.loads((tmp_path / "out/check.json").read_text())
    assert not found["passed"]
    assert found["found"]["pixel size"] == "12 Å/px (16 images) and 10 Å/px (8 images)"
    assert (tmp_path / "out/map.mrc").is_file()


@pytest.mark.parametrize(("size", "rows"), [("12", ~FEW), ("10.001", FEW)])
@pytest.mark.parametrize(
    "line", ["{0}/mixed.star", "{0}/mixed.cs", "{0}/particles.mrcs --ctf {0}/mixed.pkl"]
)
def test_what_the_message_says_to_do_works(files, run, tmp_path, size, rows, line):
    chosen = tmp_path / "one.pkl"
    words = line.format(files).split()
    run("select", "--particles", *words, "--pixel-size", size, "-o", chosen)
    np.testing.assert_array_equal(load_indices(chosen), np.flatnonzero(rows))
    poses = ("--poses", files / "poses.pkl")
    run("backproject_voxel", *words, *poses, "--ind", chosen, "-o", tmp_path / "x.mrc")
    assert re.search(r"^0\.", (tmp_path / "x_fsc.txt").read_text(), re.MULTILINE)


def test_a_pixel_size_that_the_file_lacks_is_refused(files, fail, tmp_path):
    words = ("select", "--particles", files / "mixed.star", "-o", tmp_path / "x.pkl")
    message = fail(*words, "--pixel-size", 11)
    assert "has no images of --pixel-size 11, but 12 Å/px (16 images) and 10 Å/px" in message
    message = fail("select", "--num-original", 9, "--pixel-size", 11, "-o", tmp_path / "x.pkl")
    assert "needs --particles" in message


def test_stacks_of_two_box_sizes_are_refused(files, fail, tmp_path):
    with stack_writer(tmp_path / "b.mrcs", 8, 12.0) as writer:
        writer.append(np.ones((2, 8, 8), np.float32))
    (tmp_path / "two.txt").write_text(f"{files / 'particles.mrcs'}\nb.mrcs\n")
    message = fail("backproject_voxel", tmp_path / "two.txt", "-o", tmp_path / "x.mrc")
    assert "b.mrcs has images of 8 × 8 pixels, expected squares of 16" in message
