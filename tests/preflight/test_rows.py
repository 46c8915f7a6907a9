"""Poses of a file of their own are compared with a sample of the images."""

import logging

import pytest

from cryodrgn.io.cryodrgn_pickle import load_pickles, save_pickles

WARNED = "no better than those of other images"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from cryodrgn.cli.main import main

    out = tmp_path_factory.mktemp("set")
    line = "simulate -D 32 --Apix 6 -n 400 --snr 0.05 --num-states 1 --hinge-range 0 -o"
    assert main([*line.split(), str(out)]) == 0
    (rotations, shifts), *_ = load_pickles(out / "poses.pkl")
    save_pickles(out / "turned.pkl", [(rotations[::-1].copy(), shifts[::-1].copy())])
    return out


@pytest.mark.parametrize(
    "command",
    [
        "backproject_voxel {} -o {}/map.mrc",
        "train_nn {} -n 1 --dim 16 --layers 1 -o {}/nn",
        "train_linear {} --components 1 --radius 5 -o {}/linear",
    ],
)
def test_poses_in_another_order_than_the_stack_are_warned_of(
    run, folder, tmp_path, command, caplog
):
    words = f"{folder}/particles.mrcs --ctf {folder}/ctf.pkl --poses {folder}/{{}}.pkl"
    for poses, is_warned in (("turned", True), ("poses", False)):
        caplog.clear()
        run(*command.format(words.format(poses), tmp_path / poses).split())
        assert (WARNED in caplog.text) == is_warned


def test_poses_of_the_file_that_lists_the_images_are_not_looked_at(
    run, folder, tmp_path, caplog
):
    run("backproject_voxel", folder / "particles.star", "-o", tmp_path / "map.mrc")
    assert WARNED not in caplog.text


def test_few_images_say_nothing(run, folder, tmp_path, caplog):
    save_pickles(tmp_path / "ind.pkl", [list(range(100))])
    words = f"backproject_voxel {folder}/particles.mrcs --ctf {folder}/ctf.pkl --poses"
    words += f" {folder}/turned.pkl --ind {tmp_path}/ind.pkl -o {tmp_path}/map.mrc"
    run(*words.split())
    assert WARNED not in caplog.text


def test_images_without_a_ctf_are_said_to_be(run, folder, tmp_path, caplog):
    caplog.set_level(logging.INFO, "cryodrgn")
    words = f"backproject_voxel {folder}/particles.mrcs --poses {folder}/poses.pkl --first 20"
    for ctf, is_said in ((f"--ctf {folder}/ctf.pkl", False), ("", True)):
        caplog.clear()
        run(*f"{words} {ctf} -o {tmp_path}/map.mrc".split())
        assert ("are taken to carry no CTF" in caplog.text) == is_said
