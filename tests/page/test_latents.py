"""Latents that are no numbers, that change, or have not come yet: a sentence, no failure."""

import shutil

import numpy as np
import pytest
import torch

from cryodrgn.analysis.pca import principal_components
from cryodrgn.errors import InputFileError
from cryodrgn.io.checkpoints import load_checkpoint, save_checkpoint
from cryodrgn.io.cryodrgn_pickle import load_latents, load_poses, save_latents, save_pickles
from cryodrgn.page.shown_run import ShownRun
from page.server import serving

COLUMN = "/api/runs/0/column?group={}&name={}".format
LOST = [5, 60]


def rewritten(run, change):
    latents = load_latents(run / "z.pkl")
    change(latents)
    save_latents(run / "z.pkl", latents, np.zeros_like(latents))
    return latents


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_particles_without_a_latent_that_is_a_number_are_left_out_and_named(runs, value):
    def lose(latents):
        latents[LOST, 1] = value

    latents = rewritten(runs / "vae", lose)
    good = np.delete(latents, LOST, axis=0)
    with serving(runs / "vae") as page:
        notes = page.get("/api/runs/0/columns").json["notes"]
        assert any("for 2 of 100 particles" in note for note in notes)
        along = np.delete(page.get(COLUMN("latent", "PC1")).numbers, LOST)
        expected = principal_components(good).project(good)[:, 0]
        np.testing.assert_allclose(along, expected, atol=1e-5)
        clusters = page.get(COLUMN("clusters", "3")).numbers
        assert np.isnan(clusters[LOST]).all()
        assert set(np.delete(clusters, LOST)) == {0, 1, 2}
        near = page.get(f"/api/runs/0/volume?z={latents[61, 0]},{latents[61, 1]}").about
        assert near["nearest"] == 61
        refused = page.get("/api/runs/0/latent?row=5")
        assert refused.status == 404
        assert "the latent of particle 5 is no number" in refused.json["error"]


def test_a_training_that_diverged_is_said_to_have_diverged(runs):
    rewritten(runs / "vae", lambda latents: latents.fill(np.nan))
    with serving(runs / "vae") as page:
        assert page.get("/api/runs/0/columns").status == 200
        for path in (COLUMN("clusters", "3"), "/api/runs/0/volume?z=0,0"):
            answer = page.get(path)
            assert answer.status == 404
            assert "had diverged" in answer.json["error"]


def test_a_file_without_latents_is_refused(runs):
    save_latents(runs / "vae/z.pkl", np.zeros((0, 2), "f4"), np.zeros((0, 2), "f4"))
    run = ShownRun(runs / "vae", torch.device("cpu"))
    assert "the latents of no particle" in run.described()["notes"][0]
    with pytest.raises(InputFileError, match="of no particle"):
        run.column_groups(None)


def test_latents_weights_and_analyses_that_are_written_anew_are_shown(runs):
    run = runs / "vae"
    with serving(run) as page:
        asked = [COLUMN("latent", "z1"), "/api/runs/0/volume?z=0,0"]
        before = [page.get(path).numbers for path in asked]
        latents = rewritten(run, lambda latents: latents.__imul__(2))
        content = load_checkpoint(run / "weights.pkl")
        for values in content["model_state_dict"].values():
            values *= 1.5
        save_checkpoint(run / "weights.pkl", content)
        after = [page.get(path).numbers for path in asked]
        assert np.array_equal(after[0], latents[:, 0])
        assert not np.allclose(after[1], before[1])
        for place in (np.zeros((100, 2), "f4"), np.ones((100, 2), "f4")):
            (run / "analyze").mkdir(exist_ok=True)
            save_pickles(run / "analyze/umap.pkl", [place])
            assert np.array_equal(page.get(COLUMN("analysis", "UMAP1")).numbers, place[:, 0])


def test_a_run_that_has_no_latents_yet_gets_all_its_columns_with_the_first(runs):
    run = runs / "vae"
    (runs / "hidden").mkdir()
    hidden = [*run.glob("z*.pkl"), *run.glob("weights*.pkl")]
    for path in hidden:
        path.rename(runs / "hidden" / path.name)
    with serving(run) as page:
        told = page.get("/api/runs/0").json
        assert told["particles"] == 0
        assert told["notes"] == ["vae has no latents yet: they come with its first epoch"]
        early = page.get("/api/runs/0/file-columns").json
        assert early == {"groups": [], "notes": []}
        shutil.copyfile(runs / "hidden/z.0.pkl", run / "z.0.pkl")
        assert page.get("/api/runs/0").json["particles"] == 100
        groups = page.get("/api/runs/0/file-columns").json["groups"]
        assert {group["group"] for group in groups} >= {
            "poses and CTF",
            "sets",
            "particle file",
        }


def test_particles_are_shown_in_the_poses_that_their_run_found(runs):
    run = runs / "vae"
    rotations, shifts = load_poses(runs / "sim/poses.pkl")
    rows = np.arange(0, 100)[::-1]
    turned = rotations[rows] @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], "f4")
    with serving(run) as page:
        before = page.get(COLUMN("poses%20and%20CTF", "view%20azimuth")).numbers
        pictures = page.get("/api/runs/0/pictures?row=3").numbers
        save_pickles(run / "pose.pkl", [(turned, shifts[rows])])
        after = page.get(COLUMN("poses%20and%20CTF", "view%20azimuth")).numbers
        np.testing.assert_allclose((after - before) % 180, 90, atol=0.1)
        again = page.get("/api/runs/0/pictures?row=3").numbers
    assert np.array_equal(again[:256], pictures[:256])
    assert not np.allclose(again[512:], pictures[512:])


@pytest.mark.parametrize("name", ["%c2%b2", "7" * 5000, "0", "1", "101", "-2", "2.5"])
def test_what_is_no_number_of_clusters_is_refused(page, name):
    assert page.get(COLUMN("clusters", name)).status == 404


def test_a_dimension_with_thousands_of_digits_is_refused(page):
    path = "/api/runs/0/point?row=0&x=1&y_name=z2&y=0&x_name=z"
    assert page.get(path + "7" * 5000).status == 404
