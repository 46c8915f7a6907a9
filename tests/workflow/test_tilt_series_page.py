"""The command lines of docs/tilt-series-files.md, on layouts of WARP, RELION 5 and M."""

import json
import re

import numpy as np
import pytest

from cryodrgn.io.mrc import read_volume, stack_writer
from cryodrgn.io.star import read_star
from pages import lines_of
from tomogram_layouts import (
    BOX,
    PIXEL_SIZE,
    Project,
    write_list_of_m,
    write_relion5,
    write_warp,
    write_warp2,
)

PAGE = "docs/tilt-series-files.md"
COUNT = 24


@pytest.fixture
def folder(rng, tmp_path, monkeypatch):
    """Noisy images of a blob off the centre, in both layouts."""
    project = Project.random(rng, count=COUNT)
    grid = np.arange(BOX) - BOX // 2
    everything = project.images()
    for particle in project.particles:
        images = [image for image in everything if image.particle is particle]
        path = tmp_path / images[0].stack
        path.parent.mkdir(parents=True, exist_ok=True)
        with stack_writer(path, BOX, PIXEL_SIZE) as writer:
            for image in images:
                x, y = (image.rotation @ [12.0, 4.0, 0.0])[:2] - image.shift
                squares = (grid - x / PIXEL_SIZE) ** 2 + (grid[:, None] - y / PIXEL_SIZE) ** 2
                noise = rng.normal(0, 0.3, (BOX, BOX))
                writer.append((np.exp(-squares / 8) + noise).astype(np.float32)[None])
    write_warp(project, tmp_path / "warp.star")
    write_relion5(project, tmp_path)
    write_warp2(project, tmp_path)
    write_list_of_m(tmp_path / "species.star", project.particles)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(source):
    """The commands of the page, on another file."""
    found = [line.words for line in lines_of(PAGE)]
    return [[word.replace("particles.star", source) for word in words] for words in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", ["warp.star", "optimisation_set.star", "matching_optimisation_set.star"]
)
def test_the_lines_of_the_page_lead_from_the_file_to_a_report_and_back(run, folder, source):
    commands = lines(source)
    assert len(commands) >= 9
    of_m = source.startswith("matching")
    for command in commands:
        if of_m or "--chosen-from" not in command:
            run(*command)
    if of_m:
        (table,) = read_star(folder / "chosen_in_m.star").values()
        assert 0 < len(table) < COUNT
    table = read_star(folder / "chosen.star")["particles"]
    name = "rlnGroupName" if source == "warp.star" else "rlnTomoParticleName"
    assert 0 < len(set(table.text(name))) < COUNT


@pytest.mark.slow
def test_check_and_nuisance_count_particles_and_images(run, folder, write_pickle, rng):
    run("check", "warp.star", "-o", "check", "--accept")
    found = json.loads((folder / "check/check.json").read_text())["found"]
    assert found["particles"].startswith(f"{COUNT} of ")
    assert re.match(r"\d+, \d+ to 13 of each particle; dose 0 to 36 e/Å²", found["images"])
    latents = write_pickle(rng.normal(size=(COUNT, 2)).astype(np.float32), "z.pkl")
    run("nuisance", "warp.star", latents, "-o", "nuisance")
    axes = json.loads((folder / "nuisance/nuisance.json").read_text())["axes"]
    assert {"number of tilts", "dose of the first tilt"} & set(axes["PC1"])


def test_the_flags_of_cryodrgn_4_backproject_the_best_tilts(run, folder):
    flags = ("--tilt", "--ntilts", 5, "--force-ntilts", "-d", 3, "-a", 3)
    run("backproject_voxel", "warp.star", *flags, "-o", "map")
    assert (folder / "map/indices_force_ntilts_5.pkl").is_file()
    run("parse_pose_star", "warp.star", "-o", "poses.pkl")
    run("parse_ctf_star", "warp.star", "-o", "ctf.pkl")
    tables = ("--poses", "poses.pkl", "--ctf", "ctf.pkl")
    run("backproject_voxel", "warp.star", *flags, *tables, "-o", "same")
    maps = [read_volume(folder / f"{name}/backproject.mrc")[0] for name in ("map", "same")]
    np.testing.assert_allclose(maps[0], maps[1], atol=2e-4)
