"""Columns belong to the particles by name, not by order; what does not fit is said."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cryodrgn.cli.main import main
from cryodrgn.errors import InputFileError, ShapeMismatchError
from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.score_table import read_scores
from cryodrgn.io.star import read_star, write_star
from cryodrgn.page.file_columns import file_columns
from cryodrgn.page.shown_run import ShownRun
from cryodrgn.particles.tilt_series import TiltSeriesSettings
from page.server import serving

SERIES = "simulate -D 16 --Apix 12 -n 6 --tilt-series --tilt-range 6 --tilt-step 6 -o {}"


def shown(path: Path) -> ShownRun:
    return ShownRun(path, torch.device("cpu"))


def told(run: ShownRun, group: str, name: str) -> list[str]:
    """Names that a column gives to particles."""
    column = run.column(group, name, None)
    assert column.names is not None
    return [column.names[int(value)] for value in column.values]


def test_scores_are_found_by_the_rows_that_the_table_names(runs):
    path = runs / "vae/scores.csv"
    before = shown(runs / "vae").column("scores", "misfit", None).values
    first, *lines = path.read_text().splitlines()
    path.write_text("\n".join([first, *sorted(lines, key=lambda line: line[::-1])]) + "\n")
    assert not np.array_equal(read_scores(path)[1]["misfit"], before)
    after = shown(runs / "vae")
    assert np.array_equal(after.column("scores", "misfit", None).values, before)
    path.write_text("\n".join([first, *lines[1:]]) + "\n")
    with pytest.raises(ShapeMismatchError, match=f"row {lines[0].partition(',')[0]} of"):
        shown(runs / "vae").column("scores", "misfit", None)


def test_a_table_of_scores_that_is_none_is_said(runs):
    (runs / "vae/scores.csv").write_text("particle,score\n1,2\n")
    with serving(runs / "vae") as page:
        answer = page.get("/api/runs/0/columns").json
    assert "scores" not in {group["group"] for group in answer["groups"]}
    assert any("scores.csv is no table of scores" in note for note in answer["notes"])


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A run on three of six particles of tilt series, whose images lie mixed in the file."""
    folder = tmp_path_factory.mktemp("series")
    assert main(SERIES.format(folder / "sim").split()) == 0
    star = folder / "sim/particles.star"
    blocks = {
        name: {column: table.text(column) for column in table.names}
        for name, table in read_star(star).items()
    }
    count = len(blocks["particles"]["rlnImageName"])
    mixed = np.random.default_rng(3).permutation(count)
    blocks["particles"] = {
        name: [values[row] for row in mixed] for name, values in blocks["particles"].items()
    }
    owners = blocks["particles"]["rlnTomoParticleName"]
    blocks["particles"]["rlnTomoName"] = [f"tomogram {ord(owner[-1]) % 2}" for owner in owners]
    blocks["particles"]["rlnNumber"] = [str(row) for row in range(count)]
    write_star(star, blocks)
    chosen = np.array([4, 0, 5])
    run = folder / "run"
    run.mkdir()
    save_latents(run / "z.pkl", np.zeros((3, 2), "f4"), np.zeros((3, 2), "f4"))
    save_pickles(run / "ind.pkl", [chosen])
    data = {"particles": str(star), "ind": str(run / "ind.pkl"), "norm": [0.0, 1.0]}
    model = {"zdim": 2, "qlayers": 1, "qdim": 4}
    config = {"dataset_args": data, "lattice_args": {"D": 17}, "model_args": model}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run, star, chosen


def test_a_finished_run_has_the_analysis_of_the_epoch_it_ended_with(runs):
    run = runs / "vae"
    places = np.random.default_rng(0).normal(size=(100, 2)).astype("f4")
    (run / "analyze.1").mkdir()
    save_pickles(run / "analyze.1/umap.pkl", [places])
    assert (run / "z.pkl").read_bytes() == (run / "z.1.pkl").read_bytes()
    assert shown(run).column("analysis", "UMAP2", None).values.tolist() == places[:, 1].tolist()
    # Of other latents, it is that epoch's alone.
    save_latents(run / "z.1.pkl", places, places)
    assert not shown(run).column_groups(None)["analysis"]
    assert set(shown(run).column_groups(1)["analysis"]) == {"UMAP1", "UMAP2"}


