"""What the page shows stays one thing: one run, one epoch, and the film of one path."""

import base64
import json

import numpy as np
import pytest

from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.star import read_star, write_star
from page.polygons import inside
from page.server import serving
from page.test_columns import moved

BOX = [(0.2, 0.2), (0.7, 0.7)]
CHOSEN = "return Array.from(page.latent.chosenRows())"


def option(browser, name, text):
    """Take the entry of a list that reads so."""
    value = browser.run(
        "return [...document.getElementById(arguments[0]).options]"
        ".find((one) => one.innerText === arguments[1])?.value",
        name,
        text,
    )
    assert value is not None, f"no {text} in {name}"
    browser.choose(name, value)


def shown_epoch(browser, epoch):
    browser.choose("epoch", epoch)
    browser.until(
        f"return page.shownEpoch === {epoch} && page.volumes.shown.a?.about.epoch === {epoch}"
        " && document.getElementById('busy').innerText === ''"
    )


def with_analysis(runs):
    (runs / "vae/analyze").mkdir()
    places = np.random.default_rng(0).normal(size=(100, 2)).astype("f4")
    save_pickles(runs / "vae/analyze/umap.pkl", [places])
    return runs / "vae"


def test_an_epoch_is_shown_by_its_own_columns_and_choices_stay_those_of_theirs(runs, browser):
    with serving(with_analysis(runs)) as page:
        browser.open(page.server.link)
        assert browser.run("return page.state.x") == ["analysis", "UMAP1"]
        browser.take("box")
        browser.drag("points", BOX)
        browser.until("return page.state.steps.length")
        step, chosen = browser.run("return page.state.steps[0]"), browser.run(CHOSEN)
        names = (f"/api/runs/0/column?group=analysis&name=UMAP{axis}" for axis in (1, 2))
        plane = np.stack([page.get(name).numbers for name in names], axis=1)
        assert chosen == np.flatnonzero(inside(plane, step["polygon"])).tolist()
        # The first epoch has no analysis: other axes, its latents, the same particles chosen.
        shown_epoch(browser, "0")
        assert browser.run("return page.state.x") == ["latent", "PC1"]
        assert "no column UMAP1 here: PC1 is shown" in browser.text("messages")
        early = page.get("/api/runs/0/column?group=latent&name=PC1&epoch=0").numbers
        assert browser.run("return Array.from(page.latent.scatter.x)") == early.tolist()
        assert browser.run(CHOSEN) == chosen
        browser.wait_for("new Promise((done) => setTimeout(done, 400))")
        browser.open(browser.run("return location.href"))
        assert browser.run("return page.shownEpoch") == 0
        assert browser.run(CHOSEN) == chosen
        # An analysis that is gone: what is usual is shown, and that is said.
        (runs / "vae/analyze/umap.pkl").unlink()
        state = {"x": ["analysis", "UMAP1"], "y": ["analysis", "UMAP2"], "epoch": None}
        state |= {"colour": ["scores", "nothing"], "steps": [{"kind": "polygon"}, {"kind": 1}]}
        browser.open(f"{page.server.link}#{fragment(state)}")
        assert browser.run("return [page.state.x, page.state.y, page.state.colour]") == [
            ["latent", "PC1"],
            ["latent", "PC2"],
            ["", "density"],
        ]
        assert "fault" not in browser.text("messages")
        assert browser.run("return page.latent.scatter.shades.length") == 100


def fragment(state):
    return base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")


def test_a_link_opens_the_run_that_it_is_of_whatever_its_place_among_others(runs, browser):
    with serving(runs / "vae", runs / "linear") as page:
        browser.open(page.server.link)
        browser.choose("run", "1")
        browser.until("return page.run.name === 'linear' && page.latent.scatter.count === 120")
        browser.take("box")
        browser.drag("points", BOX)
        browser.until("return page.state.steps.length")
        chosen = browser.run(CHOSEN)
        browser.wait_for("new Promise((done) => setTimeout(done, 400))")
        address = browser.run("return location.hash")
    with serving(runs / "linear", runs / "vae") as page:
        browser.open(page.server.link + address)
        assert browser.run("return [page.run.name, page.state.run]") == ["linear", 0]
        assert browser.run(CHOSEN) == chosen
    with serving(runs / "vae") as page:
        browser.open(page.server.link + address)
        assert browser.run("return page.run.name") == "vae"
        assert "is of the run linear, which this page does not have" in browser.text("messages")
        assert browser.run(CHOSEN) == []


def test_a_film_is_of_the_path_the_number_and_the_epoch_that_are_asked_for(page, browser):
    browser.open(page.server.link)
    browser.take("path")
    for place in ((0.2, 0.5), (0.8, 0.5)):
        browser.drag("points", [place, place])
    browser.until("return page.state.anchors.length === 2 && page.state.anchors[1].z.length")
    frames = "page.volumes.path.frames.map((f) => f.point.z)"
    for count in (4, 6):
        browser.run(f"document.getElementById('path-count').value = {count}")
        # Asked for twice at once, it is one film.
        browser.run("page.volumes.path.makeFilm().catch(() => null)")
        assert (
            browser.wait_for(f"page.volumes.path.makeFilm().then(() => {frames}.length)")
            == count
        )
    shown_epoch(browser, "0")
    assert browser.run(f"return {frames}") == []
    rows = browser.run("return page.state.anchors.map((one) => one.row)")
    ends = [page.get(f"/api/runs/0/latent?row={row}&epoch=0").json["z"] for row in rows]
    made = browser.wait_for(f"page.volumes.path.makeFilm().then(() => {frames})")
    np.testing.assert_allclose([made[0], made[-1]], ends, rtol=1e-6)
    # Whatever one does next takes its place.
    browser.run("page.volumes.path.forgetFrames()")
    browser.run("window.given = page.volumes.path.makeFilm().then(() => 'made', (e) => e.name)")
    browser.click("clear-path")
    assert browser.wait_for("window.given") == "AbortError"
    assert browser.text("busy") == ""


