"""The page in a real browser does what the library does."""

import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import cryodrgn
from cryodrgn.analysis.live_views import ShownVolumes, live_views
from cryodrgn.analysis.report import HtmlReport
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import write_volume
from cryodrgn.io.selection_files import load_indices
from cryodrgn.page.volumes import for_drawing
from cryodrgn.web import static_files
from finished_run import SMALL_VAE
from page.polygons import inside
from page.server import serving

AROUND = [(0.2, 0.2), (0.7, 0.15), (0.6, 0.45), (0.8, 0.7), (0.4, 0.9), (0.15, 0.6)]
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_what_is_drawn_around_is_chosen_saved_exported_and_opened_again(runs, browser):
    with serving(runs / "vae", runs / "linear") as server:
        browser.open(server.server.link)
        assert "token" not in browser.run("return location.href")
        browser.drag("points", AROUND)
        browser.until("return page.latent.mask")
        step = browser.run("return page.state.steps[0]")
        assert (step["x"], step["y"]) == (["latent", "PC1"], ["latent", "PC2"])
        path = "/api/runs/0/column?group=latent&name={}".format
        plane = np.stack([server.get(path(n)).numbers for n in ("PC1", "PC2")], axis=1)
        chosen = np.flatnonzero(inside(plane, step["polygon"]))
        assert 0 < len(chosen) < 100
        assert browser.run("return Array.from(page.latent.chosenRows())") == chosen.tolist()
        assert browser.text("count").startswith(f"{len(chosen)} of 100 particles chosen")

        browser.run("document.getElementById('name').value = 'kept'")
        browser.click("save")
        browser.until("return document.getElementById('saved').children.length")
        saved = runs / "vae/selections/kept.pkl"
        rows = load_indices(saved)
        assert np.array_equal(rows, load_indices(runs / "rows.pkl")[chosen])
        browser.run("document.querySelectorAll('#saved button')[1].click()")
        link = "return document.querySelector('#saved a[href*=star]')?.href"
        browser.until(link)
        got = browser.wait_for(f"fetch((() => {{ {link} }})()).then((a) => a.text())")
        cryodrgn.export(runs / "sim/particles.star", saved, runs / "by_hand.star")
        assert got == (runs / "by_hand.star").read_text()

        browser.click("invert")
        browser.until("return page.state.steps.length === 2")
        browser.until("return location.hash.length > 100")
        state = browser.run("return page.remembered()")
        browser.wait_for("new Promise((done) => setTimeout(done, 400))")
        address = browser.run("return location.href")
        browser.open(address)
        assert browser.run("return page.remembered()") == state
        others = np.setdiff1d(np.arange(100), chosen)
        assert browser.run("return Array.from(page.latent.chosenRows())") == others.tolist()
        browser.click("undo")
        assert browser.run("return Array.from(page.latent.chosenRows())") == chosen.tolist()
        # A link of somebody else holds nothing but what a state is made of.
        browser.open(f"{address.partition('#')[0]}#eyJ4IjoxLCJzdGVwcyI6W3t9XX0")
        assert "of 100" in browser.text("count")


def test_the_volume_at_a_click_is_the_one_that_eval_vol_writes(
    page, trained, tmp_path, browser
):
    browser.open(page.server.link)
    row, got = browser.volume_at(0.3, 0.4)
    z = cryodrgn.load_latents(trained / "vae/z.pkl")[row]
    cryodrgn.eval_vol(trained / "vae/weights.pkl", tmp_path / "v.mrc", z=tuple(map(float, z)))
    expected, _ = cryodrgn.read_volume(tmp_path / "v.mrc")
    assert np.abs(got - expected.ravel()).max() <= 1e-6 * np.abs(expected).max()
    halves, factor = browser.run(
        "const { halves, factor } = page.volumes.shown.a; return [Array.from(halves), factor]"
    )
    drawn = np.array(halves, dtype=np.uint16).view(np.float16).astype(float) / factor
    np.testing.assert_allclose(drawn, expected.ravel(), rtol=2**-10, atol=2**-24)
    assert "supported" in browser.text("about-a")
    # A molecule is drawn, not an empty picture.
    shades = browser.run(
        "const c = document.createElement('canvas'); c.width = c.height = 50;"
        "const g = c.getContext('2d'); page.volumes.a.drawNow();"
        "g.drawImage(document.getElementById('a'), 0, 0, 50, 50);"
        "return new Set(g.getImageData(0, 0, 50, 50).data).size"
    )
    assert shades > 30


