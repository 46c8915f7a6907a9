import numpy as np
import pytest

from cryodrgn.errors import InputFileError, ShapeMismatchError
from cryodrgn.io.cryodrgn_pickle import load_pickles, load_shifts, save_pickles
from cryodrgn.io.pickle_rows import concatenate_pickles, filter_pickle


@pytest.fixture
def poses(tmp_path, rng):
    content = (rng.normal(size=(5, 3, 3)), rng.normal(size=(5, 2)) / 10)
    save_pickles(tmp_path / "poses.pkl", [content])
    return tmp_path / "poses.pkl", content


def test_every_array_of_a_pickle_loses_the_same_rows(poses, tmp_path):
    path, content = poses
    rows = np.array([4, 0, 0])
    assert filter_pickle(path, rows, tmp_path / "out.pkl") == 5
    found = load_pickles(tmp_path / "out.pkl")[0]
    assert isinstance(found, tuple)
    for array, expected in zip(found, content, strict=True):
        np.testing.assert_array_equal(array, expected[rows])


def test_pickles_of_several_objects_keep_them_all(tmp_path, rng):
    mean, log_variance = rng.normal(size=(2, 4, 3))
    save_pickles(tmp_path / "z.pkl", [mean, log_variance])
    filter_pickle(tmp_path / "z.pkl", np.array([2]), tmp_path / "out.pkl")
    found = load_pickles(tmp_path / "out.pkl")
    np.testing.assert_array_equal(found, [mean[2:3], log_variance[2:3]])


def test_parts_put_together_again_are_the_whole(poses, tmp_path):
    path, content = poses
    for name, rows in (("a.pkl", np.arange(2)), ("b.pkl", np.arange(2, 5))):
        filter_pickle(path, rows, tmp_path / name)
    parts = [tmp_path / "a.pkl", tmp_path / "b.pkl"]
    assert concatenate_pickles(parts, tmp_path / "whole.pkl") == [2, 3]
    for array, expected in zip(load_pickles(tmp_path / "whole.pkl")[0], content, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_pickles_that_do_not_go_together_are_refused(poses, tmp_path):
    path, _ = poses
    save_pickles(tmp_path / "ctf.pkl", [np.zeros((5, 9))])
    with pytest.raises(ShapeMismatchError, match=r"ctf.pkl holds arrays"):
        concatenate_pickles([path, tmp_path / "ctf.pkl"], tmp_path / "out.pkl")
    with pytest.raises(ShapeMismatchError, match="holds index 5"):
        filter_pickle(path, np.array([5]), tmp_path / "out.pkl")
    save_pickles(tmp_path / "odd.pkl", [(np.zeros(3), np.zeros(4))])
    with pytest.raises(InputFileError, match="no arrays with a row for every particle"):
        filter_pickle(tmp_path / "odd.pkl", np.array([0]), tmp_path / "out.pkl")
    assert not (tmp_path / "out.pkl").exists()


def test_shifts_are_read_alone_and_out_of_poses(poses, tmp_path):
    path, (_, shifts) = poses
    save_pickles(tmp_path / "trans.pkl", [shifts])
    np.testing.assert_allclose(load_shifts(tmp_path / "trans.pkl"), shifts, rtol=1e-6)
    np.testing.assert_allclose(load_shifts(path), shifts, rtol=1e-6)
