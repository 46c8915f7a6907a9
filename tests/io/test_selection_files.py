"""Files that select particles, in all the ways in which people write them."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryodrgn.errors import CryodrgnError, InputFileError, ShapeMismatchError
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.selection_files import load_indices, load_selection

MASK = np.array([False, True, False, True])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (np.array([3, 1], np.int32), [3, 1]),
        (np.array([3, 1], np.uint64), [3, 1]),
        ([3, 1, 1], [3, 1, 1]),
        ((3, 1), [3, 1]),
        ({3, 1}, [1, 3]),
        (frozenset({3, 1}), [1, 3]),
        ({np.int64(3), np.int64(1)}, [1, 3]),
        (np.nonzero(MASK), [1, 3]),
        (MASK, [1, 3]),
        (MASK.tolist(), [1, 3]),
        (tuple(MASK), [1, 3]),
        ([], []),
    ],
)
def test_a_pickle_of_any_of_these_is_read(tmp_path, content, expected, protocol):
    path = tmp_path / "ind.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    assert load_indices(path).tolist() == expected


@pytest.mark.parametrize("content", [np.array([3, 1]), np.array([3, 1], np.uint8)])
def test_arrays_and_text_are_read(tmp_path, content):
    np.save(tmp_path / "ind.npy", content)
    np.savetxt(tmp_path / "ind.txt", content, fmt="%d")
    for name in ("ind.npy", "ind.txt"):
        assert load_indices(tmp_path / name).tolist() == [3, 1]
    np.save(tmp_path / "mask.npy", MASK)
    assert load_indices(tmp_path / "mask.npy").tolist() == [1, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # What numpy.savetxt makes of indices without a format.
        ("3.000000000000000000e+00\n1.000000000000000000e+00\n", [3, 1]),
        ("3,1", [3, 1]),
        ("3, 1,\n2", [3, 1, 2]),
        ("False True\nFalse True", [1, 3]),
    ],
)
def test_text_is_read_as_people_write_it(tmp_path, text, expected):
    (tmp_path / "ind.txt").write_text(text)
    assert load_indices(tmp_path / "ind.txt").tolist() == expected


def test_a_mask_saved_as_numbers_is_not_taken_for_indices(tmp_path):
    np.savetxt(tmp_path / "mask.txt", MASK)
    selection = load_selection(tmp_path / "mask.txt")
    with pytest.raises(CryodrgnError, match="save it as booleans"):
        selection.rows_of(len(MASK), "p.star")


@given(st.lists(st.booleans(), min_size=2).filter(any))
def test_a_mask_selects_what_its_indices_select(tmp_path_factory, mask):
    folder = tmp_path_factory.mktemp("selections")
    save_pickles(folder / "mask.pkl", [np.array(mask)])
    save_pickles(folder / "ind.pkl", [np.flatnonzero(mask)])
    first, second = (
        load_selection(folder / name).rows_of(len(mask), "p.star")
        for name in ("mask.pkl", "ind.pkl")
    )
    assert first.tolist() == second.tolist()


def write_text(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "ind.txt"
        path.write_text(text)
        return path

    return write


def write_npy(array: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "ind.npy", array)
        return folder / "ind.npy"

    return write


def write_pickled(content: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save_pickles(folder / "ind.pkl", [content])
        return folder / "ind.pkl"

    return write


@pytest.mark.parametrize(
    "write",
    [
        write_text("1.5\n2\n"),
        write_text("1e400"),
        write_text("True 1"),
        write_npy(np.array({1, 2}, dtype=object)),
        write_npy(np.array([1.0, 2.0])),
        write_npy(np.zeros((2, 2), dtype=bool)),
        write_pickled({"rows": [1, 2]}),
        write_pickled(range(3)),
        write_pickled({"one", "two"}),
        write_pickled([1, 2.5]),
        write_pickled(np.array([[1, 2]])),
        write_pickled(5),
    ],
)
def test_anything_else_is_refused_with_what_to_save(tmp_path, write):
    with pytest.raises(InputFileError, match="save a one-dimensional array of whole numbers"):
        load_selection(write(tmp_path))


def test_a_mask_must_be_of_all_particles(tmp_path):
    selection = load_selection(write_npy(MASK)(tmp_path))
    assert selection.rows_of(4, "p.star").tolist() == [1, 3]
    with pytest.raises(ShapeMismatchError, match=r"holds 4 booleans, but p.star has 5 part"):
        selection.rows_of(5, "p.star")
    nothing = load_selection(write_npy(np.zeros(4, dtype=bool))(tmp_path))
    with pytest.raises(ShapeMismatchError, match="selects no particles"):
        nothing.rows_of(4, "p.star")


def test_a_mask_of_numbers_is_not_taken_for_row_numbers(tmp_path):
    selection = load_selection(write_text("0\n1\n0\n1\n")(tmp_path))
    with pytest.raises(ShapeMismatchError, match="only the numbers 0 and 1, one for each"):
        selection.rows_of(4, "p.star")
    # Of another number of particles they are rows, and doubles are said.
    assert selection.rows_of(9, "p.star").tolist() == [0, 1, 0, 1]
