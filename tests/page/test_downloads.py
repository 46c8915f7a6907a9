"""Files that the page gives are those of the commands."""

import io
import json

import mrcfile
import numpy as np
import pytest
import yaml
from PIL import Image

import cryodrgn
from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.io.selection_files import load_indices
from page.server import serving

CHOSEN = np.array([0, 3, 7, 42, 99], dtype="<u4")
DOWNLOAD = "/api/runs/0/download?name=kept&ending={}".format


def test_rows_stars_and_volumes_are_the_files_that_commands_write(runs, tmp_path):
    with serving(runs / "vae") as page:
        page.post("/api/runs/0/selection?name=kept", CHOSEN.tobytes())
        assert page.get(DOWNLOAD(".cs")).status == 404
        rows = page.get(DOWNLOAD(".pkl"))
        page.post("/api/runs/0/export?name=kept")
        star = page.get(DOWNLOAD(".star"))
        volume = page.get("/api/runs/0/volume.mrc?z=0.5,-1")
    saved = runs / "vae/selections/kept.pkl"
    assert rows.content == saved.read_bytes()
    assert np.array_equal(load_indices(saved), load_indices(runs / "rows.pkl")[CHOSEN])
    cryodrgn.export(runs / "sim/particles.star", saved, tmp_path / "by_hand.star")
    assert star.content == (tmp_path / "by_hand.star").read_bytes()
    cryodrgn.eval_vol(runs / "vae/weights.pkl", output=tmp_path / "v.mrc", z=(0.5, -1.0))
    assert volume.content == (tmp_path / "v.mrc").read_bytes()
    for answer, name in ((rows, "kept.pkl"), (star, "kept.star")):
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    # The page's link names it.
    assert volume.headers["content-disposition"] == "attachment"


def test_a_map_of_the_run_is_given_as_its_file_is(page, trained):
    answer = page.get("/api/runs/1/map.mrc?name=mean.mrc")
    assert answer.content == (trained / "linear/mean.mrc").read_bytes()


