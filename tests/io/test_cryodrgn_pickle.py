import os
import pickle
import pickletools
import subprocess
import sys
import venv

import numpy as np
import pytest

from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.io.cryodrgn_pickle import (
    load_ctf,
    load_latents,
    load_pickles,
    load_poses,
    save_ctf,
    save_latents,
    save_pickles,
    save_poses,
)
from cryodrgn.io.selection_files import load_indices
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.poses import Poses


class Malicious:
    def __reduce__(self):
        return os.system, ("echo this must never run",)


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_arrays_and_plain_containers_are_read_in_every_protocol(tmp_path, protocol):
    content = {
        "array": np.arange(6.0).reshape(2, 3),
        "scalar": np.float32(3.5),
        "list": [1, "two", None, (True,)],
        "fortran": np.asfortranarray(np.ones((2, 3), dtype=np.int64)),
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    (read,) = load_pickles(path)
    np.testing.assert_array_equal(read["array"], content["array"])
    np.testing.assert_array_equal(read["fortran"], content["fortran"])
    assert read["scalar"] == 3.5
    assert read["list"] == content["list"]


@pytest.mark.parametrize("content", [Malicious(), print, np.load, Poses])
def test_anything_else_is_refused_without_running_it(tmp_path, capfd, content):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputFileError, match=r"evil.pkl cannot be read as a pickle.*asks for"):
        load_pickles(path)
    assert not capfd.readouterr().out


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x80\x04\x95\xff\xff\xff", b"(lp0\n"])
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "damaged.pkl"
    path.write_bytes(damage)
    with pytest.raises(InputFileError, match=r"damaged.pkl"):
        load_pickles(path)


def test_text_is_no_pickle(tmp_path):
    path = tmp_path / "notes.pkl"
    path.write_text("# Notes\n")
    with pytest.raises(InputFileError, match=r"numpy arrays: it holds something else$"):
        load_pickles(path)


def test_a_truncated_pickle_is_refused(tmp_path):
    path = tmp_path / "cut.pkl"
    path.write_bytes(pickle.dumps(np.zeros(100))[:-20])
    with pytest.raises(InputFileError, match=r"cut.pkl"):
        load_pickles(path)


def test_rotations_without_shifts_are_read_and_said_to_be(tmp_path, caplog):
    rotations = np.eye(3, dtype="f4")[None].repeat(2, 0)
    save_pickles(tmp_path / "r.pkl", [rotations])
    read, shifts = load_poses(tmp_path / "r.pkl")
    np.testing.assert_array_equal(read, rotations)
    assert not shifts.any()
    assert shifts.shape == (2, 2)
    assert "r.pkl holds rotations and no shifts: taken as 0" in caplog.text


def test_poses_where_one_array_is_wanted_are_named(tmp_path):
    save_pickles(tmp_path / "p.pkl", [(np.zeros((2, 3, 3)), np.zeros((2, 2)))])
    with pytest.raises(InputFileError, match="rotations and shifts, a file for `poses`"):
        load_ctf(tmp_path / "p.pkl")


def test_poses_are_a_tuple_of_matrices_and_fractions_of_the_box(tmp_path):
    poses = Poses(
        rotations=np.eye(3, dtype=np.float32)[None].repeat(2, 0),
        shifts=np.array([[32.0, -16.0], [0.0, 8.0]], dtype=np.float32),
        source="test",
    )
    path = tmp_path / "poses.pkl"
    save_poses(path, poses, np.array([128.0, 64.0]))
    with path.open("rb") as file:
        rotations, fractions = pickle.load(file)
    np.testing.assert_array_equal(rotations, poses.rotations)
    np.testing.assert_allclose(fractions, [[0.25, -0.125], [0.0, 0.125]])
    np.testing.assert_array_equal(load_poses(path)[1], fractions)


@pytest.mark.parametrize("wrap", [lambda r: r, lambda r: (r,)])
def test_bare_rotations_have_no_shifts(tmp_path, wrap):
    save_pickles(tmp_path / "p.pkl", [wrap(np.eye(3)[None])])
    rotations, fractions = load_poses(tmp_path / "p.pkl")
    assert rotations.shape == (1, 3, 3)
    assert fractions.tolist() == [[0, 0]]


def test_shifts_in_pixels_and_other_arrays_are_refused(tmp_path):
    path = tmp_path / "p.pkl"
    save_pickles(path, [(np.eye(3)[None], np.array([[-5.0, 0.0]]))])
    with pytest.raises(MetadataError, match=r"largest is 5.00; they seem to be in pixels"):
        load_poses(path)
    save_pickles(path, [np.zeros((4, 8))])
    with pytest.raises(InputFileError, match=r"found \[\(4, 8\), \(4, 2\)\]"):
        load_poses(path)
    save_pickles(path, [np.full((4, 9), 64.0)])
    with pytest.raises(InputFileError, match=r"holds CTF parameters.*a file for `ctf`"):
        load_poses(path)


def test_ctf_is_an_array_of_nine_columns_in_degrees(tmp_path):
    names = "defocus_u defocus_v defocus_angle voltage_kv spherical_aberration_mm"
    numbers = [15000.0, 14000.0, 0.5, 300.0, 2.7]
    fields = dict(zip(names.split(), numbers, strict=True))
    fields |= {"amplitude_contrast": 0.1, "phase_shift": np.pi / 2}
    table = CtfTable(
        **{name: np.full(2, value, np.float32) for name, value in fields.items()}, source="test"
    )
    path = tmp_path / "ctf.pkl"
    save_ctf(path, table, 128, np.array([1.0, 1.25]))
    array = load_pickles(path)[0]
    expected = [128, 1.25, 15000, 14000, np.rad2deg(0.5), 300, 2.7, 0.1, 90]
    np.testing.assert_allclose(array[1], expected, rtol=1e-6)
    read, sides = load_ctf(path)
    np.testing.assert_allclose(sides, [128, 160])
    for name, values in table.columns().items():
        np.testing.assert_allclose(read.columns()[name], values, rtol=1e-6)


def test_ctf_that_is_no_ctf_is_refused(tmp_path):
    path = tmp_path / "ctf.pkl"
    save_pickles(path, [np.ones((3, 8))])
    with pytest.raises(InputFileError, match=r"expected an array \(N, 9\), found \(3, 8\)"):
        load_ctf(path)
    save_pickles(path, [(np.zeros((3, 3, 3)), np.zeros((3, 2)))])
    with pytest.raises(InputFileError, match=r"shapes \(3, 3, 3\), \(3, 2\), expected one"):
        load_ctf(path)
    save_pickles(path, [np.full((3, 9), np.nan)])
    with pytest.raises(MetadataError, match=r"ctf.pkl"):
        load_ctf(path)


def test_latents_are_two_pickles_in_one_file(tmp_path):
    mean, log_variance = np.ones((3, 2)), np.zeros((3, 2))
    path = tmp_path / "z.pkl"
    save_latents(path, mean, log_variance)
    first, second = load_pickles(path)
    assert first.dtype == second.dtype == np.float32
    np.testing.assert_array_equal(load_latents(path), mean)
    np.testing.assert_array_equal(second, log_variance)


def test_indices_keep_their_order_and_repetitions(tmp_path):
    path = tmp_path / "ind.pkl"
    save_pickles(path, [np.array([5, 2, 2], dtype=np.int32)])
    assert load_indices(path).tolist() == [5, 2, 2]
    save_pickles(path, [[1, 2]])
    assert load_indices(path).tolist() == [1, 2]
    save_pickles(path, [np.array([0.5])])
    with pytest.raises(InputFileError, match="integer array"):
        load_indices(path)


NUMBERS = [np.arange(6, dtype="f4").reshape(2, 3), np.float32(3), (np.eye(2), [1, "a"])]


def names_in(path):
    """Modules that a pickle asks for, and the protocols it needs."""
    operations = list(pickletools.genops(path.read_bytes()))
    text = {str(value) for _, value, _ in operations if isinstance(value, str)}
    return text, {operation.proto for operation, _, _ in operations}


def test_arrays_are_written_under_names_that_old_and_new_numpy_know(tmp_path):
    save_pickles(tmp_path / "x.pkl", NUMBERS[:1])
    text, protocols = names_in(tmp_path / "x.pkl")
    assert "numpy.core.multiarray" in text
    assert not [name for name in text if name.startswith("numpy._")]
    # Python 3.7, which the environments of cryoDRGN 0.2 have, reads no higher one.
    assert max(protocols) == 4


def test_what_is_written_is_read_by_the_standard_library(tmp_path):
    save_pickles(tmp_path / "x.pkl", NUMBERS)
    with (tmp_path / "x.pkl").open("rb") as file:
        found = [pickle.load(file) for _ in NUMBERS]
    np.testing.assert_array_equal(found[0], NUMBERS[0])
    assert found[1] == NUMBERS[1]
    assert type(found[1]) is np.float32
    np.testing.assert_array_equal(found[2][0], np.eye(2))
    assert found[2][1] == [1, "a"]


@pytest.mark.slow
def test_numpy_1_reads_what_is_written(tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment)
    python = environment / "bin/python"
    # By the pip that is here already: one more takes longer to install than numpy.
    pip = [sys.executable, "-m", "pip", "--python", python]
    install = [*pip, "install", "--quiet", "--no-compile", "numpy==1.24.4"]
    if subprocess.run(install, check=False, capture_output=True).returncode:
        pytest.skip("numpy 1.24 cannot be installed here")
    save_pickles(tmp_path / "x.pkl", NUMBERS)
    code = (
        "import pickle, sys, numpy; file = open(sys.argv[1], 'rb'); "
        "print([pickle.load(file) for _ in range(3)], numpy.__version__)"
    )
    words = [python, "-W", "error", "-c", code, tmp_path / "x.pkl"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "[3., 4., 5.]" in said
    assert "1.24.4" in said