def test_numbers_are_rounded_to_half_precision_as_numpy_rounds_them(page, browser, rng):
    browser.open(page.server.link)
    values = np.concatenate([rng.normal(size=2000), 10 ** rng.uniform(-9, 0, 2000), [0.0]])
    halves, factor = browser.wait_for(
        "import('/static/volume_view.js').then(({ halved }) => {"
        f"const found = halved({values.tolist()}); return [[...found.halves], found.factor] }})"
    )
    assert factor == pytest.approx(1000 / np.abs(values).max())
    got = np.array(halves, dtype=np.uint16).view(np.float16).astype(float)
    expected = (values * factor).astype(np.float16).astype(float)
    # One in the last place, where a number lies in the middle of two.
    assert (np.abs(got - expected) <= np.spacing(expected.astype(np.float16))).all()
    assert (got == expected).mean() > 0.99


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_sight_and_the_whole_volume_are_surfaces_on_one_scale(page, browser, number):
    browser.open(page.server.link)
    browser.choose("run", str(number))
    name = ["vae", "linear"][number]
    browser.until(f"return page.run.name === '{name}' && page.volumes.shown.a?.side === 16")
    sights = browser.wait_for(
        "Promise.all([12, 16].map((side) => page.volumes.fetched({ z: [0.2, 0.1], row: 0 },"
        " side))).then((found) => found.map((volume) => { const { a } = page.volumes;"
        "page.volumes.show('a', volume); a.size = [60, 60]; a.drawNow(); a.size = null;"
        "const pixels = new Uint8Array(4 * 3600);"
        "a.gl.readPixels(0, 0, 60, 60, a.gl.RGBA, a.gl.UNSIGNED_BYTE, pixels);"
        "return [[...pixels], [...volume.halves], volume.factor] }))"
    )
    # A few per cent of the box lie above the level, of either.
    shares = [np.mean(np.reshape(pixels, (3600, 4))[:, 0] < 250) for pixels, _, _ in sights]
    assert all(0.02 < share < 0.7 for share in shares), shares
    (_, small, one), (_, whole, two) = sights
    small, whole = (
        np.array(v, np.uint16).view(np.float16).astype(float) for v in (small, whole)
    )
    low_passed = downsample_volume(torch.from_numpy(whole.reshape((16,) * 3) / two), 12)
    # Values of a smaller side are those of the whole one, but for what lies about its Nyquist
    # frequency, which a network is asked for within a sphere alone; not larger by (4/3)³.
    scale = float(low_passed.std()) * (12 / 16) ** 3
    assert 0.8 < small.std() / one / scale < 1.25