def test_tables_of_cryosparc_are_those_of_export(tmp_path):
    count = 6
    kinds = {"blob": [("blob/path", "S9"), ("blob/idx", "u4")], "ctf": [("ctf/df1_A", "f4")]}
    for name, columns in kinds.items():
        table = np.zeros(count, dtype=[("uid", "u8"), *columns])
        # Rows of a passthrough table belong to others by their uid, not by order.
        order = np.arange(count) if name == "blob" else np.arange(count)[::-1]
        table["uid"] = 100 + order
        if name == "ctf":
            table["ctf/df1_A"] = 10_000 + order
        place = "particles" if name == "blob" else "J7_passthrough_particles"
        with (tmp_path / f"{place}.cs").open("wb") as file:
            np.save(file, table)
    source, run, original = tmp_path / "particles.cs", tmp_path / "run", np.array([5, 3, 1])
    run.mkdir()
    save_latents(run / "z.pkl", np.zeros((3, 2), "f4"), np.zeros((3, 2), "f4"))
    save_pickles(tmp_path / "ind.pkl", [original])
    data = {"particles": str(source), "ind": str(tmp_path / "ind.pkl"), "norm": [0.0, 1.0]}
    config = {
        "dataset_args": data,
        "lattice_args": {"D": 17},
        "model_args": {"zdim": 2, "qlayers": 1},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with serving(run) as page:
        page.post("/api/runs/0/selection?name=kept", np.array([0, 2], "<u4").tobytes())
        exports = page.post("/api/runs/0/export?name=kept").json["exports"]
        got = {ending: page.get(DOWNLOAD(ending)).content for ending in exports}
    assert {".cs", ".csg"} < set(got)
    assert len(got) == 3
    by_hand = tmp_path / "by_hand"
    by_hand.mkdir()
    cryodrgn.export(source, run / "selections/kept.pkl", by_hand / "kept.cs")
    written = {path.name.removeprefix("kept"): path.read_bytes() for path in by_hand.iterdir()}
    groups = [yaml.safe_load(files.pop(".csg")) for files in (got, written)]
    assert all(group.pop("created") for group in groups)
    assert groups[0] == groups[1]
    assert got == written
    assert np.load(io.BytesIO(got[".cs"]))["uid"].tolist() == [105, 101]
    (passthrough,) = set(got) - {".cs"}
    assert sorted(np.load(io.BytesIO(got[passthrough]))["ctf/df1_A"]) == [10_001, 10_005]


def test_the_page_downloads_volumes_pictures_scripts_and_its_state(
    page, trained, browser, tmp_path
):
    browser.open(page.server.link)
    browser.wait_for("page.volumes.decode({z: [0.5, -1], row: null})")
    for name in ("mrc", "png", "save-state"):
        browser.click(name)
    cryodrgn.eval_vol(trained / "vae/weights.pkl", output=tmp_path / "v.mrc", z=(0.5, -1.0))
    assert browser.arrived("vae_point.mrc") == (tmp_path / "v.mrc").read_bytes()
    picture = Image.open(io.BytesIO(browser.arrived("vae_point.png")))
    assert np.asarray(picture.convert("L")).std() > 5
    state = json.loads(browser.arrived("vae.page.json"))
    assert state["a"]["z"] == [0.5, -1]
    # An earlier epoch is decoded from its own weights, and named.
    browser.choose("epoch", "0")
    browser.until("return page.volumes.shown.a?.about.epoch === 0")
    level = browser.run("return page.volumes.a.level")
    browser.click("cxc")
    script = browser.arrived("vae_point_epoch_0.cxc").decode()
    assert "\nopen vae_point_epoch_0.mrc\n" in script
    assert float(script.partition(" level ")[2].split()[0]) == pytest.approx(level, rel=1e-5)
    z = browser.run("return page.volumes.shown.a.point.z")
    early = tmp_path / "early.mrc"
    cryodrgn.eval_vol(trained / "vae/weights.0.pkl", output=early, z=tuple(map(float, z)))
    assert browser.arrived("vae_point_epoch_0.mrc") == early.read_bytes()


def test_a_stored_map_is_downloaded_as_it_is_stored(page, trained, browser):
    browser.open(page.server.link)
    browser.choose("run", "1")
    listed = "[...document.getElementById('maps').options].some((o) => o.value)"
    browser.until(f"return page.run.name === 'linear' && {listed}")
    browser.choose("maps", "component1.mrc")
    browser.until("return page.volumes.shown.a?.map === 'component1.mrc'")
    browser.click("mrc")
    stored = (trained / "linear/component1.mrc").read_bytes()
    assert browser.arrived("linear_component1.mrc") == stored
    with mrcfile.open(trained / "linear/component1.mrc") as file:
        got = browser.wait_for("page.volumes.shown.a.exact().then((v) => Array.from(v))")
        np.testing.assert_array_equal(np.float32(got), file.data.ravel())


def test_a_path_is_downloaded_as_gif_and_as_video(page, browser):
    browser.open(page.server.link)
    ends = [{"z": [-1.0, 0.0], "row": 1}, {"z": [1.0, 0.5], "row": 2}]
    browser.run(f"page.state.anchors = {json.dumps(ends)}; page.volumes.path.showAnchors()")
    browser.run("document.getElementById('path-count').value = 4")
    browser.click("gif")
    assert Image.open(io.BytesIO(browser.arrived("vae_path.gif"))).n_frames == 6
    kind = browser.wait_for("import('/static/film.js').then(({ videoKind }) => videoKind())")
    ending, mark = (
        ("mp4", b"ftyp") if kind.startswith("video/mp4") else ("webm", b"\x1aE\xdf\xa3")
    )
    browser.click("video")
    video = browser.arrived(f"vae_path.{ending}")
    assert mark in video[:12]
    # It is played to its end by the browser that wrote it.
    played = browser.wait_for(
        "new Promise((done, fail) => { const v = document.createElement('video');"
        "[v.muted, v.onended] = [true, () => done([v.videoWidth, v.videoHeight])];"
        "v.onerror = () => fail('unplayable');"
        f"const bytes = Uint8Array.from({list(video)});"
        f"v.src = URL.createObjectURL(new Blob([bytes], {{ type: {kind!r} }})); v.play(); }})"
    )
    assert min(played) > 100
