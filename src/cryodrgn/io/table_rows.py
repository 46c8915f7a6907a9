"""Rows of a particle file that the rows of a table are of: latents, labels of clusters."""

import logging
from contextlib import suppress

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import InputFileError, ShapeMismatchError
from cryodrgn.given_arrays import GivenArray, PathOrArray
from cryodrgn.io.run_config import number_trained_on, parent_indices, run_holding
from cryodrgn.io.selection_files import load_selection

logger = logging.getLogger(__name__)


def rows_of_run(
    path: PathOrArray, length: int, setting: str
) -> Int[np.ndarray, " rows"] | None:
    """Original rows of a table in the folder of a run whose particles were filtered.

    Args:
        path: The table.
        length: Its number of rows.
        setting: The setting that gives them otherwise.

    Returns:
        One of every row; None where no run tells that particles were filtered.

    Raises:
        InputFileError: The rows of the run are gone, or have changed since.
        ShapeMismatchError: They are of another number of particles.
    """
    run = None if isinstance(path, GivenArray) else run_holding(path)
    if run is None:
        logger.info(
            "rows are those of %s, which lies in no run; if its particles were filtered, give "
            "their rows in the original file with `%s`",
            path,
            setting,
        )
        return None
    try:
        indices = parent_indices(run)
    except InputFileError as error:
        msg = (
            f"which particles the rows of {path} are of is not known; give their rows in the "
            f"original file with `{setting}` ({error})"
        )
        raise InputFileError(msg) from error
    rows = None if indices is None else load_selection(indices).indices
    count = number_trained_on(run) if rows is None else len(rows)
    if count not in {None, length}:
        of = "" if indices is None else f", those of {indices}"
        msg = (
            f"{path} has {length} rows, but {run} was trained on {count} particles{of}; give "
            f"the rows in the original file with `{setting}`"
        )
        raise ShapeMismatchError(msg)
    if rows is None:
        return None
    logger.info("%s has the rows of the original file that %s names", path, indices)
    return rows


def rows_of_table(
    path: PathOrArray, length: int, count: int, *, of: str
) -> Int[np.ndarray, " length"]:
    """Original row of every row of a table: those of its run, or all there are, in order.

    Args:
        path: The table, in the folder of a run or elsewhere.
        length: Its number of rows.
        count: Number of particles that the file lists.
        of: The file, for messages.

    Raises:
        ShapeMismatchError: It is not known which particles the table is of.
    """
    run = None if isinstance(path, GivenArray) else run_holding(path)
    # A run whose index file is gone says as little as none.
    with suppress(InputFileError):
        indices = None if run is None else parent_indices(run)
        if indices is not None:
            chosen = load_selection(indices)
            is_of_file = chosen.mask_length in {None, count} and chosen.indices.max() < count
            if is_of_file and len(chosen.indices) == length:
                logger.info("%s has the rows of %s that %s names", path, of, indices)
                return chosen.indices
    if length != count:
        msg = (
            f"{path} has {length} rows, but {of} {count} particles: which of them these are is "
            "not known; give the indices by which they were filtered with `table_indices`"
        )
        raise ShapeMismatchError(msg)
    return np.arange(count)
