"""Scores of particles as a table of text, and the selections that follow from them."""

import csv
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


def read_scores(
    path: Path,
) -> tuple[Int[np.ndarray, " particles"], dict[str, Float[np.ndarray, " particles"]]]:
    """Rows of the original file, and scores by name.

    Raises:
        InputFileError: The file holds no such table.
    """
    text = read_text(path)
    try:
        names, *lines = csv.reader(text.splitlines())
        if names[:1] != [ROW] or len(names) < 2 or len(set(names)) < len(names):
            msg = f"its first line must be {ROW!r} and names of scores, found {names[:8]}"
            raise ValueError(msg)
        rows = np.array([int(line[0]) for line in lines], dtype=np.int64)
        table = np.array([[float(v) for v in line[1:]] for line in lines], dtype=np.float32)
        if table.shape != (len(rows), len(names) - 1):
            msg = "its lines must have one number for every name"
            raise ValueError(msg)
    except (ValueError, IndexError, OverflowError, csv.Error) as error:
        msg = f"{path} is no table of scores (scores.csv of a run): {error}"
        raise InputFileError(msg) from error
    return rows, dict(zip(names[1:], table.T, strict=True))


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
