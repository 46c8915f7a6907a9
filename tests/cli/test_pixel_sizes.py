"""Sets of several pixel sizes are reconstructed as one, and can be divided."""

import json
import re

import numpy as np
import pytest
import yaml

import cryodrgn
from cryodrgn.cli import tools
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_array, load_pickles, save_pickles
from cryodrgn.io.cryosparc_tables import write_table
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import read_volume, stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.selection_files import load_indices

COUNT, BOX = 24, 16
FEW = np.arange(COUNT) % 3 == 0
SIZES = "12 Å/px (16 images) and 10 Å/px (8 images)"
FOUND = f"holds images of {SIZES}"
MIXES = f"mixes images of {SIZES}, which would need one pixel"


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


@pytest.mark.parametrize(
    "line",
    [
        "{0}/mixed.star",
        "{0}/mixed.star --poses {0}/poses.pkl --ctf {0}/mixed.pkl",
        "{0}/particles.mrcs --poses {0}/poses.pkl --ctf {0}/mixed.pkl",
        "{0}/mixed.cs",
        "{0}/mixed.txt --poses {0}/poses.pkl",
    ],
)
def test_they_are_put_on_one_lattice_whatever_file_says_so(files, run, tmp_path, caplog, line):
    run("backproject_voxel", *line.format(files).split(), "-o", tmp_path / "x.mrc")
    assert f"{FOUND}: where they are compared or added up, all" in caplog.text
    assert "frequencies of a box of 16 px at 12 Å/px" in caplog.text
    assert read_volume(tmp_path / "x.mrc")[1] == pytest.approx(12)


def test_a_run_remembers_the_lattice(files, run, tmp_path):
    run("train_linear", files / "mixed.star", "--components", 1, "-o", tmp_path / "run")
    record = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    lattice = {"box_size": BOX, "pixel_size": 12.0, "unit_pixel_size": 12.0}
    assert record["dataset_args"]["sampling"] == lattice
    # Only those of the rarer pixel size, which alone would make a lattice of their own.
    save_pickles(tmp_path / "few.pkl", [np.flatnonzero(FEW)])
    images = (files / "mixed.star", "--ind", tmp_path / "few.pkl")
    weights = tmp_path / "run/weights.pkl"
    run("eval_images", *images, weights, "-o", tmp_path / "z.pkl")
    found, whole = (load_array(tmp_path / name) for name in ("z.pkl", "run/z.pkl"))
    np.testing.assert_allclose(found, whole[FEW], atol=1e-3)
    assert cryodrgn.open_run(tmp_path / "run").particles().images.sampling.pixel_size == 12


def test_a_model_of_one_pixel_size_refuses_images_of_several(files, fail, tmp_path):
    words = ("eval_images", files / "mixed.star", files / "run/weights.pkl")
    message = fail(*words, "-o", tmp_path / "z.pkl")
    assert f"mixed.star (unlike the model) {MIXES}" in message
    assert "cryodrgn select --particles FILE --pixel-size Å" in message


def test_phase_flipping_keeps_the_sizes_of_the_table_and_a_header_names_none(
    files, tool, tmp_path, caplog
):
    words = ("phase_flip", files / "particles.mrcs", files / "mixed.pkl")
    tool(*words, "-o", tmp_path / "out.mrcs")
    assert f"mixed.pkl gives images of {SIZES}, of which the header" in caplog.text
    assert ImageStack.whole_files([tmp_path / "out.mrcs"]).pixel_size is None


def test_a_check_names_them_and_judges_all(files, tmp_path):
    command("check", files / "mixed.star", "-o", tmp_path / "out")
    found = json.loads((tmp_path / "out/check.json").read_text())
    kinds = "12 Å/px (16 images) and 10 Å/px (8 images)"
    assert found["found"]["pixel size"] == f"{kinds}, compared at 12 Å/px"
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


def test_stacks_of_two_box_sizes_are_cut_to_the_more_frequent(files, run, tmp_path, caplog):
    with stack_writer(tmp_path / "b.mrcs", 20, 12.0) as writer:
        writer.append(np.random.default_rng(0).normal(size=(2, 20, 20)).astype(np.float32))
    (tmp_path / "two.txt").write_text(f"{files / 'particles.mrcs'}\nb.mrcs\n")
    poses = load_pickles(files / "poses.pkl")[0]
    more = tuple(np.concatenate([part, part[:2]]) for part in poses)
    save_pickles(tmp_path / "poses.pkl", [more])
    words = (tmp_path / "two.txt", "--poses", tmp_path / "poses.pkl")
    run("backproject_voxel", *words, "-o", tmp_path / "x.mrc")
    found = "16 × 16 px at 12 Å/px (24 images), 20 × 20 px at 12 Å/px (2 images)"
    assert found in caplog.text


def test_odd_images_are_cut_to_an_even_box(files, run, tmp_path):
    whole = open_particles(ParticleFiles(particles=files / "particles.mrcs"))
    with stack_writer(tmp_path / "odd.mrcs", BOX + 1, 12.0) as writer:
        images = whole.images.read(np.arange(COUNT))
        writer.append(np.pad(images, ((0, 0), (0, 1), (0, 1))))
    poses = [part.copy() for part in load_pickles(files / "poses.pkl")[0]]
    poses[1] *= BOX / (BOX + 1)
    save_pickles(tmp_path / "poses.pkl", [tuple(poses)])
    words = (tmp_path / "odd.mrcs", "--poses", tmp_path / "poses.pkl")
    run("backproject_voxel", *words, "-o", tmp_path / "odd.mrc")
    even = (files / "particles.mrcs", "--poses", files / "poses.pkl")
    run("backproject_voxel", *even, "-o", tmp_path / "even.mrc")
    found, expected = (read_volume(tmp_path / f"{name}.mrc")[0] for name in ("odd", "even"))
    # In larger images the window lies around the particle, not in the middle.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.995
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=0.05)
