import pickle

import numpy as np
import pytest

from cryodrgn.io.star import read_star, write_star


@pytest.fixture
def star(tmp_path):
    def write(optics=True, **changes):
        columns = {
            "rlnImageName": ["1@a.mrcs", "2@a.mrcs"],
            "rlnDefocusU": [12000.0, 13000.0],
            "rlnDefocusV": [11000.0, 12500.0],
            "rlnDefocusAngle": [30.0, -45.0],
            "rlnAngleRot": [10.0, 20.0],
            "rlnAngleTilt": [30.0, 40.0],
            "rlnAnglePsi": [50.0, 60.0],
        }
        common = {
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
        }
        path = tmp_path / "particles.star"
        if optics:
            group = {"rlnOpticsGroup": [1], "rlnImagePixelSize": [1.5], "rlnImageSize": [200]}
            columns |= {"rlnOriginXAngst": [30.0, 0.0], "rlnOriginYAngst": [0.0, -15.0]}
            blocks = {
                "optics": common | group,
                "particles": columns | {"rlnOpticsGroup": [1, 1]},
            }
        else:
            columns |= {"rlnOriginX": [20.0, 0.0], "rlnOriginY": [0.0, -10.0]}
            blocks = {"": columns | {name: value * 2 for name, value in common.items()}}
        for name, values in changes.items():
            target = blocks["particles" if optics else ""]
            target.pop(name) if values is None else target.update({name: values})
        write_star(path, blocks)
        return path

    return write


def load(path):
    with path.open("rb") as file:
        return pickle.load(file)


def test_poses_and_ctf_need_no_sizes_where_the_file_has_them(run, star, tmp_path):
    run("parse_pose_star", star(), "-o", tmp_path / "pose.pkl")
    np.testing.assert_allclose(
        load(tmp_path / "pose.pkl")[1], [[0.1, 0], [0, -0.05]], rtol=1e-6
    )
    run("parse_ctf_star", star(), "-o", tmp_path / "ctf.pkl")
    expected = [200, 1.5, 12000, 11000, 30, 300, 2.7, 0.1, 0]
    np.testing.assert_allclose(load(tmp_path / "ctf.pkl")[0], expected, rtol=1e-6)


def test_old_files_take_sizes_from_the_command_line(run, fail, star, tmp_path):
    old = star(optics=False)
    run("parse_pose_star", old, "-D", 200, "-o", tmp_path / "pose.pkl")
    np.testing.assert_allclose(
        load(tmp_path / "pose.pkl")[1], [[0.1, 0], [0, -0.05]], rtol=1e-6
    )
    run("parse_ctf_star", old, "-D", 200, "--Apix", 1.5, "-o", tmp_path / "ctf.pkl")
    assert load(tmp_path / "ctf.pkl")[0, :2].tolist() == [200, 1.5]
    assert "give it with -D" in fail("parse_pose_star", old, "-o", tmp_path / "new.pkl")
    message = fail("parse_ctf_star", old, "-D", 200, "-o", tmp_path / "new.pkl")
    assert "give it with --Apix" in message
    assert not (tmp_path / "new.pkl").exists()


def test_sizes_that_contradict_the_file_stop_with_both_values(run, fail, star, tmp_path):
    out = tmp_path / "new.pkl"
    message = fail("parse_pose_star", star(), "-D", 100, "-o", out)
    assert "-D 100 contradicts" in message
    assert "200 pixels" in message
    message = fail("parse_ctf_star", star(), "--Apix", 1.6, "-o", out)
    assert "--Apix 1.6 contradicts" in message
    assert "1.5 Å/px" in message
    assert not out.exists()
    run("parse_ctf_star", star(), "--Apix", 1.5, "-D", 200, "-o", out)


def test_a_missing_phase_shift_is_zero_and_said(run, star, tmp_path):
    output = run("parse_ctf_star", star(), "-o", tmp_path / "ctf.pkl")
    assert "no phase shift" in output
    assert "taken as 0" in output


def test_values_given_replace_those_of_the_file(run, star, tmp_path):
    flags = ("--kv", 200, "--cs", 2.0, "-w", 0.07, "--ps", 90)
    run("parse_ctf_star", star(), "-o", tmp_path / "ctf.pkl", *flags)
    np.testing.assert_allclose(load(tmp_path / "ctf.pkl")[1, 5:], [200, 2, 0.07, 90], rtol=1e-6)


