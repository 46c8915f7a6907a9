"""Choices of particles in the page, in every way that it offers, against numpy."""

import json

import numpy as np
import pytest
import yaml

from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.star import read_star, write_star
from page.polygons import inside
from page.server import serving

LEFT = [(0.05, 0.05), (0.55, 0.05), (0.5, 0.5), (0.55, 0.95), (0.05, 0.95)]
UPPER = [(0.1, 0.02), (0.95, 0.02), (0.95, 0.5), (0.1, 0.45)]


class Chooser:
    """One who chooses particles of the network's run, and knows what must come of it."""

    def __init__(self, browser, page):
        self.browser, self.page = browser, page
        self.plane = np.stack([self.column("latent", name) for name in ("PC1", "PC2")], axis=1)
        browser.open(page.server.link)
        self.steps = 0

    def column(self, group, name):
        answer = self.page.get(f"/api/runs/0/column?group={group}&name={name}")
        return answer.numbers

    def mode(self, name):
        self.browser.choose("mode", name)

    def draw(self, tool, path):
        """Particles within what is drawn."""
        self.browser.take(tool)
        self.browser.drag("points", path)
        polygon = self.made()["polygon"]
        # It lies where the pointer went, to a pixel.
        corners = path if tool == "lasso" else [path[0], path[-1]]
        pixels = self.browser.run(
            "const s = page.latent.scatter; const { clientWidth, clientHeight } = s.canvas;"
            "return arguments[0].map(([x, y]) => s.toPixels(x, y)).map("
            "([x, y]) => [x / clientWidth, y / clientHeight])",
            polygon,
        )
        far = np.abs(np.array(pixels)[:, None] - np.array(corners)).max(-1).min(0)
        assert far.max() < 0.005
        return inside(self.plane, polygon)

    def made(self):
        """The step that was made last, once it is done."""
        self.steps += 1
        count = f"page.latent.history.length === {self.steps}"
        self.browser.until(f"return {count} && page.state.steps.length === {self.steps}")
        return self.browser.run("return page.state.steps.at(-1)")

    def press(self, name):
        self.browser.click(name)
        self.made()

    def require(self, expected):
        """Nothing but these is chosen, and that is said."""
        got = self.browser.run("return Array.from(page.latent.chosenRows())")
        assert got == np.flatnonzero(expected).tolist()
        count, share = expected.sum(), 100 * expected.mean()
        digits = 2 if share < 10 else 1
        said = f"{count} of {len(expected)} particles chosen ({share:.{digits}f} %)"
        assert self.browser.text("count") == said


@pytest.fixture
def chooser(browser, page):
    return Chooser(browser, page)


def test_choices_are_united_met_taken_away_turned_round_and_undone(chooser):
    left = chooser.draw("lasso", LEFT)
    chooser.require(left)
    chooser.mode("add")
    upper = chooser.draw("box", [UPPER[0], UPPER[2]])
    assert 0 < (left & upper).sum() < upper.sum()
    chooser.require(left | upper)
    chooser.mode("and")
    right = chooser.draw("box", [(0.3, 0.02), (0.98, 0.98)])
    chooser.require((left | upper) & right)
    chooser.mode("sub")
    low = chooser.draw("lasso", [(0.02, 0.6), (0.98, 0.6), (0.98, 0.98), (0.02, 0.98)])
    rest = (left | upper) & right & ~low
    assert 0 < rest.sum() < ((left | upper) & right).sum()
    chooser.require(rest)
    chooser.press("invert")
    chooser.require(~rest)
    chooser.press("clear")
    chooser.require(np.zeros(100, bool))
    for before in (~rest, rest, (left | upper) & right, left | upper, left):
        chooser.browser.click("undo")
        chooser.require(before)
    chooser.browser.click("undo")
    chooser.require(np.zeros(100, bool))
    # With nothing left to undo, nothing happens.
    chooser.browser.click("undo")
    chooser.steps = 0
    chooser.mode("new")
    chooser.require(chooser.draw("box", [(0.2, 0.2), (0.6, 0.7)]))


def test_particles_are_chosen_by_the_value_of_their_colour(chooser):
    browser = chooser.browser
    browser.choose("colour", json.dumps(["scores", "misfit"], separators=(",", ":")))
    browser.until("return document.querySelectorAll('#histogram rect').length === 60")
    values = chooser.column("scores", "misfit")
    low, high = np.round(np.quantile(values, [0.3, 0.8]), 3).tolist()
    browser.run(f"document.getElementById('low').value = {low}")
    browser.run(f"document.getElementById('high').value = {high}")
    chooser.press("threshold")
    between = (values >= low) & (values <= high)
    assert 40 < between.sum() < 60
    chooser.require(between)
    # Without a lower end, all below the upper one.
    chooser.mode("sub")
    middle = float(np.round(np.median(values), 3))
    browser.run("document.getElementById('low').value = ''")
    browser.run(f"document.getElementById('high').value = {middle}")
    chooser.press("threshold")
    chooser.require(between & ~(values <= middle))


def test_particles_are_chosen_by_their_cluster(chooser):
    browser = chooser.browser
    browser.run("document.getElementById('k').value = 4")
    browser.choose("colour", '["clusters","k-means"]')
    browser.until("return document.querySelectorAll('#legend button').length === 4")
    labels = chooser.column("clusters", "4")
    counts = browser.run(
        "return [...document.querySelectorAll('#legend button')].map((b) => b.innerText)"
    )
    assert counts == [f"{n} ({(labels == n).sum()})" for n in range(4)]
    press = "document.querySelectorAll('#legend button')[{}].click()".format
    browser.run(press(2))
    chooser.made()
    chooser.require(labels == 2)
    chooser.mode("add")
    browser.run(press(0))
    chooser.made()
    chooser.require((labels == 2) | (labels == 0))


