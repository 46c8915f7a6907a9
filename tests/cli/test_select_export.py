"""Selections and their way back into the files they came from, by the commands."""

import numpy as np
import pytest
import starfile
import yaml

from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.star import read_star
from cryodrgn.io.star_rows import StarRows
from tomogram_layouts import Project, write_relion5, write_warp


@pytest.fixture
def simulated(run, tmp_path):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 12, "--num-states", 1, "-o", tmp_path / "sim")
    return tmp_path / "sim/particles.star"


@pytest.fixture
def filtered_run(tmp_path, write_pickle):
    """A run on the even particles, whose latent is the number of the particle."""
    parent = write_pickle(np.arange(0, 12, 2), "parent.pkl")
    folder = tmp_path / "run"
    folder.mkdir()
    z = np.arange(0, 12, 2)[:, None] * np.ones((1, 2))
    save_latents(folder / "z.pkl", z, z)
    config = {"model_args": {}, "dataset_args": {"ind": str(parent)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_run_on_filtered_particles_gives_rows_of_the_original(run, filtered_run, tmp_path):
    out = tmp_path / "keep.pkl"
    run("select", filtered_run, "--box", 0, 3, 8, "-o", out)
    assert load_indices(out).tolist() == [4, 6, 8]
    run("select", filtered_run, "--near-particle", 10, "--count", 2, "-o", out)
    assert load_indices(out).tolist() == [8, 10]


@pytest.mark.parametrize(
    "line", ["select {run} --all-of {mask} -o {out}", "filter {run} --plot-inds {mask} -e 0"]
)
def test_a_mask_of_the_particles_of_a_filtered_run_is_no_choice_of_original_rows(
    line, run, fail, filtered_run, write_pickle, tmp_path
):
    (filtered_run / "z.0.pkl").symlink_to(filtered_run / "z.pkl")
    config = yaml.safe_load((filtered_run / "config.yaml").read_text())
    config["dataset_args"]["particles"] = str(tmp_path / "particles.mrcs")
    config |= {"lattice_args": {"D": 17}, "model_args": {"zdim": 2}}
    (filtered_run / "config.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "out.pkl"
    for count, command in ((6, fail), (12, run)):
        mask = write_pickle(np.arange(count) > 3, "mask.pkl")
        said = command(*line.format(run=filtered_run, mask=mask, out=out).split())
        if count == 6:
            assert "6 booleans, but the particles to choose from are rows up to 10" in said
    found = out if out.is_file() else filtered_run / "selections/filtered.pkl"
    assert load_indices(found).tolist() == [4, 6, 8, 10]


def test_lists_are_joined_intersected_and_left_out(run, write_pickle, tmp_path):
    a = write_pickle(np.array([0, 1, 2, 3]), "a.pkl")
    b = write_pickle(np.array([2, 3, 4]), "b.pkl")
    out = tmp_path / "out.pkl"
    run("select", "--all-of", a, b, "-o", out)
    assert load_indices(out).tolist() == [2, 3]
    run("select", "--any-of", a, b, "--num-original", 10, "-o", out)
    assert load_indices(out).tolist() == [0, 1, 2, 3, 4]
    run("select", "--all-of", a, "--none-of", b, "-o", out)
    assert load_indices(out).tolist() == [0, 1]
    run("select", "--any-of", a, b, "--invert", "--num-original", 7, "-o", out)
    assert load_indices(out).tolist() == [5, 6]
    run("select", "--num-original", 50, "--random", "--count", 5, "-o", out)
    assert len(set(load_indices(out).tolist())) == 5


def test_scores_of_other_particles_are_refused(run, fail, simulated, tmp_path, caplog):
    save_pickles(tmp_path / "ind.pkl", [np.arange(4)])
    words = ("simulate", "-D", 16, "--Apix", 12, "-n", 12, "--num-states", 1, "--seed", 5)
    run(*words, "-o", tmp_path / "other")
    folder = tmp_path / "run"
    folder.mkdir()
    table = folder / "scores.csv"

    def export(call, particles, rows):
        table.write_text("row,misfit\n" + "".join(f"{row},1\n" for row in range(rows)))
        config = {"model_args": {}, "dataset_args": {"particles": str(particles)}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        words = ("export", simulated, "--ind", tmp_path / "ind.pkl", "--scores", table)
        return call(*words, "-o", tmp_path / "out.star")

    assert "has scores of row 12" in export(fail, simulated, 13)
    said = export(fail, tmp_path / "other/particles.star", 12)
    assert "the same rows are not the particles of" in said
    assert not (tmp_path / "out.star").exists()
    export(run, simulated, 12)
    # The same images, listed without their metadata, or no longer there.
    export(run, tmp_path / "sim/particles.mrcs", 12)
    export(run, tmp_path / "gone.star", 12)
    assert "cannot be compared" in caplog.text


def test_a_twice_filtered_subset_comes_back_as_the_original_rows(
    run, simulated, filtered_run, tmp_path
):
    save_pickles(tmp_path / "labels.pkl", [np.array([0, 0, 1, 1, 2, 2])])
    run(
        *("select", filtered_run, "--labels", tmp_path / "labels.pkl", "--clusters", 1, 2),
        *("-o", tmp_path / "keep.pkl"),
    )
    out = tmp_path / "kept.star"
    run(
        *("export", simulated, "--ind", tmp_path / "keep.pkl", "-o", out),
        *("--labels", tmp_path / "labels.pkl", "--latents", filtered_run / "z.pkl"),
        *("--table-ind", tmp_path / "parent.pkl"),
    )
    original, kept = StarRows.read(simulated), StarRows.read(out)
    for line, row in zip(kept.rows, [4, 6, 8, 10], strict=True):
        assert line.startswith(original.rows[row].rstrip())
    table = starfile.read(out)["particles"]
    assert table["cryodrgnCluster"].tolist() == [1, 1, 2, 2]
    assert table["cryodrgnLatent2"].tolist() == [4, 6, 8, 10]
    run("export", simulated, "--ind", tmp_path / "keep.pkl", "-o", out)
    exact = StarRows.read(out)
    assert list(exact.rows) == [original.rows[row] for row in (4, 6, 8, 10)]
    assert (exact.before, exact.after) == (original.before, original.after)


def test_latents_and_labels_of_a_filtered_run_are_those_of_the_chosen_rows(
    run, fail, simulated, filtered_run, write_pickle, tmp_path
):
    clusters = filtered_run / "analyze.19/kmeans3"
    clusters.mkdir(parents=True)
    save_pickles(clusters / "labels.pkl", [np.array([0, 0, 1, 1, 2, 2])])
    chosen, out = write_pickle(np.array([8, 2]), "chosen.pkl"), tmp_path / "kept.star"
    words = ("export", simulated, "--ind", chosen, "-o", out)
    tables = ("--latents", filtered_run / "z.pkl", "--labels", clusters / "labels.pkl")
    run(*words, *tables)
    table = starfile.read(out)["particles"]
    assert table["cryodrgnLatent1"].tolist() == [8, 2]
    assert table["cryodrgnCluster"].tolist() == [2, 0]
    # One that holds every particle is of the file, and none tells of whom one elsewhere is.
    z = np.arange(12.0)[:, None]
    save_latents(filtered_run / "all.pkl", z, z)
    run(*words, "--latents", filtered_run / "all.pkl")
    assert starfile.read(out)["particles"]["cryodrgnLatent1"].tolist() == [8, 2]
    low, elsewhere = write_pickle(np.array([4, 2]), "low.pkl"), tmp_path / "z.pkl"
    elsewhere.write_bytes((filtered_run / "z.pkl").read_bytes())
    words = ("export", simulated, "--ind", low, "-o", tmp_path / "x.star")
    message = fail(*words, "--latents", elsewhere)
    assert f"has 6 rows, but {simulated} 12 particles" in message
    assert "--table-ind" in message
    message = fail(*words, "--latents", elsewhere, "--table-ind", low)
    assert "selects 2 particles, but the table has 6 rows" in message
    (tmp_path / "parent.pkl").unlink()
    assert "has 6 rows, but" in fail(*words, "--latents", filtered_run / "z.pkl")
    assert not (tmp_path / "x.star").exists()


def test_mistakes_are_named(run, fail, simulated, filtered_run, write_pickle, tmp_path):
    out = tmp_path / "o.pkl"
    assert "needs --labels" in fail("select", filtered_run, "--clusters", 1, "-o", out)
    assert "--num-original or --ind" in fail("select", "--random", "-o", out)
    far = ("--box", 0, 90, 99)
    assert "selects no particles" in fail("select", filtered_run, *far, "-o", out)
    assert not out.exists()
    beyond = write_pickle(np.array([12]), "beyond.pkl")
    wrong = ("export", simulated, "--ind", beyond, "-o")
    assert "has 12 particles (0 to 11)" in fail(*wrong, tmp_path / "x.star")
    assert "must end in .star" in fail(*wrong, tmp_path / "x.cs")
    fine = write_pickle(np.array([1]), "fine.pkl")
    assert "give another name" in fail("export", simulated, "--ind", fine, "-o", simulated)
    stack = simulated.with_name("particles.mrcs")
    assert "only these can be exported" in fail(
        "export", stack, "--ind", fine, "-o", tmp_path / "x.star"
    )
    odd = ("--latents", filtered_run / "z.pkl", "--table-ind", tmp_path / "parent.pkl")
    message = fail("export", simulated, "--ind", fine, *odd, "-o", tmp_path / "x.star")
    assert "no row for particle 1" in message
    few = ("--labels", tmp_path / "parent.pkl", "-o", tmp_path / "x.star")
    assert "only these can be exported" in fail("export", stack, "--ind", fine, *few)
    assert not list(tmp_path.glob("x.*"))


@pytest.fixture
def project(rng, tmp_path):
    """Particles in tomograms, in RELION's layout and, shuffled, in WARP's."""
    project = Project.random(rng)
    write_relion5(project, tmp_path)
    write_warp(project, tmp_path / "warp.star", rng.permutation(len(project.images())).tolist())
    return project


def lines(path):
    return [
        line for line in path.read_bytes().splitlines() if b"@" in line or b"stack2d" in line
    ]


def test_all_images_of_a_chosen_particle_are_exported_byte_for_byte(
    run, tool, project, write_pickle, tmp_path
):
    source = tmp_path / "warp.star"
    names = read_star(source)["particles"].text("rlnGroupName")
    listed = list(dict.fromkeys(names))
    chosen = write_pickle(np.array([4, 1]), "keep.pkl")
    out = tmp_path / "out.star"
    run("export", source, "--ind", chosen, "-o", out)
    rows = np.array(lines(source))
    expected = [*rows[[n == listed[4] for n in names]], *rows[[n == listed[1] for n in names]]]
    assert lines(out) == expected
    run("export", source, "--ind", chosen, "--single-images", "-o", out)
    assert lines(out) == rows[[4, 1]].tolist()

    filtered = tmp_path / "filtered.star"
    tool("filter_star", source, "--et", "--ind", chosen, "-o", filtered)
    assert sorted(lines(filtered)) == sorted(expected)
    assert lines(filtered) == [line for line in rows.tolist() if line in expected]


def test_columns_of_a_particle_stand_in_all_its_rows(run, project, write_pickle, tmp_path):
    labels = write_pickle(np.array([3, 1, 4, 1, 5, 9]), "labels.pkl")
    chosen, out = write_pickle(np.array([2, 5]), "keep.pkl"), tmp_path / "out.star"
    run("export", tmp_path / "warp.star", "--ind", chosen, "--labels", labels, "-o", out)
    table = read_star(out)["particles"]
    pairs = set(zip(table.text("rlnGroupName"), table.text("cryodrgnCluster"), strict=True))
    assert sorted(cluster for _, cluster in pairs) == ["4", "9"]


@pytest.mark.parametrize("source", ["particles.star", "optimisation_set.star"])
def test_the_list_of_particles_of_tomograms_is_exported_byte_for_byte(
    run, project, write_pickle, tmp_path, source
):
    chosen, out = write_pickle(np.array([5, 0]), "keep.pkl"), tmp_path / "out.star"
    run("export", tmp_path / source, "--ind", chosen, "-o", out)
    original = (tmp_path / "particles.star").read_bytes()
    rows = lines(tmp_path / "particles.star")
    assert lines(out) == [rows[5], rows[0]]
    head = original[: original.index(rows[0])]
    assert out.read_bytes().startswith(head)


def test_an_index_of_images_of_a_tilt_series_is_refused(fail, project, write_pickle, tmp_path):
    chosen = write_pickle(np.array([40]), "keep.pkl")
    source = tmp_path / "warp.star"
    message = fail("export", source, "--ind", chosen, "-o", tmp_path / "x.star")
    assert f"index 40, but the tilt series of {source} has 6 particles" in message