def test_a_volume_is_coloured_by_a_map_where_its_surface_lies(page, trained, browser):
    browser.open(page.server.link)
    browser.choose("run", "1")
    browser.until("return page.run.name === 'linear' && page.volumes.shown.a?.side === 16")
    browser.until(
        "return [...document.getElementById('tint').options].at(-1).value !== 'other'"
    )
    browser.choose("tint", "map:component1.mrc")
    low, high = browser.until("return page.volumes.a.tint")
    level = browser.run("return page.volumes.a.level")
    got = browser.wait_for("page.volumes.shown.a.exact().then((v) => Array.from(v))")
    component, _ = cryodrgn.read_volume(trained / "linear/component1.mrc")
    shell = (np.array(got) >= level) & (np.array(got) <= 1.5 * level)
    found = np.sort(component.ravel()[shell])
    # Half precision may take in, or leave out, a voxel at the level.
    assert shell.sum() > 20
    assert low < high
    slack = 2**-10 * np.abs(found).max()
    assert (found < low - slack).mean() < 0.04 < (found <= low + 10 * slack).mean() + 0.04
    assert (found > high + slack).mean() < 0.04
    np.testing.assert_allclose([low, high], np.quantile(found, [0.02, 0.98]), atol=0.1)
    legend = browser.text("tint-legend")
    assert legend.startswith("component1.mrc: ")
    browser.wait_for("new Promise((done) => setTimeout(done, 400))")
    browser.open(browser.run("return location.href"))
    browser.until("return page.volumes.a.tint")
    assert browser.text("tint-legend") == legend
    # Another run has no such map, and is shown without.
    browser.choose("run", "0")
    browser.until("return page.run.name === 'vae' && page.volumes.a.tint === null")
    assert browser.text("messages") == browser.text("tint-legend") == ""
    browser.choose("tint", "other")
    assert "no B to compare with" in browser.text("messages")


@pytest.mark.parametrize("size", [0.0, 0.15, 3.0])
def test_noise_outside_of_the_sphere_is_not_shown_unless_it_is_as_large_as_the_molecule(
    page, browser, rng, size
):
    side = 32
    axis = np.arange(side) - side // 2
    radii = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    is_outside = radii > side / 2
    noise = size * rng.normal(size=radii.shape)
    volume = np.where(radii < 4, 1.0, np.where(is_outside, noise, 0)).astype(np.float32)
    browser.driver.get(page.server.link)
    level = browser.wait_for(
        "import('/static/volume_view.js').then(({ halved, levelOf }) =>"
        f" levelOf(halved(Float32Array.from({volume.ravel().tolist()}))))"
    )
    if size > 1:
        assert level < volume.max()
    else:
        assert (volume[is_outside] > level).mean() < 0.003
        assert 0.2 < level < 0.7


@pytest.mark.parametrize("side", [2, 16, 18, 22])
def test_blocks_of_the_browser_are_those_of_the_server(page, browser, rng, side):
    values = rng.normal(size=(side,) * 3).astype(np.float32)
    numbers, about = for_drawing(values)
    halves = numbers[: side**3].view(np.uint16)
    browser.driver.get(page.server.link)
    most, count = browser.wait_for(
        "import('/static/volume_view.js').then(({ blocksOf }) => {"
        f"const found = blocksOf(Uint16Array.from({halves.tolist()}), {side});"
        "return [[...found.most], found.count] })"
    )
    assert count == about["blocks"]
    assert most == numbers[side**3 :].view(np.uint16).tolist()


def test_a_picture_is_the_same_whether_empty_blocks_are_passed_over_or_not(page, browser):
    browser.open(page.server.link)
    browser.until("return page.volumes.shown.a.side === 16")
    shades = (
        "view.canvas.style.width = '200px'; view.size = [200, 150]; view.drawNow();"
        "const c = document.createElement('canvas'); [c.width, c.height] = [200, 150];"
        "const g = c.getContext('2d'); g.drawImage(view.canvas, 0, 0);"
        "return [...g.getImageData(0, 0, 200, 150).data]"
    )
    quick = np.array(browser.run(f"const view = page.volumes.a; {shades}")).astype(int)
    slow = np.array(
        browser.run(
            "const view = page.volumes.a; const { gl } = view; const n = view.blocksAcross;"
            "gl.activeTexture(gl.TEXTURE3);"
            "gl.texImage3D(gl.TEXTURE_3D, 0, gl.R16F, n, n, n, 0, gl.RED, gl.HALF_FLOAT,"
            f"new Uint16Array(n ** 3).fill(0x7bff)); {shades}"
        )
    ).astype(int)
    assert len(np.unique(quick)) > 30
    # Steps along a ray begin anew in every block, so surfaces may move by a part of a step.
    assert (np.abs(quick - slow) > 16).mean() < 0.01


