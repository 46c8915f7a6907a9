"""A run of cryoDRGN 4.x in the page, against an evaluation of its network of its own."""

import pickle
import shutil

import numpy as np
import pytest
import yaml

from page.run_of_4 import volume_of_4, write_run_of_4
from page.server import serving


@pytest.fixture(scope="module")
def foreign(trained, tmp_path_factory):
    """A run of 4.x of the simulated particles, its weights, and a server of its page."""
    folder = tmp_path_factory.mktemp("foreign") / "run4"
    state = write_run_of_4(folder, trained / "sim", 120)
    with serving(folder) as client:
        yield folder, state, client


def latents(path):
    with path.open("rb") as file:
        return pickle.load(file)


def test_latents_epochs_and_losses_of_4_are_shown(foreign):
    folder, _, page = foreign
    told = page.get("/api/runs/0").json
    assert (told["particles"], told["box_size"], told["latent_dim"]) == (120, 16, 2)
    assert told["epochs"] == [1, 2]
    assert told["pixel_size"] == pytest.approx(12)
    for epoch, name in (("", "z.pkl"), ("&epoch=1", "z.1.pkl")):
        got = page.get(f"/api/runs/0/column?group=latent&name=z2{epoch}").numbers
        assert np.array_equal(got, latents(folder / name)[:, 1])
    spread = page.get("/api/runs/0/column?group=latent&name=posterior%20deviation").numbers
    np.testing.assert_allclose(spread, np.exp(-1), rtol=1e-6)
    progress = page.get("/api/runs/0/progress").json
    assert progress["state"] == "finished"
    assert [loss["total"] for loss in progress["losses"]] == [0.85, 0.75]
    groups = page.get("/api/runs/0/file-columns").json["groups"]
    names = {name for group in groups for name in group["names"]}
    assert {"defocus", "view azimuth", "half set"} <= names


def test_the_volume_of_4_is_that_of_its_network(foreign):
    _, state, page = foreign
    expected = volume_of_4(state, np.array([0.3, -0.7]))
    got = page.get("/api/runs/0/volume?z=0.3,-0.7").numbers.reshape(expected.shape)
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_click_among_the_particles_of_4_shows_the_volume_there(foreign, browser):
    folder, state, page = foreign
    browser.open(page.server.link)
    row, got = browser.volume_at(0.4, 0.5)
    assert browser.run("return page.latent.scatter.count") == 120
    assert "finished" in browser.text("progress")
    expected = volume_of_4(state, latents(folder / "z.pkl")[row]).ravel()
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_image_of_a_particle_of_4_is_shown_beside_its_prediction(foreign):
    _, _, page = foreign
    answer = page.get("/api/runs/0/pictures?row=5")
    names = ["raw", "low-passed", "predicted", "predicted low-passed"]
    assert list(answer.about["sides"]) == names
    assert all(picture.std() > 0 for picture in np.split(answer.numbers, 4))


def test_a_run_that_does_not_say_its_pixel_size_is_said_to_take_one(foreign, tmp_path):
    folder, _, _ = foreign
    shutil.copytree(folder, tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    config["dataset_args"]["ctf"] = None
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(config))
    with serving(tmp_path / "run") as page:
        told = page.get("/api/runs/0").json
    assert told["pixel_size"] == 1
    assert told["notes"] == ["run does not say its Å/px: volumes and .mrc files take 1"]
