"""Commands of cryoDRGN 4.3 that look at runs, and its small tools."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_ctf, load_latents, load_pickles, load_poses
from cryodrgn.io.cryosparc_tables import read_table
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.io.star import read_star
from cryodrgn.jobs.movies import camera_frame
from cryodrgn.rundir import RunDirectory


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three epochs with an analysis, and its particles."""
    folder = tmp_path_factory.mktemp("run")
    sim, out = folder / "sim", folder / "out"
    lines = (
        f"simulate -D 16 --Apix 12 -n 24 --num-states 2 --snr 5 -o {sim}",
        f"train_vae {sim}/particles.star -o {out} --zdim 2 -n 3 --qdim 8 --pdim 8",
        f"analyze {out} 2 --ksample 2 --n-per-pc 2 --skip-umap",
    )
    for line in lines:
        assert main(line.split()) == 0
    return out


def test_epochs_are_compared_by_latents_and_volumes(tool, trained, tmp_path):
    line = ("analyze_convergence", trained, 2, "--epoch-interval", 1, "-o", tmp_path)
    said = tool(*line, "--final-maxima", 3)
    latents = [load_latents(trained / f"z.{epoch}.pkl").astype(float) for epoch in (1, 2)]
    with (tmp_path / "latents.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["first"], row["second"]) for row in rows] == [("0", "1"), ("1", "2")]
    spread = np.sqrt(((latents[1] - latents[1].mean(0)) ** 2).sum(1).mean())
    moved = np.median(np.linalg.norm(latents[1] - latents[0], axis=1)) / spread
    assert float(rows[1]["magnitude"]) == pytest.approx(moved, rel=1e-5)
    assert f"moved by {100 * moved:.1f} %" in said
    with (tmp_path / "volumes.csv").open() as file:
        volumes = list(csv.DictReader(file))
    assert len(volumes) == 2 * 3
    assert all(-1 <= float(row["correlation"]) <= 1 for row in volumes)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        *("learning_curve.png", "latents.png", "volumes.png"),
    }


def test_epochs_that_are_not_there_are_named(fail_tool, trained):
    said = fail_tool("analyze_convergence", trained, 2)
    assert "has results of epochs 0, 1, 2" in said
    assert "give another --epoch-interval or epoch" in said


def test_movies_are_made_of_every_series(tool, trained):
    tool("make_movies", trained, 2, "latent", "--name", "film", "--width", 80, "--height", 96)
    films = sorted(trained.glob("analyze.2/*/film.gif"))
    assert [film.parent.name for film in films] == ["kmeans2", "pc1", "pc2"]
    with Image.open(io.BytesIO(films[1].read_bytes())) as film:
        assert (film.size, film.n_frames) == ((80, 96), 2)
        assert film.info["duration"] == 150
    tool("make_movies", trained, 2, "latent", "--name", "film", "--frame", 4, "--width", 80)
    with Image.open(films[1]) as film:
        assert film.info["duration"] == 200


def test_movies_of_a_landscape_show_components_and_states(tool, fail_tool, trained, rng):
    said = fail_tool("make_movies", trained, 1, "volume")
    assert f"run cryodrgn analyze_landscape {trained} 1 first" in said
    landscape = RunDirectory(trained).landscape(2)
    paths = [landscape.component(1).volume(n) for n in range(2)]
    paths += [landscape.states("average_2").mean(n) for n in range(2)]
    for path in paths:
        write_volume(path, rng.normal(size=(16, 16, 16)).astype(np.float32), 1.0)
    tool("make_movies", trained, 2, "volume", "--width", 64, "--height", 64)
    assert {path.parent for path in landscape.path.rglob("movie.gif")} == {
        *(landscape.component(1).path, landscape.states("average_2").path),
    }