def test_points_are_drawn_where_particles_lie_in_the_colour_of_their_value(page, browser):
    browser.open(page.server.link)
    browser.run(
        "page.latent.scatter.setShades(new Uint8Array(100).fill(9),"
        " new Uint8Array(1024).fill(40))"
    )
    places, width, height, data = browser.run(
        "const { scatter } = page.latent; scatter.drawNow();"
        "const places = Array.from(scatter.x, (x, i) => scatter.toPixels(x, scatter.y[i]));"
        "const { width, height } = scatter.canvas;"
        "const { data } = scatter.context.getImageData(0, 0, width, height);"
        "return [places, width, height, [...data]]"
    )
    shades = np.array(data).reshape(height, width, 4)[..., 0]
    x, y = np.floor(places).astype(int).T
    assert (shades[y, x] < 100).all()
    # No others: each darkens a disc of six pixels across.
    assert (shades < 200).sum() <= 100 * 45
    ground = shades[shades > 200]
    assert (ground == 255).mean() > 0.9


def test_a_particle_under_the_pointer_is_shown_beside_what_is_predicted_of_it(page, browser):
    from selenium.webdriver import ActionChains

    browser.open(page.server.link)
    x, y = browser.run("const s = page.latent.scatter; return s.toPixels(s.x[7], s.y[7])")
    points = browser.driver.find_element("id", "points")
    offsets = (round(x - points.size["width"] / 2), round(y - points.size["height"] / 2))
    ActionChains(browser.driver).move_to_element_with_offset(points, *offsets).perform()
    browser.until("return document.querySelectorAll('#pictures canvas').length === 4")
    row = browser.run("return page.particle.row")
    # Another particle may lie at the same pixel.
    assert (
        np.hypot(
            *(
                np.array(
                    browser.run(
                        "const s = page.latent.scatter;"
                        f"return s.toPixels(s.x[{row}], s.y[{row}])"
                    )
                )
                - (x, y)
            )
        )
        < 3
    )
    captions = browser.run(
        "return [...document.querySelectorAll('#pictures figcaption')].map((c) => c.innerText)"
    )
    assert captions[:3] == ["as stored", "low-passed, centred", "predicted, low-passed"]
    assert browser.text("particle-facts").startswith("PC1 ")
    shades = browser.run(
        "return [...document.querySelectorAll('#pictures canvas')].map((c) =>"
        " new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size)"
    )
    assert min(shades) > 30


def test_what_is_said_of_a_particle_follows_the_colour_and_the_epoch(page, browser):
    browser.open(page.server.link)
    browser.run("page.particle.show(7)")
    browser.until("return document.querySelectorAll('#pictures canvas').length === 4")
    pixels = (
        "(() => { const c = [...document.querySelectorAll('#pictures canvas')].at(-1);"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.join() })()"
    )
    before = browser.run(f"return {pixels}")
    browser.choose("colour", '["sets","row in the file"]')
    browser.until(
        "return document.getElementById('particle-facts').innerText.includes('row in the file')"
    )
    browser.choose("epoch", "0")
    browser.until(f"return {pixels} !== {json.dumps(before)}")
    assert browser.run("return page.particle.row") == 7


