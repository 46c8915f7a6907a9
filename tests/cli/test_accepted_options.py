"""Options of other versions do what they say, or say that they do nothing."""

import numpy as np
import pytest

from cryodrgn.cli import tools
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_labels, save_pickles
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.latent_text import load_index_text
from cryodrgn.io.mrc import read_volume


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("particles")
    line = f"simulate -D 16 --Apix 12 -n 12 --num-states 1 --snr 10 -o {folder}"
    assert main(line.split()) == 0
    return folder


def test_a_backprojection_writes_no_more_than_it_is_asked_for(run, particles, tmp_path):
    line = ("backproject_voxel", particles / "particles.star", "--uninvert-data", "--outdir")
    everything, no_halves, no_curve = (tmp_path / name for name in ("all", "map", "halves"))
    run(*line, everything)
    run(*line, no_halves, "--no-half-maps")
    run(*line, no_curve, "--no-fsc-vals")
    curves, halves = {"fsc-vals.txt", "fsc-plot.png"}, {"half_map_a.mrc", "half_map_b.mrc"}
    written = [
        {path.name for path in folder.iterdir()} for folder in (everything, no_halves, no_curve)
    ]
    assert written[1] == written[0] - halves
    assert written[2] == written[0] - curves
    for folder in (no_halves, no_curve):
        for path in folder.glob("*.mrc"):
            same = read_volume(everything / path.name)[0]
            np.testing.assert_array_equal(read_volume(path)[0], same)


def test_chosen_images_go_beside_the_stack_unless_a_name_is_given(tool, particles, tmp_path):
    rows = tmp_path / "ind.pkl"
    save_pickles(rows, [np.array([7, 2])])
    tool("filter_mrcs", particles / "particles.mrcs", "--ind", rows)
    both = [
        ImageStack.whole_files([particles / name])
        for name in ("particles_filtered.mrcs", "particles.mrcs")
    ]
    np.testing.assert_array_equal(both[0].read(np.arange(2)), both[1].read(np.array([7, 2])))


def test_a_header_is_written_as_it_is_shown(tool, particles, tmp_path):
    shown = tool("view_header", particles / "particles.mrcs", "-o", tmp_path / "header.txt")
    assert (tmp_path / "header.txt").read_text() == shown


def test_rows_nearest_to_the_means_count_all_particles(tool, tmp_path):
    latents = np.repeat(np.eye(2, dtype=np.float32) * 9, 4, axis=0)
    latents += np.random.default_rng(0).normal(size=latents.shape).astype(np.float32)
    save_pickles(tmp_path / "z.pkl", [latents])
    line = (
        "kmeans",
        tmp_path / "z.pkl",
        "-k",
        2,
        "--stride",
        2,
        "--outpkl",
        tmp_path / "l.pkl",
    )
    tool(*line, "--outpkl", tmp_path / "l.pkl", "--out-k-ind", tmp_path / "rows.txt")
    rows, labels = load_index_text(tmp_path / "rows.txt"), load_labels(tmp_path / "l.pkl")
    assert (rows % 2 == 0).all()
    assert labels[rows // 2].tolist() == [0, 1]


def test_a_flag_that_changes_nothing_is_named_once(particles, tmp_path, capfd):
    line = f"downsample {particles}/particles.mrcs -D 8 --outfile {tmp_path}/s.mrcs -b 50"
    assert main(line.split()) == 0
    said = capfd.readouterr().err
    assert said.count("-b has no effect") == 1
    assert said.count("warning: ") == 1


def test_an_option_beside_another_that_switches_it_off_is_named(particles, tmp_path, capfd):
    line = f"add_noise {particles}/particles.mrcs -o {tmp_path}/n.mrcs --sigma 1 --mask strict"
    assert tools.main(line.split()) == 0
    assert "warning: --mask has no effect with --sigma: " in capfd.readouterr().err