def test_a_camera_of_chimerax_is_a_view_of_the_volume():
    # The camera stands on the +x axis and looks along −x, with z up.
    frame = camera_frame("0,0,1,50, 1,0,0,0, 0,1,0,0")
    np.testing.assert_array_equal(frame, [[0, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_a_camera_that_turns_nothing_is_refused(fail_tool, trained):
    assert "12 numbers" in fail_tool("make_movies", trained, 2, "latent", "--camera", "1,2")


def test_classes_are_drawn_as_dots_and_contours(tool, fail_tool, trained, tmp_path):
    labels = trained / "analyze.2/kmeans2/labels.pkl"
    line = ("plot_classes", trained, 2, "--labels", labels, "-o", tmp_path)
    tool(*line, "--plot-types", "scatter", "kde", "--palette", "red,blue", "--svg")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"z_pca_classes_scatter.svg", "z_pca_classes_kde.svg"}
    assert "class 1: " in (tmp_path / "z_pca_classes_kde.svg").read_text().replace("<!-- ", "")
    assert "--palette 'nothing' cannot" in fail_tool(*line, "--palette", "nothing")
    assert "scatter, kde or both" in fail_tool(*line, "--plot-types", "bars")


def test_particles_are_filtered_by_their_clusters(run, fail, trained, tmp_path, write_pickle):
    labels = load_pickles(trained / "analyze.2/kmeans2/labels.pkl")[0]
    line = ("filter", trained, "-e", 2, "--clusters", 1, "--sel-dir", tmp_path, "--name", "one")
    run(*line)
    one, other = (
        load_pickles(tmp_path / f"one{end}.pkl")[0].tolist() for end in ("", "_inverse")
    )
    assert (one, other) == tuple(np.flatnonzero(labels == n).tolist() for n in (1, 0))
    assert "replace them with -f" in fail(*line)
    run(*line, "-f", "--plot-inds", write_pickle(np.array(one[:2]), "few.pkl"))
    assert load_pickles(tmp_path / "one.pkl")[0].tolist() == one[:2]
    said = fail(*line, "-f", "-k", 7)
    assert "holds no 7 k-means clusters; there are 2" in said


def test_filter_opens_the_page_without_a_choice(trained, monkeypatch):
    served = []
    monkeypatch.setattr(
        "cryodrgn.page.serving.serve_runs", lambda *args, **more: served.append((args, more))
    )
    assert main(["filter", str(trained), "--port", "7001", "--no-browser"]) == 0
    ((args, more),) = served
    assert (args[0], args[2], more) == ([trained], 7001, {"with_browser": False})


def test_settings_of_a_run_are_shown_from_either_file(tool, trained):
    shown = [tool("view_config", trained / name) for name in ("", "config.pkl")]
    assert all("zdim: 2" in text and "qdim: 8" in text for text in shown)


def test_a_table_of_cryosparc_holds_what_the_star_file_does(run, tool, trained, tmp_path):
    star, table = trained.parent / "sim/particles.star", tmp_path / "particles.cs"
    tool("write_cs", star, "-o", table)
    for kind, load in (("pose", load_poses), ("ctf", load_ctf)):
        run(f"parse_{kind}_star", star, "-o", tmp_path / "star.pkl")
        run(f"parse_{kind}_csparc", table, "-o", tmp_path / "cs.pik")
        both = [load(tmp_path / name) for name in ("star.pkl", "cs.pik")]
        if kind == "pose":
            for mine, theirs in zip(*both, strict=True):
                np.testing.assert_allclose(mine, theirs, atol=2e-5)
        else:
            for name, values in both[0][0].columns().items():
                np.testing.assert_allclose(values, both[1][0].columns()[name], rtol=1e-5)
    maps = []
    for path in (star, table):
        run("backproject_voxel", path, "-o", tmp_path / path.suffix)
        maps.append(read_volume(tmp_path / path.suffix / "backproject.mrc")[0])
    np.testing.assert_allclose(*maps, atol=1e-3 * float(np.abs(maps[0]).max()))


def test_rows_of_a_table_of_cryosparc_keep_all_of_its_columns(tool, trained, tmp_path):
    sim = trained.parent / "sim"
    line = ("write_cs", sim / "particles.mrcs", "--ctf", sim / "ctf.pkl", "-o")
    tool(*line, tmp_path / "a.cs", "--poses", sim / "poses.pkl", "--full-path")
    (tmp_path / "ind.txt").write_text("3\n1\n")
    tool("write_cs", tmp_path / "a.cs", "--ind", tmp_path / "ind.txt", "-o", tmp_path / "b.cs")
    first, second = read_table(tmp_path / "a.cs"), read_table(tmp_path / "b.cs")
    np.testing.assert_array_equal(second, first[[3, 1]])
    assert first["blob/path"][0].decode() == str((sim / "particles.mrcs").resolve())


def test_particles_are_divided_to_train_and_to_test(tool, tmp_path):
    paths = tmp_path / "train.pkl", tmp_path / "test.pik"
    tool("make_train_test", 29, "-o", paths[0], "--out-test", paths[1], "--frac", 0.2)
    train, test = (load_pickles(path)[0] for path in paths)
    # The number is rounded down, as cryoDRGN does it.
    assert len(test) == 5
    assert sorted([*train, *test]) == list(range(29))


def test_optics_groups_without_particles_may_stay(run, trained, tmp_path):
    text = (trained.parent / "sim/particles.star").read_text()
    (row,) = [line for line in text.splitlines() if " opticsGroup1 " in line]
    more = row.replace("1 opticsGroup1", "7 nobody").replace(" 12.000000", " nan")
    (tmp_path / "particles.star").write_text(text.replace(row, f"{row}\n{more}"))
    run("parse_star", tmp_path / "particles.star", "--poses", tmp_path / "p.pkl")
    run("parse_ctf_star", tmp_path / "particles.star", "-o", tmp_path / "c.pkl")
    assert len(load_ctf(tmp_path / "c.pkl")[0]) == len(
        read_star(tmp_path / "particles.star")["particles"]
    )
