import json
import re
import shutil

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles, save_pickles
from cryodrgn.io.latent_text import load_latent_text
from cryodrgn.io.mrc import read_volume
from cryodrgn.workflow import analyze as workflow
from mrc_orders import assert_in_one_place


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def copied(trained, tmp_path):
    """A run of its own, without the analysis."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("analyze*"))
    return folder


def test_an_analysis_writes_the_files_of_the_documentation_and_more(analysed):
    assert names(analysed) == {
        *("pc1", "pc2", "kmeans4", "analysis.yaml", "report.html", "volumes.cxc"),
        *("cryoDRGN_figures.ipynb", "cryoDRGN_filtering.ipynb", "z_pca.png", "umap.png"),
        *("cryoDRGN_viz.ipynb", "umap.pkl", "learning_curve.png", "view_directions.png"),
        *("z_pca_hexbin.png", "z_pca_marginals.png", "umap_hexbin.png", "umap_marginals.png"),
    }
    volumes = {f"vol_{n:03d}.{end}" for n in range(3) for end in ("mrc", "png")}
    differences = {f"difference_{n:03d}.png" for n in range(2)}
    assert names(analysed / "pc1") == volumes | differences | {
        *("z_values.txt", "movie.gif", "pca_traversal.png", "umap_traversal.png"),
        *("umap.png", "umap_traversal_connected.png"),
    }
    of_clusters = {"labels.pkl", "centers.txt", "centers_ind.txt", "umap.png", "z_pca.png"}
    assert of_clusters | {"umap_hex.png", "z_pca_hex.png"} < names(analysed / "kmeans4")
    embedding = load_pickles(analysed / "umap.pkl")[0]
    assert embedding.shape == (60, 2)
    assert embedding.dtype == np.float32


def test_a_cluster_a_volume_and_a_central_particle_have_one_number(trained, analysed):
    folder = analysed / "kmeans4"
    labels = load_pickles(folder / "labels.pkl")[0]
    particles = np.loadtxt(folder / "centers_ind.txt", dtype=int)
    np.testing.assert_array_equal(labels[particles], np.arange(4))
    centres = load_latent_text(folder / "centers.txt", 3)
    np.testing.assert_allclose(centres, load_latents(trained / "z.1.pkl")[particles], rtol=1e-6)
    np.testing.assert_array_equal(centres, load_latent_text(folder / "z_values.txt", 3))


def test_volumes_of_an_analysis_lie_on_the_map_that_is_given(
    fail, trained, analysed, consensus, tmp_path
):
    assert_in_one_place(list(analysed.glob("*/*.mrc")), consensus)
    out = tmp_path / "out"
    words = ("analyze", trained, 1, "--like", consensus, "--Apix", 10, "-o", out)
    assert "fills a box of 192.0 Å" in fail(*words)
    assert not out.exists()


def test_volumes_are_those_of_eval_vol_at_the_same_points(run, trained, analysed, tmp_path):
    zfile = analysed / "pc2/z_values.txt"
    run("eval_vol", trained / "weights.1.pkl", "--zfile", zfile, "-o", tmp_path)
    for number in range(3):
        name = f"vol_{number:03d}.mrc"
        found, expected = (
            read_volume(folder / name) for folder in (analysed / "pc2", tmp_path)
        )
        # The network may have run in half precision.
        assert np.corrcoef(found[0].ravel(), expected[0].ravel())[0, 1] > 0.999
        assert found[1] == expected[1] == 12.0


def test_the_page_needs_nothing_beside_it_and_shows_every_volume(analysed):
    page = (analysed / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    # Its own views, whose data stand in the page, and nothing else.
    assert re.findall(r"<script([^>]*)>", page) == [
        ' type="application/json" id="live-data"',
        ' type="module"',
    ]
    assert len(page) < 10_000_000
    assert page.count('src="data:image/gif') == 2
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert sum(caption.startswith(("0: ", "1: ", "2: ", "3: ")) for caption in captions) == 10
    assert "particles.star" in page
    assert len(re.findall(r"<td>[0-9a-f]{64}</td>", page)) == 3


def test_films_go_forwards_and_back(analysed):
    with Image.open(analysed / "pc1/movie.gif") as film:
        assert film.n_frames == 4
        assert film.size == (360, 360)


def test_the_chimerax_script_opens_every_volume(analysed):
    script = (analysed / "volumes.cxc").read_text()
    opened = re.findall(r"^open (\S+) id (\d+)", script, flags=re.MULTILINE)
    assert [int(number) for _, number in opened] == list(range(1, 11))
    assert all((analysed / path).is_file() for path, _ in opened)
    levels = re.findall(
        r"^volume #\d+ .* level (\S+) color #[0-9a-f]{6}$", script, re.MULTILINE
    )
    assert len(levels) == 10
    assert len(set(levels)) == 3


@pytest.mark.parametrize("part", ["figures", "filtering"])
def test_a_smaller_notebook_has_cells_of_the_whole_one(analysed, part):
    whole, some = (
        nbformat.read(analysed / f"cryoDRGN_{name}.ipynb", as_version=4)
        for name in ("viz", part)
    )
    cells = [cell["source"] for cell in whole.cells]
    assert [cells.index(cell["source"]) for cell in some.cells][:2] == [0, 1]
    saves = any("save_pickles(path" in cell["source"] for cell in some.cells)
    assert saves == (part == "filtering")


def test_the_notebook_runs_and_saves_a_selection(analysed):
    notebook = nbformat.read(analysed / "cryoDRGN_viz.ipynb", as_version=4)
    done = NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    pictures = [
        output
        for cell in done.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 9
    (path,) = analysed.glob("ind_keep.*_particles.pkl")
    kept = load_pickles(path)[0]
    assert path.name == f"ind_keep.{len(kept)}_particles.pkl"
    assert 0 < len(kept) < 60
    for path in (*analysed.glob("ind_*"), *analysed.glob("notebook_*")):
        path.unlink()


def test_a_latent_of_one_dimension_has_a_line_of_volumes(run, simulated, tmp_path):
    out = tmp_path / "run"
    small = ("--zdim", 1, "-n", 1, "--qdim", 16, "--pdim", 16)
    run("train_vae", simulated / "particles.star", *small, "-o", out)
    run("analyze", out, -1, "--n-per-pc", 3)
    assert {"z.png", "z_hist.png", "z_values.txt", "vol_002.mrc", "movie.gif"} < names(
        out / "analyze"
    )
    values = load_latent_text(out / "analyze/z_values.txt", 1)[:, 0]
    expected = np.percentile(load_latents(out / "z.pkl"), [5, 95])
    np.testing.assert_allclose(values[[0, 2]], expected, rtol=1e-5)
    assert not (out / "analyze/umap.pkl").exists()
    assert "What changes along the latent" in (out / "analyze/report.html").read_text()


def test_nothing_is_lost_when_umap_fails_and_nothing_stale_is_left(
    run, copied, monkeypatch, caplog
):
    def fail(*_):
        msg = "spectral layout"
        raise ValueError(msg)

    monkeypatch.setattr(workflow, "umap_embedding", fail)
    volumes = [copied / f"analyze.0/pc1/vol_00{number}.mrc" for number in range(3)]
    for count in (3, 2):
        options = ("--ksample", 3, "--pc", 1, "--n-per-pc", count, "-d", 8, "--crop", 6)
        run("analyze", copied, 0, *options)
        # A second call leaves nothing of the first that it did not write itself.
        assert [path.is_file() for path in volumes] == [True, True, count == 3]
    assert "UMAP failed: spectral layout" in caplog.text
    assert (copied / "analyze.0/report.html").is_file()
    volume, pixel_size = read_volume(copied / "analyze.0/kmeans3/vol_002.mrc")
    assert volume.shape == (6, 6, 6)
    assert pixel_size == 24.0


def test_without_volumes_the_weights_are_not_needed(run, copied):
    (copied / "weights.1.pkl").unlink()
    run("analyze", copied, 1, "--skip-vol", "--skip-umap", "--ksample", 3)
    assert names(copied / "analyze.1/pc1") == {"z_values.txt", "pca_traversal.png"}
    assert (copied / "analyze.1/report.html").is_file()


def test_volumes_stay_while_they_are_at_the_points_that_are_written(
    run, copied, analysed, caplog
):
    folder = copied / "analyze.1"
    shutil.copytree(analysed, folder)
    before = {path: path.read_bytes() for path in folder.glob("*/vol_*")}
    words = ("analyze", copied, 1, "--skip-vol", "--skip-umap", "--ksample", 4, "--n-per-pc")
    run(*words, 3)
    assert {path: path.read_bytes() for path in folder.glob("*/vol_*")} == before
    assert (folder / "volumes.cxc").is_file()
    assert "are removed" not in caplog.text

    # Points of paths depend on --n-per-pc, centres of clusters do not.
    run(*words, 2)
    assert f"are removed from {folder}/pc1, {folder}/pc2; leave out" in caplog.text
    assert names(folder / "pc2") == {
        *("z_values.txt", "pca_traversal.png"),
        *("umap.png", "umap_traversal.png", "umap_traversal_connected.png"),
    }
    assert (folder / "kmeans4/vol_003.mrc").is_file()
    assert not (folder / "volumes.cxc").exists()
    shown = live_data(folder)["volumes"]
    assert [len(series["volumes"]) for series in shown] == [4]
    run(*words, 2, "--vol-start-index", 1)
    assert not [*folder.glob("kmeans4/vol_*"), *folder.glob("kmeans4/difference_*")]


def test_a_map_stays_while_it_is_of_these_latents_and_shows_the_points(
    run, copied, analysed, caplog
):
    folder = copied / "analyze.1"
    shutil.copytree(analysed, folder)
    words = ("analyze", copied, 1, "--skip-vol", "--skip-umap", "--ksample", 4)
    kept = (folder / "umap.pkl").read_bytes()
    (folder / "pc1/umap_traversal.png").write_bytes(b"of an earlier call")
    run(*words)
    assert (folder / "umap.pkl").read_bytes() == kept
    assert (folder / "kmeans4/umap.png").is_file()
    assert (folder / "pc1/umap_traversal.png").read_bytes() != b"of an earlier call"
    assert "umap.pkl" not in caplog.text

    # As other programs leave it.
    (folder / "analysis.yaml").unlink()
    run(*words)
    assert (folder / "umap.pkl").read_bytes() == kept
    assert "analyze.1/umap.pkl stands without analysis.yaml, which" in caplog.text

    save_pickles(copied / "z.1.pkl", [load_latents(copied / "z.1.pkl")[::-1].copy()])
    run(*words)
    assert "umap.pkl is removed: analysis.yaml does not tell that it is a map" in caplog.text
    assert not list(folder.glob("*/umap*")) + list(folder.glob("umap*"))
    planes = live_data(folder)["latents"]["planes"]
    assert [plane["name"] for plane in planes] == ["PC1 and PC2"]


def live_data(folder):
    page = (folder / "report.html").read_text()
    return json.loads(re.search(r'id="live-data">(.*?)</script>', page).group(1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((7,), "no results of epoch 7 (z.7.pkl is missing); there is epoch 0, epoch 1, -1 for"),
        ((1, "--ksample", 61), "61 clusters need as many different latents"),
        ((1, "--pc", 4), "--pc 4 is more than the 3 components"),
        ((1, "--n-per-pc", 1), "--n-per-pc must be at least 2"),
        ((1, "--crop", 17), "--crop 17 must lie"),
        ((1, "-d", 18, "--ksample", 3), "larger than"),
    ],
)
def test_mistakes_end_in_one_sentence_and_write_nothing(fail, copied, options, words):
    before = names(copied)
    assert words in fail("analyze", copied, *options)
    assert names(copied) == before


def test_unfinished_runs_and_wrong_files_are_named(fail, copied, tmp_path):
    assert "does not exist" in fail("analyze", tmp_path / "no", 0)
    said = fail("analyze", copied / "weights.1.pkl", 0)
    assert f"expected the folder of a training run; give {copied}" in said
    assert "no config.yaml or config.pkl" in fail("analyze", tmp_path, 0)
    (copied / "weights.1.pkl").write_bytes((copied / "z.1.pkl").read_bytes())
    assert "no weight file" in fail("analyze", copied, 1)
    (copied / "weights.1.pkl").write_bytes((copied / "weights.pkl").read_bytes()[:1000])
    assert "no readable weight file" in fail("analyze", copied, 1)
    for path in (*copied.glob("z*"), *copied.glob("weights*")):
        path.unlink()
    assert "it has no results at all" in fail("analyze", copied, -1)


def test_latents_that_are_all_the_same_are_refused(fail, copied):
    save_pickles(copied / "z.1.pkl", [np.ones((60, 3), np.float32)])
    assert "but there are 1 among 60" in fail("analyze", copied, 1, "--ksample", 2)


def test_a_single_structure_has_nothing_to_compare(run, fail, simulated, tmp_path):
    out = tmp_path / "run"
    run("train_nn", simulated / "particles.star", "-n", 1, "--dim", 16, "-o", out)
    message = fail("analyze", out, -1)
    assert f"single structure, without latents: look at {out}/reconstruct.mrc" in message


def test_free_latents_are_analysed_too(run, simulated, tmp_path):
    out = tmp_path / "run"
    run("train_dec", simulated / "particles.star", "--zdim", 2, "-n", 1, "--dim", 16, "-o", out)
    run("analyze", out, 0, "--ksample", 2, "--n-per-pc", 2)
    assert (out / "analyze.0/kmeans2/vol_001.mrc").is_file()
    assert not (out / "analyze.0/umap.pkl").exists()


def test_moved_particles_cost_one_plot(run, copied, simulated, tmp_path, caplog):
    text = (copied / "config.yaml").read_text()
    moved = text.replace(str(simulated), str(tmp_path / "elsewhere"))
    (copied / "config.yaml").write_text(moved)
    run("analyze", copied, 1, "--skip-vol", "--skip-umap", "--ksample", 3)
    assert "no plot of the viewing directions" in caplog.text
    assert "view_directions.png" not in names(copied / "analyze.1")


def test_an_analysis_cut_short_says_that_its_folder_lacks_the_report(
    copied, capfd, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow._Analysis, "_plot_latents", interrupted)
    assert main(["analyze", str(copied), "last", "--skip-vol", "--skip-umap"]) == 130
    said = capfd.readouterr().err
    assert f"{copied}/analyze holds a part of the results and no report" in said