def test_points_of_a_new_epoch_stay_in_view_unless_one_looks_closer(page, browser):
    browser.open(page.server.link)
    inside_of = "const { scatter: s } = page.latent; return Math.max(...Array.from(s.x, (x) =>"
    inside_of += " Math.abs(x - s.view.cx) / s.view.wx))"
    for epoch in ("0", "1"):
        shown_epoch(browser, epoch)
        assert browser.run(inside_of) == pytest.approx(1 / 1.05, rel=1e-3)
    browser.run("page.latent.scatter.zoom(0.5, 100, 100)")
    view = browser.run("return page.latent.scatter.view")
    shown_epoch(browser, "0")
    assert browser.run("return page.latent.scatter.view") == view


def test_nothing_is_shown_of_another_run_where_one_has_no_volumes(runs, browser):
    for path in (runs / "linear").glob("weights*"):
        path.unlink()
    with serving(runs / "vae", runs / "linear") as page:
        browser.open(page.server.link)
        browser.until("return page.volumes.shown.a?.side === 16")
        browser.choose("run", "1")
        browser.until(
            "return document.getElementById('messages').innerText.includes('weights')"
        )
        assert (
            browser.text("about-a") == "A: take the tool Volume and click among the particles"
        )
        assert browser.text("busy") == ""
        shades = browser.run(
            "const c = document.createElement('canvas'); c.width = c.height = 50;"
            "const g = c.getContext('2d'), a = document.getElementById('a');"
            "g.drawImage(a, 0, 0, 50, 50);"
            "return [page.volumes.shown.a, [...new Set(g.getImageData(0, 0, 50, 50).data)]]"
        )
        assert shades == [None, [255]]


def test_a_volume_takes_the_place_of_a_map_and_a_refusal_leaves_nothing_under_way(
    page, browser
):
    browser.open(page.server.link)
    browser.choose("run", "1")
    listed = "[...document.getElementById('maps').options].some((o) => o.value)"
    browser.until(f"return page.run.name === 'linear' && {listed}")
    browser.choose("maps", "mean.mrc")
    browser.until("return page.volumes.shown.a?.map === 'mean.mrc'")
    browser.take("volume")
    browser.drag("points", [(0.4, 0.4), (0.4, 0.4)])
    browser.until("const { a } = page.volumes.shown; return a && a.map === undefined")
    assert browser.run("return [page.state.map, document.getElementById('maps').value]") == [
        "",
        "",
    ]
    for z, said in (("1 2 3", "is 2 numbers"), ("1 x", "is 2 numbers"), ("1e39 0", "finite")):
        browser.run(f"document.getElementById('z').value = '{z}'")
        browser.click("go")
        browser.until(
            f"return document.getElementById('messages').innerText.includes('{said}')"
        )
        assert browser.text("busy") == ""
    assert "fault" not in browser.text("messages")


HUGE = {"huge": "1e300", "lost": "nan", "tiny": "-1e300", "plain": "1"}


@pytest.fixture
def odd(runs):
    """A run on a file with columns of numbers that are none, or beyond all bounds."""
    star = runs / "sim/particles.star"
    blocks = {
        name: {column: table.text(column) for column in table.names}
        for name, table in read_star(star).items()
    }
    particles, rows = blocks["particles"], np.arange(120)
    for name, value in HUGE.items():
        particles[name] = [value if row % 40 == 0 else str(row) for row in rows]
    particles["empty"] = ["nan"] * 120
    particles["one"] = ["7"] * 120
    write_star(star, blocks)
    moved(runs / "vae/config.yaml", star)
    return runs / "vae"


def test_columns_of_any_numbers_are_drawn_and_chosen_by(odd, browser):
    with serving(odd) as page:
        browser.driver.get("about:blank")
        browser.driver.get_log("browser")
        browser.open(page.server.link)
        browser.until("return page.latent.fileGroups")
        for name in (*HUGE, "empty", "one"):
            values = page.get(f"/api/runs/0/column?group=particle%20file&name={name}").numbers
            for place in ("x", "colour"):
                option(browser, place, name)
            browser.until(
                f"return page.latent.coloured.values.length === 100 &&"
                f" JSON.stringify(page.state.colour).includes('{name}')"
            )
            browser.wait_for("page.latent.refresh()")
            view = browser.run("return page.latent.scatter.view")
            finite = values[np.isfinite(values)]
            assert 0 < view["wx"] < 1e4
            if len(finite):
                assert abs(finite.mean() - view["cx"]) <= view["wx"]
            # With one end alone, all values beyond it, infinite ones too.
            for low, high in ((50, None), (None, 50)):
                browser.run(
                    "['low', 'high'].forEach((id, i) =>"
                    " (document.getElementById(id).value = arguments[0][i] ?? ''))",
                    [low, high],
                )
                count = browser.run("return page.state.steps.length")
                browser.click("threshold")
                browser.until(f"return page.state.steps.length === {count + 1}")
                expected = values >= 50 if high is None else values <= 50
                assert browser.run(CHOSEN) == np.flatnonzero(expected).tolist()
        errors = [e["message"] for e in browser.driver.get_log("browser")]
        assert not [e for e in errors if "attribute" in e or "NaN" in e], errors