@pytest.mark.parametrize("tool", ["lasso", "box", "volume", "path", "move"])
def test_two_fingers_zoom_and_do_nothing_else(page, browser, tool):
    browser.open(page.server.link)
    browser.until("return document.getElementById('busy').innerText === ''")
    browser.take(tool)
    rest = "return JSON.stringify([page.state.a, page.state.anchors, page.state.steps])"
    before = browser.run(rest)
    wide, _ = browser.run("const { wx, wy } = page.latent.scatter.view; return [wx, wy]")
    apart = [20, 30, 45, 60]
    browser.touch("points", [[(-x, 5) for x in apart], [(x, 5) for x in apart]])
    narrow, _ = browser.run("const { wx, wy } = page.latent.scatter.view; return [wx, wy]")
    assert narrow == pytest.approx(wide * apart[0] / apart[-1], rel=0.02)
    browser.wait_for("new Promise((done) => setTimeout(done, 200))")
    assert browser.run(rest) == before
    browser.touch("a", [[(-x, 5) for x in apart], [(x, 5) for x in apart]])
    assert browser.run("return page.volumes.camera.zoom") == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("tool", ["lasso", "box", "volume", "path", "move"])
def test_a_tap_shows_a_particle_and_takes_no_choice_away_though_the_finger_trembles(
    page, browser, tool
):
    browser.open(page.server.link)
    browser.take(tool)
    browser.click("invert")
    browser.until("return page.latent.mask")
    x, y = browser.run(
        "const s = page.latent.scatter; const [x, y] = s.toPixels(s.x[7], s.y[7]);"
        "return [x - s.canvas.clientWidth / 2, y - s.canvas.clientHeight / 2]"
    )
    moves = [(0, 0), (1, 0), (2, 1), (1, 2), (2, 2), (1, 1), (0, 1)]
    browser.touch("points", [[(x + dx, y + dy) for dx, dy in moves]])
    row = browser.until("return page.particle.row !== null && String(page.particle.row)")
    assert browser.text("count").startswith("100 of 100")
    assert browser.run("return page.state.steps.length") == 1
    if tool == "volume":
        browser.until(f"return page.state.a.row === {row}")
    if tool == "path":
        assert browser.run("return page.state.anchors.map((a) => String(a.row))") == [row]
        assert browser.text("anchors") == "1 point"


def test_a_finger_draws_around_particles_and_a_second_one_gives_that_up(page, browser):
    browser.open(page.server.link)
    stroke = [(-80, -60), (80, -60), (80, 60), (-80, 60)]
    still = [(120, 90)] * 4
    browser.touch("points", [stroke, still])
    assert browser.run("return page.state.steps.length") == 0
    browser.touch("points", [stroke])
    browser.until("return page.state.steps.length === 1")
    assert browser.run("return page.state.steps[0].polygon.length") >= 3


def test_a_run_is_asked_for_no_point_of_the_one_that_was_open(page, browser):
    browser.open(page.server.link)
    browser.until("return document.getElementById('busy').innerText === ''")
    # The latent of a particle comes late, when another run is being opened.
    z = browser.wait_for(
        "fetch('/api/runs/0/latent?row=3&epoch=-1').then((a) => a.json()).then((a) => a.z)"
    )
    browser.run(
        "window.asked = []; const { fetch } = window; window.fetch = async (url, ...rest) => {"
        "asked.push(String(url)); const answer = await fetch(url, ...rest);"
        "const late = String(url).includes('/latent?row=3&') ? 300 : 0;"
        "await new Promise((done) => setTimeout(done, late)); return answer };"
        "page.volumes.at(3)"
    )
    browser.choose("run", "1")
    browser.until("return page.run.name === 'linear' && page.volumes.shown.a?.side === 16")
    browser.wait_for("new Promise((done) => setTimeout(done, 400))")
    asked = browser.run("return asked.filter((url) => url.includes('/volume?'))")
    assert asked
    assert not [url for url in asked if str(z[0]) in url]
    assert browser.run("return page.state.a.row") != 3


def test_lines_stay_within_their_chart(page, browser):
    browser.open(page.server.link)
    found = browser.wait_for(
        "import('/static/charts.js').then(({ lineChart }) => {"
        "const holder = document.getElementById('half-maps');"
        "lineChart(holder, [{ name: 'one', points: [[0, -0.4], [1, 1.2]] }],"
        " { xName: 'x', yName: 'y', y0: 0, y1: 1, threshold: 0.143 });"
        "const box = (name) => { const b = holder.querySelector(name).getBBox();"
        " return [b.y, b.y + b.height] }; return [box('.line'), box('.axis')] })"
    )
    (top, bottom), (high, low) = found
    assert high - 0.1 <= top < bottom <= low + 0.1


