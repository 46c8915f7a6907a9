"""Chosen particles back in M's own list, and in lists of RELION, byte for byte."""

import pickle

import numpy as np
import pytest

from tomogram_layouts import (
    COLUMNS_OF_M,
    Project,
    write_list_of_m,
    write_relion5,
    write_warp2,
)


@pytest.fixture
def project(rng):
    """Particles no two of which are near each other."""
    project = Project.random(rng, count=12)
    for number, particle in enumerate(project.particles):
        particle.coordinate = np.array([60.0 * number - 300, 40.0 * number - 200, 5.0 * number])
        particle.subtomogram = np.zeros(3)
    return project


def choose(folder, numbers):
    path = folder / "chosen.pkl"
    path.write_bytes(pickle.dumps(np.array(numbers)))
    return path


@pytest.mark.parametrize("number", ["1", ""])
def test_rows_of_the_list_of_m_are_written_as_they_are(run, project, tmp_path, rng, number):
    images = write_warp2(project, tmp_path)
    order = rng.permutation(12)
    columns = [
        name.removesuffix("1") + number if name[-1] == "1" else name for name in COLUMNS_OF_M
    ]
    shuffled = [project.particles[place] for place in order.tolist()]
    names, rows = write_list_of_m(tmp_path / "species.star", shuffled, columns)
    chosen = choose(tmp_path, [7, 2, 3])
    line = ("export", tmp_path / "species.star", "--ind", chosen, "--chosen-from", images)
    said = run(*line, "-o", tmp_path / "out.star")
    assert "lists 12 of the 12 particles" in said
    kept = [rows[int(np.flatnonzero(order == one)[0])] for one in (7, 2, 3)]
    assert (tmp_path / "out.star").read_text() == f"\ndata_\n\nloop_\n{names}{''.join(kept)}\n"


def test_particles_that_m_has_moved_are_found_and_lost_ones_are_said(
    run, project, tmp_path, caplog
):
    """Particles that M refined by 3 Å; one that it no longer lists."""
    images = write_warp2(project, tmp_path)
    particles = project.particles[:4] + project.particles[5:]
    _, rows = write_list_of_m(tmp_path / "species.star", particles, moved=3 / np.sqrt(3))
    line = ("export", tmp_path / "species.star", "--chosen-from", images, "--ind")
    run(*line, choose(tmp_path, [3, 4, 5]), "-o", tmp_path / "out.star")
    (said,) = [
        record.getMessage() for record in caplog.records if record.levelname == "WARNING"
    ]
    assert "lists 2 of the 3 chosen particles; the first that it lacks is particle 4" in said
    assert "".join([rows[3], rows[4]]) in (tmp_path / "out.star").read_text()
    labels = tmp_path / "labels.pkl"
    labels.write_bytes(pickle.dumps(np.arange(12)))
    run(*line, choose(tmp_path, [3, 4, 5]), "-o", tmp_path / "two.star", "--labels", labels)
    added = [
        line.split()[-1]
        for line in (tmp_path / "two.star").read_text().splitlines()
        if "TS_0" in line
    ]
    assert added == ["3", "5"]


def test_a_list_of_relion_is_matched_by_names(run, project, tmp_path, rng):
    images = write_warp2(project, tmp_path)
    order = rng.permutation(12).tolist()
    write_relion5(project, tmp_path, order, name="others")
    text = (tmp_path / "others.star").read_text()
    line = ("export", tmp_path / "others.star", "--chosen-from", images, "--ind")
    run(*line, choose(tmp_path, [5]), "-o", tmp_path / "out.star")
    rows = [line for line in text.splitlines() if "TS_02/6" in line]
    assert [r for r in (tmp_path / "out.star").read_text().splitlines() if "TS_0" in r] == rows


def test_what_cannot_be_matched_is_refused(fail, project, tmp_path):
    images = write_warp2(project, tmp_path)
    species = tmp_path / "species.star"
    line = ("export", species, "--chosen-from", images, "--ind", choose(tmp_path, [3]), "-o")
    line = (*line, tmp_path / "out.star")
    write_list_of_m(species, project.particles, moved=20)
    assert "lists none of the particles" in fail(*line)
    write_list_of_m(species, [*project.particles, project.particles[3]])
    assert "no telling which" in fail(*line)
    write_list_of_m(species, project.particles, columns=["wrpX", *COLUMNS_OF_M[1:]])
    assert "says neither the name of a particle" in fail(*line)
    write_list_of_m(species, project.particles)
    assert "goes neither with" in fail(*line, "--single-images")
    text = (tmp_path / "matching_tomograms.star").read_text()
    (tmp_path / "matching_tomograms.star").write_text(text.replace("rlnTomoSizeX", "rlnSizeX"))
    assert "no column rlnTomoSizeX" in fail(*line)
    assert not (tmp_path / "out.star").exists()
