"""What goes wrong most often ends in one sentence, status 2, and no half-written output."""

import numpy as np
import pytest

from cryodrgn.io.star import read_star, write_star


@pytest.fixture
def simulated(run, tmp_path):
    folder = tmp_path / "sim"
    run("simulate", "-D", 16, "--Apix", 12, "-n", 12, "--num-states", 1, "-o", folder)
    return folder


@pytest.fixture(params=["downsample", "backproject_voxel", "train_vae"])
def command(request, tmp_path):
    """A command on particles, its output, and the options it needs."""
    out = tmp_path / "out"
    names = {"downsample": "x.mrcs", "backproject_voxel": "x.mrc", "train_vae": ""}
    needed = {"downsample": ("-D", 8), "train_vae": ("--zdim", 1, "-n", 1)}
    name = request.param

    def line(particles, *options):
        options = () if name == "downsample" else options
        return (name, particles, *options, *needed.get(name, ()), "-o", out / names[name])

    return line


def pickles(folder):
    return "--poses", folder / "poses.pkl", "--ctf", folder / "ctf.pkl"


def nothing_written(tmp_path):
    out = tmp_path / "out"
    return not out.exists() or not list(out.iterdir())


def test_missing_file(fail, command, tmp_path):
    assert "missing.mrcs does not exist" in fail(*command(tmp_path / "missing.mrcs"))
    assert nothing_written(tmp_path)


def test_truncated_stack(fail, simulated, command, tmp_path):
    stack = simulated / "particles.mrcs"
    stack.write_bytes(stack.read_bytes()[:-100])
    assert "particles.mrcs is truncated" in fail(*command(stack, *pickles(simulated)))
    assert nothing_written(tmp_path)


def test_values_that_are_not_finite(fail, simulated, command, write_stack, tmp_path):
    images = np.random.default_rng(0).normal(size=(12, 16, 16))
    images[7, 3, 3] = np.nan
    message = fail(*command(write_stack(images), *pickles(simulated)))
    assert "1 of 12 images screened cannot be used (rows 7; why is in" in message
    assert "--ind" in message
    (table,) = (tmp_path / "out").iterdir()
    assert table.read_text() == "row,reason\n7,not finite\n"


@pytest.mark.parametrize("name", ["backproject_voxel", "train_vae"])
class TestParticleTables:
    @pytest.fixture
    def arguments(self, name, tmp_path):
        out = tmp_path / "out"
        more = ("--zdim", 1, "-o", out) if name == "train_vae" else ("-o", out / "x.mrc")
        return lambda particles, *options: (name, particles, *options, *more)

    def test_wrong_particle_count(self, fail, arguments, simulated, write_stack, tmp_path):
        stack = write_stack(np.zeros((13, 16, 16)))
        message = fail(*arguments(stack, *pickles(simulated)))
        assert "particles.mrcs lists 13 particles, but" in message
        assert "ctf.pkl has 12 rows" in message
        assert nothing_written(tmp_path)

    def test_unknown_column(self, fail, arguments, simulated, tmp_path):
        star = simulated / "particles.star"
        tables = read_star(star)
        columns = {n: tables["particles"].text(n) for n in tables["particles"].names}
        columns["rlnImageTitle"] = columns.pop("rlnImageName")
        optics = {n: tables["optics"].text(n) for n in tables["optics"].names}
        write_star(star, {"optics": optics, "particles": columns})
        message = fail(*arguments(star))
        assert "no column rlnImageName; the file has" in message
        assert nothing_written(tmp_path)

    def test_unreadable_pickle(self, fail, arguments, simulated, tmp_path):
        (simulated / "poses.pkl").write_bytes(b"not a pickle")
        message = fail(*arguments(simulated / "particles.mrcs", *pickles(simulated)))
        assert "poses.pkl cannot be read as a pickle" in message
        assert nothing_written(tmp_path)

    def test_poses_that_are_not_finite(
        self, fail, arguments, simulated, write_pickle, tmp_path
    ):
        rotations = np.tile(np.eye(3), (12, 1, 1))
        rotations[4] = np.nan
        poses = write_pickle(rotations, "bad.pkl")
        message = fail(*arguments(simulated / "particles.mrcs", "--poses", poses))
        assert "bad.pkl: the pose of row 4 is not finite" in message
        assert nothing_written(tmp_path)


def test_output_folder_that_cannot_be_made(fail, simulated, tmp_path):
    (tmp_path / "file").touch()
    message = fail(
        *("downsample", simulated / "particles.mrcs", "-D", 8),
        *("-o", tmp_path / "file" / "x.mrcs"),
    )
    assert "cannot be written" in message
    message = fail(
        *("train_vae", simulated / "particles.star", "--zdim", 1),
        *("-o", tmp_path / "file"),
    )
    assert "cannot be written" in message