def test_a_path_becomes_a_film_of_its_volumes(page, browser):
    browser.open(page.server.link)
    browser.take("path")
    for place in ((0.2, 0.5), (0.8, 0.5)):
        browser.drag("points", [place, place])
    browser.until("return page.state.anchors.length === 2 && page.state.anchors[1].z.length")
    browser.run("document.getElementById('path-count').value = 5")
    film = browser.wait_for(
        "page.volumes.path.gif().then(async (film) =>"
        " Array.from(new Uint8Array(await film.arrayBuffer())))"
    )
    ends = browser.run("return page.state.anchors.map((a) => a.z)")
    shown = browser.run("return page.volumes.path.frames.map((f) => f.point.z)")
    np.testing.assert_allclose(shown, np.linspace(*ends, 5), atol=1e-9)
    picture = Image.open(io.BytesIO(bytes(film)))
    assert picture.n_frames == 8  # forwards and back
    frames = []
    for number in range(5):
        picture.seek(number)
        frames.append(np.asarray(picture.convert("RGB")).astype(int))
    assert np.abs(frames[0] - frames[4]).mean() > 0
    assert frames[0].std() > 1


def test_a_report_from_disk_shows_its_views_and_runs_nothing_that_files_hold(
    trained, tmp_path, browser
):
    run = trained / "linear"
    evil = "</script><script>document.title = 'taken'</script>"
    # Three blocks along a side, of which rows of half precision have no even number.
    mean, _ = cryodrgn.read_volume(run / "mean.mrc")
    small = downsample_volume(torch.from_numpy(mean), 12)
    write_volume(tmp_path / "small.mrc", small, MapGeometry(pixel_size=16.0))
    volumes = [tmp_path / "small.mrc", run / "component1.mrc"]
    shown = ShownVolumes(name=evil, paths=volumes, captions=[evil, "second"])
    page = HtmlReport("a report")
    page.ready_made(live_views(run / "z.pkl", run / "none.pkl", None, [shown]))
    page.write(tmp_path / "report.html")
    browser.driver.get(f"file://{tmp_path}/report.html")
    browser.until("return document.getElementById('live-views').dataset.ready")
    assert browser.run("return document.title") == "a report"
    assert browser.run("return document.querySelectorAll('#live-views canvas').length") == 2
    assert evil in browser.run("return document.getElementById('live-views').innerText")
    for number in (0, 1):
        browser.until(
            f"const shown = document.querySelectorAll('#live-views canvas')[{number}];"
            "const c = document.createElement('canvas'); c.width = c.height = 50;"
            "const g = c.getContext('2d'); g.drawImage(shown, 0, 0, 50, 50);"
            "return new Set(g.getImageData(0, 0, 50, 50).data).size > 30"
        )


def test_a_report_without_webgl2_keeps_its_latents_and_shows_pictures_of_volumes(
    trained, tmp_path, browser
):
    run = trained / "linear"
    volumes = ShownVolumes(name="mean", paths=[run / "mean.mrc"], captions=["mean"])
    page = HtmlReport("a report")
    page.ready_made(live_views(run / "z.pkl", run / "none.pkl", None, [volumes]))
    page.write(tmp_path / "report.html")
    without = (
        "const { getContext } = HTMLCanvasElement.prototype;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        " return kind === 'webgl2' ? null : getContext.call(this, kind, ...rest) }"
    )
    added = browser.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": without}
    )
    try:
        browser.driver.get(f"file://{tmp_path}/report.html")
        browser.until("return document.getElementById('live-views').dataset.ready")
        shown = browser.run(
            "const holder = document.getElementById('live-views');"
            "return [holder.hidden, holder.querySelectorAll('canvas').length, holder.innerText]"
        )
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    assert shown[:2] == [False, 1]
    assert "axes" in shown[2]
    assert "level" not in shown[2]