def test_particles_of_tilt_series_have_what_the_row_of_their_first_image_has(series):
    path, star, chosen = series
    particles = open_particles(ParticleFiles(particles=star))
    names = particles.names[chosen].tolist()
    run = shown(path)
    assert told(run, "particle file", "rlnTomoParticleName") == names
    table = read_star(star)["particles"]
    owners = np.array(table.text("rlnTomoParticleName"))
    first = [float(np.flatnonzero(owners == name)[0]) for name in names]
    assert run.column("particle file", "rlnNumber", None).values.tolist() == first
    sets = run.column("sets", "number of the particle in the file", None)
    assert sets.values.tolist() == chosen.tolist()
    with pytest.raises(InputFileError, match="no column 'row in the file'"):
        run.column("sets", "row in the file", None)
    micrographs = [table.text("rlnMicrographName")[int(row)] for row in first]
    assert told(run, "groups", "micrograph") == micrographs
    assert told(run, "groups", "tomogram") == [
        f"tomogram {ord(name[-1]) % 2}" for name in names
    ]


def test_a_particle_file_that_lists_fewer_particles_now_is_refused_in_a_sentence(runs):
    star = runs / "sim/particles.star"
    lines = star.read_text().rstrip("\n").split("\n")
    star.write_text("\n".join(lines[:-60]) + "\n")
    path = runs / "vae/config.yaml"
    moved(path, star)
    with serving(runs / "vae") as page:
        notes = page.get("/api/runs/0/file-columns").json["notes"]
        assert any("the file has changed since" in note for note in notes)
        name = "/api/runs/0/column?group=particle%20file&name=rlnDefocusU"
        assert page.get(name).status == 404


def moved(config: Path, star: Path) -> None:
    """A run names other particles than before."""
    content = yaml.safe_load(config.read_text())
    content["dataset_args"]["particles"] = str(star)
    config.write_text(yaml.safe_dump(content))


def test_files_that_are_of_another_time_than_the_run_are_said(runs):
    star, run = runs / "sim/particles.star", runs / "vae"
    moved(run / "config.yaml", star)
    begun = (run / "config.yaml").stat().st_mtime
    os.utime(star, (begun - 60, begun - 60))
    assert shown(run).file_groups(None)[1] == []
    os.utime(star, (begun + 60, begun + 60))
    (note,) = shown(run).file_groups(None)[1]
    assert "was written after the run began" in note
    analysis = run / "analyze"
    analysis.mkdir()
    save_pickles(analysis / "umap.pkl", [np.zeros((100, 2), "f4")])
    assert shown(run).column_notes(None) == []
    latents = (run / "z.pkl").stat().st_mtime
    os.utime(analysis / "umap.pkl", (latents - 60, latents - 60))
    (note,) = shown(run).column_notes(None)
    assert "umap.pkl is older than" in note
    assert "analyse the run again" in note
    shutil.rmtree(analysis)


def test_vectors_of_cryosparc_are_a_column_for_each_of_their_numbers(tmp_path, rng):
    table = np.zeros(6, dtype=[("uid", "u8"), ("alignments3D/pose", "f4", (3,)), ("a", "f4")])
    table["alignments3D/pose"] = rng.normal(size=(6, 3))
    with (tmp_path / "particles.cs").open("wb") as file:
        np.save(file, table)
    rows = np.array([4, 0, 2])
    found = file_columns(tmp_path / "particles.cs", rows, TiltSeriesSettings())
    names = [f"alignments3D/pose[{axis}]" for axis in range(3)]
    assert list(found) == ["uid", *names, "a"]
    for axis, name in enumerate(names):
        assert np.array_equal(found[name]().values, table["alignments3D/pose"][rows, axis])
