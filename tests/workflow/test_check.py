import json

import numpy as np
import pytest

from cryodrgn.io.cryodrgn_pickle import load_poses, save_pickles


@pytest.fixture
def simulated(run, tmp_path):
    folder = tmp_path / "sim"
    arguments = ("-D", 24, "--Apix", 8, "-n", 200, "--num-states", 1, "--snr", 1)
    run("simulate", *arguments, "-o", folder)
    return folder


def test_a_good_file_gets_a_page_and_status_0(run, simulated, tmp_path):
    output = run("check", simulated / "particles.star", "-o", tmp_path / "out")
    assert "Poses and CTF fit the images as they stand" in output
    found = json.loads((tmp_path / "out/check.json").read_text())
    assert found["passed"]
    assert found["found"]["pixel size"] == "8 Å/px"
    assert found["odd_images"] == {}
    page = (tmp_path / "out/check.html").read_text()
    assert page.count("data:image/png") == 6
    assert page.count("<h2>") == 4


def test_a_wrong_file_stops_with_one_sentence_unless_it_is_accepted(
    run, fail, simulated, tmp_path
):
    rotations, shifts = load_poses(simulated / "poses.pkl")
    save_pickles(tmp_path / "inverse.pkl", [(rotations.transpose(0, 2, 1), shifts)])
    files = (simulated / "particles.mrcs", "--ctf", simulated / "ctf.pkl")
    arguments = ("check", *files, "--poses", tmp_path / "inverse.pkl", "-o", tmp_path / "out")
    assert "rotations are the inverse of what they should be" in fail(*arguments)
    assert not json.loads((tmp_path / "out/check.json").read_text())["passed"]
    assert "rotations are the inverse" in run(*arguments, "--accept")


def test_odd_images_are_named_and_left_out(run, simulated, write_stack, tmp_path):
    from cryodrgn.io.image_stack import ImageStack

    stack = ImageStack.whole_files([simulated / "particles.mrcs"])
    images = stack.read(np.arange(200))
    images[17, 5, 5] = np.inf
    pickles = ("--poses", simulated / "poses.pkl", "--ctf", simulated / "ctf.pkl")
    run("check", write_stack(images, "odd.mrcs"), *pickles, "-o", tmp_path / "out")
    found = json.loads((tmp_path / "out/check.json").read_text())
    assert found["odd_images"] == {"values that are not finite": [17]}
    assert found["passed"]


def test_files_without_poses_are_refused(fail, simulated, tmp_path):
    message = fail("check", simulated / "particles.mrcs", "-o", tmp_path / "out")
    assert "holds no poses" in message
    assert not (tmp_path / "out").exists()


def test_an_asymmetric_unit_of_views_gets_a_verdict(run, simulated, write_pickle, tmp_path):
    views = load_poses(simulated / "poses.pkl")[0][:, 2]
    azimuth = np.rad2deg(np.arctan2(views[:, 1], views[:, 0])) % 360
    unit = np.flatnonzero((views[:, 2] > 0) & (azimuth < 360 / 7))
    assert 5 < len(unit) < 40
    files = (simulated / "particles.star", "--ind", write_pickle(unit, "unit.pkl"))
    run("check", *files, "-o", tmp_path / "out", "--accept")
    assert json.loads((tmp_path / "out/check.json").read_text())["verdict"]
    assert (tmp_path / "out/check.html").is_file()