def test_the_first_ctf_is_drawn(run, star, tmp_path):
    run("parse_ctf_star", star(), "-o", tmp_path / "ctf.pkl", "--png", tmp_path / "ctf.png")
    assert (tmp_path / "ctf.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "command", "words"),
    [
        ({"rlnDefocusU": None}, "parse_ctf_star", "CTF estimation"),
        ({"rlnAngleRot": None}, "parse_pose_star", "Refine3D"),
        ({"rlnDefocusU": ["nan", "1"]}, "parse_ctf_star", "row 0"),
        ({"rlnAngleRot": ["x", "1"]}, "parse_pose_star", "not numeric"),
    ],
)
def test_what_is_missing_or_no_number_stops_before_anything_is_written(
    fail, star, tmp_path, changes, command, words
):
    assert words in fail(command, star(**changes), "-o", tmp_path / "new.pkl")
    assert not (tmp_path / "new.pkl").exists()


def test_no_output_is_written_over_another(fail, star, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = fail("parse_star", star(), "--poses", "a.pkl", "--ctf", tmp_path / "a.pkl")
    assert f"--poses and --ctf are both {tmp_path / 'a.pkl'}" in message
    assert not (tmp_path / "a.pkl").exists()


def test_outputs_must_be_pickles(fail, star, tmp_path):
    message = fail("parse_pose_star", star(), "-o", tmp_path / "pose.txt")
    assert "must end in .pkl" in message


@pytest.fixture
def without_pixel_size(star):
    """Shifts in Å, and nothing that says the pixel size."""

    def write():
        path = star()
        tables = read_star(path)
        columns = {
            name: {title: table.text(title) for title in table.names}
            for name, table in tables.items()
        }
        del columns["optics"]["rlnImagePixelSize"]
        write_star(path, columns)
        return path

    return write


def test_shifts_in_angstrom_are_not_taken_for_pixels(run, fail, without_pixel_size, tmp_path):
    path, out = without_pixel_size(), tmp_path / "pose.pkl"
    assert "does not say the pixel size; give it with --Apix" in fail(
        "parse_pose_star", path, "-o", out
    )
    assert not out.exists()
    run("parse_pose_star", path, "--Apix", 1.5, "-o", out)
    np.testing.assert_allclose(load(out)[1], [[0.1, 0], [0, -0.05]], rtol=1e-6)


def test_the_stack_says_the_pixel_size_where_the_table_does_not(
    run, without_pixel_size, write_stack, tmp_path
):
    path = without_pixel_size()
    # As downsampled from 200 pixels of 1.5 Å: the same field of view.
    write_stack(np.zeros((2, 8, 8)), "a.mrcs", pixel_size=1.5 * 25)
    output = run("parse_pose_star", path, "-o", tmp_path / "pose.pkl")
    assert "1.5 Å/px is taken from the headers of its stacks" in output
    np.testing.assert_allclose(
        load(tmp_path / "pose.pkl")[1], [[0.1, 0], [0, -0.05]], rtol=1e-6
    )
    run("parse_ctf_star", path, "-o", tmp_path / "ctf.pkl")
    np.testing.assert_allclose(load(tmp_path / "ctf.pkl")[0, :2], [200, 1.5], rtol=1e-6)


def test_shifts_along_one_axis_alone_are_refused(fail, star, tmp_path):
    path = star(rlnOriginYAngst=None)
    message = fail("parse_pose_star", path, "-o", tmp_path / "pose.pkl")
    assert "has a column rlnOriginXAngst, but no rlnOriginYAngst" in message


def test_a_pixel_size_that_is_not_positive_is_refused(fail, star, tmp_path):
    path = star()
    path.write_text(path.read_text().replace("1.5", "0"))
    message = fail("parse_pose_star", path, "-o", tmp_path / "pose.pkl")
    assert "the pixel size of row 0 is 0, not positive" in message


def test_poses_and_ctf_parsed_at_once_are_those_parsed_apart(run, fail, star, tmp_path):
    path, out = star(), {name: tmp_path / f"{name}.pkl" for name in ("poses", "ctf")}
    run("parse_pose_star", path, "-o", tmp_path / "p.pkl")
    run("parse_ctf_star", path, "--kv", 200, "-o", tmp_path / "c.pkl")
    words = ("parse_star", path, "--kv", 200, "--poses", out["poses"], "--ctf", out["ctf"])
    run(*words)
    assert out["poses"].read_bytes() == (tmp_path / "p.pkl").read_bytes()
    assert out["ctf"].read_bytes() == (tmp_path / "c.pkl").read_bytes()
    assert "replace it with --overwrite" in fail(*words)
    run(*words, "--overwrite")
    assert "give --poses, --ctf, or both" in fail("parse_star", path)
