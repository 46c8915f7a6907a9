"""Scores of particles as a table of text, and the selections that follow from them."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from cryodrgn.errors import InputFileError, ShapeMismatchError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.text import read_text
from cryodrgn.rundir import JudgedFiles

# The column of rows in the original file, and that of 0 and 1 for what looks like junk.
ROW, JUNK = "row", "junk"
# Whole numbers up to this one are told apart in double precision.
LARGEST_ROW = 2**53


def write_scores(
    files: JudgedFiles,
    original_rows: Int[np.ndarray, " particles"],
    columns: Mapping[str, Float[np.ndarray, " particles"]],
    is_junk: Bool[np.ndarray, " particles"],
) -> None:
    """Write the table, and the rows of junk and of all other particles.

    Args:
        files: Where.
        original_rows: Rows of the particles in the file that lists them.
        columns: Scores by name.
        is_junk: Which particles look like junk.
    """
    lines = [",".join([ROW, *columns])]
    for row, *values in zip(original_rows, *columns.values(), strict=True):
        lines.append(",".join([str(row), *(f"{value:.5g}" for value in values)]))
    with atomic_path(files.table) as partial:
        partial.write_text("\n".join(lines) + "\n")
    save_pickles(files.junk, [original_rows[is_junk]])
    save_pickles(files.good, [original_rows[~is_junk]])


def score_names(path: Path) -> list[str]:
    """Names of the scores that a table has.

    Raises:
        InputFileError: The file holds no such table.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return _names_in(next(csv.reader(file), []), path)
    except (OSError, ValueError, csv.Error) as error:
        msg = f"{path} is no table of scores (scores.csv of a run): {error}"
        raise InputFileError(msg) from error


def _names_in(first: list[str], path: Path) -> list[str]:
    if first[:1] != [ROW] or len(first) < 2 or len(set(first)) < len(first):
        msg = (
            f"{path} is no table of scores (scores.csv of a run): its first line must be "
            f"{ROW!r} and names of scores, found {first[:8]}"
        )
        raise InputFileError(msg)
    return first[1:]


def read_scores(
    path: Path,
) -> tuple[Int[np.ndarray, " particles"], dict[str, Float[np.ndarray, " particles"]]]:
    """Rows of the original file, and scores by name.

    Raises:
        InputFileError: The file holds no such table.
    """
    first, _, body = read_text(path).partition("\n")
    try:
        names = _names_in(next(csv.reader([first.rstrip("\r")]), []), path)
        table = _table_of(body, 1 + len(names))
        given = table[:, 0]
        if not (np.abs(given) < LARGEST_ROW).all() or (given != np.rint(given)).any():
            msg = f"{ROW} must be a whole number in every line"
            raise ValueError(msg)
        rows = given.astype(np.int64)
    except (ValueError, OverflowError, csv.Error) as error:
        msg = f"{path} is no table of scores (scores.csv of a run): {error}"
        raise InputFileError(msg) from error
    return rows, dict(zip(names, table[:, 1:].T.astype(np.float32), strict=True))


def _table_of(text: str, columns: int) -> Float[np.ndarray, "particles columns"]:
    """Numbers of lines with commas.

    Raises:
        ValueError: A line has others, or not as many.
    """
    if not text.strip():
        return np.zeros((0, columns))
    found = np.loadtxt(io.StringIO(text), delimiter=",", comments=None, ndmin=2)
    if found.shape[1] != columns:
        msg = f"its lines must have {columns} numbers, found {found.shape[1]}"
        raise ValueError(msg)
    return found


def scores_for(path: Path, rows: Int[np.ndarray, " chosen"]) -> dict[str, np.ndarray]:
    """Scores of some particles, which a table names by their rows in the original file.

    Raises:
        InputFileError: The file holds no such table.
        ShapeMismatchError: It does not have all of the particles.
    """
    listed, columns = read_scores(path)
    order = np.argsort(listed, kind="stable")
    places = np.searchsorted(listed[order], rows).clip(0, max(len(listed) - 1, 0))
    if not len(listed) or (listed[order][places] != rows).any():
        missing = np.setdiff1d(rows, listed)
        msg = (
            f"{path} has no scores of {len(missing)} of the chosen particles (row "
            f"{missing[0]} of the original file and others); the run was told to leave them "
            "out, choose among its particles"
        )
        raise ShapeMismatchError(msg)
    return {name: values[order][places] for name, values in columns.items()}