def test_named_selections_are_united_and_taken_away(runs, browser):
    with serving(runs / "vae") as page:
        chooser = Chooser(browser, page)
        named = {}
        for name, path in (("left", LEFT), ("upper", UPPER)):
            named[name] = chooser.draw("lasso", path)
            browser.run(f"document.getElementById('name').value = '{name}'")
            browser.click("save")
            browser.until(
                f"return document.getElementById('saved').innerText.includes('{name}')"
            )
            rows = load_indices(runs / "vae/selections" / f"{name}.pkl")
            assert np.array_equal(rows, load_indices(runs / "rows.pkl")[named[name]])
        left, upper = named.values()
        for mode, name, expected in (
            ("add", "left", upper | left),
            ("sub", "upper", left & ~upper),
            ("new", "upper", upper),
            ("and", "left", upper & left),
        ):
            chooser.mode(mode)
            row = "[...document.querySelectorAll('#saved tr')].find((r) => r.cells[0].innerText"
            browser.run(f"{row} === '{name}').querySelector('button').click()")
            chooser.made()
            chooser.require(expected)


def test_the_small_file_of_a_state_opens_it_again(chooser, tmp_path):
    browser = chooser.browser
    chosen = chooser.draw("lasso", LEFT)
    chooser.press("invert")
    browser.choose("x", '["latent","z2"]')
    browser.choose("colour", '["scores","misfit"]')
    browser.choose("palette", "cividis")
    browser.volume_at(0.6, 0.4)
    browser.click("keep-b")
    browser.volume_at(0.3, 0.6)
    browser.click("difference")
    browser.run("page.volumes.camera.rotate(0.4, 0.2)")
    browser.run("page.latent.scatter.zoom(0.8, 100, 100)")
    browser.click("theme")
    known = "return [page.remembered(), page.latent.coloured.values.length]"
    state = browser.run(known)
    browser.click("save-state")
    saved = tmp_path / "state.json"
    saved.write_bytes(browser.arrived("vae.page.json"))
    assert saved.stat().st_size < 5000
    shown = "return [...['about-a', 'about-b', 'legend', 'count', 'z']].map((id) => {"
    shown += "const e = document.getElementById(id); return e.value ?? e.innerText })"
    texts = browser.run(shown)

    browser.open(chooser.page.server.link)
    assert browser.run(known) != state
    browser.driver.find_element("id", "open-state").send_keys(str(saved))
    browser.until("return page.latent.mask && page.volumes.shown.a && page.volumes.shown.b")
    browser.until(
        "const { a, b } = page.volumes.shown; const side = page.run.box_size;"
        "return a?.side === side && b?.side === side &&"
        "document.getElementById('busy').innerText === ''"
    )
    assert browser.run(known) == state
    assert browser.run(shown) == texts
    chooser.require(~chosen)
    assert browser.run("return document.documentElement.dataset.theme") == "dark"
    # A file that is none of these says so, and changes nothing.
    saved.write_text('["no state"]')
    browser.driver.find_element("id", "open-state").send_keys(str(saved))
    browser.until(
        "return document.getElementById('messages').innerText.includes('no state of')"
    )
    assert browser.run(known) == state


# What users colour by, and the entry of the list that is it.
COLOURS = {
    "cluster": "k-means",
    "density": "density",
    "defocus": "defocus",
    "loss": "misfit (loss)",
    "pose": "view azimuth",
    "micrograph": "micrograph",
    "contrast": "contrast",
    "half": "half set",
    "time": "row in the file (time)",
}


def test_particles_are_coloured_by_all_that_users_ask_for(runs, browser):
    star = runs / "sim/particles.star"
    blocks = {
        name: {column: table.text(column) for column in table.names}
        for name, table in read_star(star).items()
    }
    micrographs = [f"m{row // 30}.mrc" for row in range(120)]
    blocks["particles"]["rlnMicrographName"] = micrographs
    write_star(star, blocks)
    path = runs / "vae/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["dataset_args"]["particles"] = str(star)
    path.write_text(yaml.safe_dump(config))
    with serving(runs / "vae") as page:
        browser.open(page.server.link)
        browser.until("return page.latent.fileGroups")
        shown = {}
        for what, entry in COLOURS.items():
            options = "[...document.getElementById('colour').options]"
            value = browser.run(
                f"return {options}.find((o) => o.innerText === arguments[0])?.value", entry
            )
            assert value, f"no colour for {what}"
            browser.run("page.latent.coloured = null")
            browser.choose("colour", value)
            browser.until("return page.latent.coloured")
            shown[what] = browser.run(
                "page.latent.scatter.drawNow(); const { scatter } = page.latent;"
                "const { width, height } = scatter.canvas;"
                "const { data } = scatter.context.getImageData(0, 0, width, height);"
                "return [new Set(new Uint32Array(data.buffer)).size,"
                " document.getElementById('legend').innerText]"
            )
    assert min(colours for colours, _ in shown.values()) > 10
    assert shown["loss"][1].startswith("misfit (loss): ")
    assert shown["defocus"][1].endswith(" µm")
    rows = load_indices(runs / "rows.pkl")
    names, counts = np.unique(np.array(micrographs)[rows], return_counts=True)
    expected = [f"{name} ({count})" for name, count in zip(names, counts, strict=True)]
    assert shown["micrograph"][1].split("\n") == expected