def test_views_of_any_number_of_particles_and_volumes_leave_room_in_a_report(tmp_path, rng):
    count = 300_000
    places = rng.normal(size=(count, 2)).astype(np.float32)
    save_latents(tmp_path / "z.pkl", places, places)
    save_pickles(tmp_path / "umap.pkl", [places])
    save_pickles(tmp_path / "labels.pkl", [rng.integers(0, 20, count)])
    large = rng.normal(size=(48, 48, 48)).astype(np.float32)
    write_volume(tmp_path / "v.mrc", torch.from_numpy(large), MapGeometry(pixel_size=1.0))
    shown = ShownVolumes(name="v", paths=[tmp_path / "v.mrc"] * 30, captions=[""] * 30)
    files = (tmp_path / name for name in ("z.pkl", "umap.pkl", "labels.pkl"))
    # The rest of 10 MB is for pictures.
    assert 4_000_000 < len(live_views(*files, [shown])) < 7_000_000


def test_the_front_end_is_small_and_its_modules_are_fetched_at_once():
    files = static_files()
    assert sum(len(one.content) for one in files.values()) < 4_000_000
    needed, more = set(), {"page.js"}
    while more:
        text = files[more.pop()].content.decode()
        found = set(re.findall(r'from "\./(\w+\.js)"', text)) - needed
        needed, more = needed | found, more | found
    html = files["index.html"].content.decode()
    assert needed == set(re.findall(r'modulepreload" href="/static/(\w+\.js)"', html))


@pytest.mark.slow
def test_a_page_follows_a_training_under_way(runs, tmp_path, browser):
    small = list(map(str, SMALL_VAE))
    line = [
        "train_vae",
        f"{runs}/sim/particles.star",
        "-o",
        str(tmp_path / "new"),
        "--zdim",
        "2",
    ]
    line += ["-n", "400", "--checkpoint", "2", *small]
    training = subprocess.Popen(
        [sys.executable, "-m", "cryodrgn", *line], stdout=subprocess.DEVNULL
    )
    try:
        events = tmp_path / "new/events.jsonl"
        while not (events.exists() and "ResultsWritten" in events.read_text()):
            assert training.poll() is None
        with serving(tmp_path / "new") as server:
            browser.open(server.server.link)
            begun = browser.run("return page.epochs.length")
            assert "under way" in browser.text("progress")
            assert "images/s" in browser.text("progress")
            before = browser.run("return Array.from(page.latent.scatter.x.slice(0, 10))")
            browser.until(f"return page.epochs.length > {begun} + 2")
            # The new latents come behind the name of their epoch.
            first = "JSON.stringify(Array.from(page.latent.scatter.x.slice(0, 10)))"
            browser.until(f"return {first} !== JSON.stringify({json.dumps(before)})")
            browser.click("strip-go")
            browser.until("return page.training.cards.length > 2")
    finally:
        training.terminate()
        training.wait()


def test_a_phone_shows_everything_below_one_another(page, browser):
    browser.driver.set_window_size(500, 900)
    # What a server that was stopped did not answer is none of this page's.
    browser.driver.get("about:blank")
    browser.driver.get_log("browser")
    try:
        browser.open(page.server.link)
        width, inner = browser.run("return [document.body.scrollWidth, innerWidth]")
        assert width <= inner
        tops = browser.run(
            "return ['latent', 'volumes', 'selection'].map("
            "(id) => document.getElementById(id).getBoundingClientRect().top)"
        )
        assert tops == sorted(tops)
    finally:
        browser.driver.set_window_size(1000, 800)
    errors = [e for e in browser.driver.get_log("browser") if e["level"] == "SEVERE"]
    assert not json.dumps([e for e in errors if "404" not in e["message"]]).strip("[]")
