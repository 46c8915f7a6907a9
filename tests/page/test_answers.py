"""What the page's server says is what the library computes."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pytest
import yaml
from scipy.ndimage import map_coordinates

import cryodrgn
from cryodrgn.analysis.pca import principal_components
from cryodrgn.errors import ConfigError
from cryodrgn.io.cryodrgn_pickle import load_pickles
from cryodrgn.io.score_table import read_scores
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.star import read_star
from cryodrgn.page.volumes import Superseded, Support, Turns, for_drawing
from cryodrgn.particles.half_sets import halves_of
from cryodrgn.reconstruction.trained import TrainedModel
from page.server import serving

CHOSEN = np.array([0, 3, 7, 42, 99], dtype="<u4")


def test_columns_are_those_of_the_files(page, trained):
    latents = cryodrgn.load_latents(trained / "vae/z.pkl")
    column = "/api/runs/0/column?group={}&name={}".format
    assert np.array_equal(page.get(column("latent", "z2")).numbers, latents[:, 1])
    expected = principal_components(latents).project(latents)
    got = page.get(column("latent", "PC2")).numbers
    np.testing.assert_allclose(got, expected[:, 1], atol=1e-5)
    early = page.get(column("latent", "z1") + "&epoch=0").numbers
    assert np.array_equal(early, cryodrgn.load_latents(trained / "vae/z.0.pkl")[:, 0])
    rows = load_indices(trained / "rows.pkl")
    defocus = read_star(trained / "sim/particles.star")["particles"].numbers("rlnDefocusU")
    got = page.get(column("particle%20file", "rlnDefocusU")).numbers
    np.testing.assert_allclose(got, defocus[rows], rtol=1e-6)
    assert page.get(column("clusters", "4")).about["names"] == 4


def test_scores_are_those_of_the_table_in_its_order(page, trained):
    for number, run in enumerate(("vae", "linear")):
        rows, scores = read_scores(trained / run / "scores.csv")
        column = f"/api/runs/{number}/column?group=scores&name={{}}".format
        assert np.array_equal(page.get(column("misfit")).numbers, scores["misfit"])
        assert np.array_equal(page.get(column("junk")).numbers, scores["junk"])
        assert page.get(column("junk")).about["names"] == 2
        assert len(rows) == len(page.get(column("misfit")).numbers)


def test_half_sets_are_those_of_half_maps_and_rows_those_of_the_file(page, trained):
    column = "/api/runs/0/column?group=sets&name={}".format
    _, second = halves_of(np.arange(100), np.arange(100))
    assert np.array_equal(np.flatnonzero(page.get(column("half%20set")).numbers), second)
    rows = page.get(column("row%20in%20the%20file")).numbers
    assert np.array_equal(rows, load_indices(trained / "rows.pkl"))


def test_every_column_that_is_listed_is_there(page):
    for number, count in ((0, 100), (1, 120)):
        groups = page.get(f"/api/runs/{number}/columns").json["groups"]
        groups += page.get(f"/api/runs/{number}/file-columns").json["groups"]
        names = [(g["group"], name) for g in groups for name in g["names"]]
        assert {"PC1", "defocus", "view azimuth", "rlnImageName"} <= {name for _, name in names}
        for group, name in names:
            path = f"/api/runs/{number}/column?group={group}&name={name}".replace(" ", "%20")
            assert len(page.get(path).numbers) == count, name


@pytest.mark.parametrize(("number", "run"), [(0, "vae"), (1, "linear")])
def test_a_volume_is_the_file_that_eval_vol_writes(page, trained, tmp_path, number, run):
    path = tmp_path / "v.mrc"
    cryodrgn.eval_vol(trained / run / "weights.pkl", path, z=(0.3, -0.2))
    expected, pixel_size = cryodrgn.read_volume(path)
    answer = page.get(f"/api/runs/{number}/volume?z=0.3,-0.2")
    got = answer.numbers.reshape(expected.shape)
    assert np.abs(got - expected).max() <= 1e-6 * np.abs(expected).max()
    assert answer.about["pixel_size"] == pytest.approx(pixel_size)
    assert page.get(f"/api/runs/{number}/volume.mrc?z=0.3,-0.2").content == path.read_bytes()
    drawn = page.get(f"/api/runs/{number}/volume?z=0.3,-0.2&precision=half")
    halves = np.frombuffer(drawn.content, "<f2")[: expected.size].astype(float)
    halves /= drawn.about["factor"]
    np.testing.assert_allclose(halves.reshape(expected.shape), expected, rtol=2**-10, atol=1e-7)
    small = page.get(f"/api/runs/{number}/volume?z=0.3,-0.2&side=8")
    assert len(small.numbers) == 8**3
    assert small.about["pixel_size"] == pytest.approx(2 * pixel_size)


def test_ten_pages_at_once_share_one_model(trained, monkeypatch):
    loaded, load = [], TrainedModel.load

    def noted(*args, **kwargs):
        loaded.append(args)
        return load(*args, **kwargs)

    monkeypatch.setattr(TrainedModel, "load", noted)
    with serving(trained / "vae") as client, ThreadPoolExecutor(10) as pages:
        paths = [f"/api/runs/0/volume?z=0.3,{n}&page={n}&turn=1" for n in range(10)]
        answers = list(pages.map(client.get, paths))
    assert [answer.status for answer in answers] == [200] * 10
    assert len({answer.content for answer in answers}) == 10
    assert len(loaded) == 1


@pytest.mark.parametrize("side", [2, 16, 18, 22])
def test_nothing_that_is_interpolated_within_a_block_exceeds_its_largest(rng, side):
    volume = rng.normal(size=(side,) * 3).astype(np.float32)
    numbers, about = for_drawing(volume)
    voxels, count = numbers[: side**3].reshape(volume.shape), about["blocks"]
    most = numbers[side**3 :].reshape((count,) * 3)
    np.testing.assert_allclose(voxels.astype(float), volume * about["factor"], rtol=2**-11)
    places = rng.uniform(size=(3, 20_000))
    blocks = tuple(np.floor(places * count).astype(int))
    # The centre of the first voxel lies half a voxel within the box.
    within = map_coordinates(voxels.astype(float), places * side - 0.5, order=1, mode="nearest")
    assert (within <= most[blocks].astype(float) + 1e-9).all()
    assert set(most.ravel()) <= {0, *voxels.ravel()}


def test_models_that_are_sums_of_volumes_are_shown_whole_at_once(page):
    assert [page.get(f"/api/runs/{number}").json["instant"] for number in (0, 1)] == [
        False,
        True,
    ]


@pytest.mark.parametrize("x", ["nan", "inf", "1e999"])
def test_a_place_without_a_finite_number_is_refused(page, x):
    answer = page.get(f"/api/runs/0/point?row=0&x_name=z1&x={x}&y_name=z2&y=0")
    assert answer.status == 422
    assert "finite" in answer.json["error"]


@pytest.mark.parametrize("name", ["z9", "PC0", "PC3", "elsewhere"])
def test_a_latent_that_the_run_has_not_is_refused(page, name):
    answer = page.get(f"/api/runs/0/point?row=0&x_name={name}&x=1&y_name=z2&y=0")
    assert answer.status == 404
    assert f"no latent '{name}'; it has z1 to z2" in answer.json["error"]


def test_points_among_the_particles_are_supported_and_those_beyond_are_not(rng):
    latents = rng.normal(size=(3000, 4)).astype(np.float32) * [1, 1, 1, 100]
    support = Support(latents.astype(np.float32))
    found = [support.of(tuple(row)) for row in latents[:200]]
    assert np.mean([one["supported"] for one in found]) > 0.95
    assert [one["nearest"] for one in found] == list(range(200))
    assert not support.of((9.0, 9.0, 9.0, 900.0))["supported"]
    # An axis on which latents spread far is not judged by the others.
    assert support.of((0.0, 0.0, 0.0, 20.0))["supported"]


def test_a_wish_gives_way_to_a_later_one_of_the_same_page_alone():
    turns = Turns()
    turns.ask("one", 5)
    turns.ask("two", 1)
    turns.require_latest("one", 5)
    turns.require_latest("two", 1)
    turns.require_latest("", 0)
    with pytest.raises(Superseded):
        turns.require_latest("one", 4)


def test_the_prediction_resembles_the_image_of_its_particle_and_no_other(page):
    def pictures(row: int) -> tuple[np.ndarray, np.ndarray]:
        answer = page.get(f"/api/runs/1/pictures?row={row}")
        parts, place = {}, 0
        for name, side in answer.about["sides"].items():
            parts[name] = answer.numbers[place : place + side**2]
            place += side**2
        assert set(parts) == {"raw", "low-passed", "predicted", "predicted low-passed"}
        return parts["low-passed"], parts["predicted low-passed"]

    found = [pictures(row) for row in range(0, 120, 10)]
    images, predictions = (np.stack(part) for part in zip(*found, strict=True))
    agreement = np.corrcoef(images, predictions)[: len(images), len(images) :]
    assert (agreement.diagonal() > 0.8).all()
    others = agreement[~np.eye(len(images), dtype=bool)]
    assert agreement.diagonal().mean() > others.mean() + 0.2


def test_a_selection_is_saved_as_rows_of_the_original_file_and_exported_as_by_hand(runs):
    original = load_indices(runs / "rows.pkl")
    with serving(runs / "vae") as page:
        saved = page.post("/api/runs/0/selection?name=kept", CHOSEN.tobytes())
        assert saved.status == 200
        exported = page.post("/api/runs/0/export?name=kept").json
        assert exported["exports"] == [".star"]
        download = page.get("/api/runs/0/download?name=kept&ending=.star").content
        back = page.get("/api/runs/0/selection?name=kept").content
    rows = load_indices(runs / "vae/selections/kept.pkl")
    assert np.array_equal(rows, original[CHOSEN])
    assert np.array_equal(np.frombuffer(back, "<u4"), CHOSEN)
    star, by_hand = runs / "sim/particles.star", runs / "by_hand.star"
    cryodrgn.export(star, runs / "vae/selections/kept.pkl", by_hand)
    assert download == by_hand.read_bytes()
    assert (runs / "vae/selections/kept.star").read_bytes() == by_hand.read_bytes()


def test_select_goes_on_from_what_the_page_saved(runs):
    with serving(runs / "vae") as page:
        page.post("/api/runs/0/selection?name=kept", CHOSEN.tobytes())
    out = runs / "more.pkl"
    rows = cryodrgn.select(runs / "vae", output=out, saved="kept", boxes=((0, -99, 99),))
    assert np.array_equal(rows, load_indices(runs / "rows.pkl")[CHOSEN])
    with pytest.raises(ConfigError, match="no selection 'lost'; there is kept"):
        cryodrgn.select(runs / "vae", output=out, saved="lost")
    with pytest.raises(ConfigError, match="give the run's folder"):
        cryodrgn.select(output=out, saved="kept", num_original=120)


def test_two_people_who_save_at_once_do_not_lose_a_selection(runs):
    with serving(runs / "vae") as page:
        path = "/api/runs/0/selection?name=kept"
        with ThreadPoolExecutor(8) as people:
            parts = [np.array([n, n + 1], dtype="<u4").tobytes() for n in range(8)]
            answers = list(people.map(lambda body: page.post(path, body), parts))
        statuses = [answer.status for answer in answers]
        assert sorted(statuses) == [200] + [409] * 7
        won = statuses.index(200)
        assert page.get(path).content == parts[won]
        seen = answers[won].json["version"]
        assert page.post(f"{path}&seen={seen}", parts[0]).status == 200
        assert "somebody else" in page.post(f"{path}&seen={seen}", parts[1]).json["error"]
        assert page.get(path).content == parts[0]


def test_progress_is_told_once_and_then_only_when_something_is_new(page):
    first = page.get("/api/runs/0/progress").json
    assert first["state"] == "finished"
    assert [loss["epoch"] for loss in first["losses"]] == [0, 1]
    assert first["rate"] > 0
    again = page.get(f"/api/runs/0/progress?seen={first['stamp']}").json
    assert again == {"stamp": first["stamp"], "unchanged": True}
    assert page.get("/api/runs/1/progress").json["state"] == "finished"


def test_half_maps_of_a_linear_run_have_their_curves(page):
    curves = page.get("/api/runs/1/half-maps").json
    assert set(curves) == {"mean", "component 1", "component 2"}
    assert curves["mean"][0][1] > 0.9
    assert page.get("/api/runs/0/half-maps").json == {}


def test_a_run_without_its_images_is_shown_with_a_sentence(runs):
    path = runs / "vae/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["dataset_args"]["particles"] = str(runs / "gone/particles.star")
    path.write_text(yaml.safe_dump(config))
    with serving(runs / "vae") as page:
        assert page.get("/api/runs/0").json["particles"] == 100
        assert len(page.get("/api/runs/0/column?group=latent&name=z1").numbers) == 100
        assert page.get("/api/runs/0/volume?z=0,0").status == 200
        notes = page.get("/api/runs/0/file-columns").json["notes"]
        assert any("particles.star" in note for note in notes)
        answer = page.get("/api/runs/0/pictures?row=0")
        assert answer.status == 404
        assert "particles.star" in answer.json["error"]
        assert page.post("/api/runs/0/selection?name=a", CHOSEN.tobytes()).status == 200
        assert page.post("/api/runs/0/export?name=a").status == 404


def test_a_run_of_another_version_shows_its_latents_and_says_why_it_has_no_volumes(runs):
    path = runs / "vae/config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["training"]
    config["version"], config["model_args"]["pe_type"] = "4.3.0", "of the future"
    path.write_text(yaml.safe_dump(config))
    with serving(runs / "vae") as page:
        assert len(page.get("/api/runs/0/column?group=latent&name=PC1").numbers) == 100
        answer = page.get("/api/runs/0/volume?z=0,0")
        assert answer.status == 422
        assert "of the future" in answer.json["error"]
        assert page.get("/api/runs/0/pictures?row=0").about["sides"] == {
            "raw": 16,
            "low-passed": 16,
        }


def test_latents_with_their_variances_have_a_deviation(page, trained):
    log_variance = load_pickles(trained / "vae/z.pkl")[1]
    path = "/api/runs/0/column?group=latent&name=posterior%20deviation"
    expected = np.sqrt(np.exp(log_variance).mean(1))
    np.testing.assert_allclose(page.get(path).numbers, expected, rtol=1e-5)


def test_files_of_selections_with_other_names_are_said_and_exports_given_whatever_theirs(runs):
    folder = runs / "vae/selections"
    with serving(runs / "vae") as page:
        page.post("/api/runs/0/selection?name=kept", CHOSEN.tobytes())
        (folder / "my choice.pkl").write_bytes((folder / "kept.pkl").read_bytes())
        (folder / "folder.pkl").mkdir()
        odd = '_passthrough_日本 "1".cs'
        (folder / f"kept{odd}").write_bytes(b"table")
        told = page.get("/api/runs/0/selections").json
        assert [one["name"] for one in told["selections"]] == ["kept"]
        assert told["selections"][0]["exports"] == [odd]
        (note,) = told["notes"]
        assert "my choice.pkl is not listed" in note
        answer = page.get(f"/api/runs/0/download?name=kept&ending={quote(odd)}")
        assert answer.content == b"table"
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")


def test_a_selection_that_cannot_be_written_is_a_sentence(runs):
    # Where the folder of selections would be lies a file.
    (runs / "vae/selections").write_text("")
    with serving(runs / "vae") as page:
        answer = page.post("/api/runs/0/selection?name=kept", CHOSEN.tobytes())
    assert answer.status in {404, 422}
    assert "selections" in answer.json["error"]
