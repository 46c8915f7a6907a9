"""Files that select particles: lists of their rows, or one boolean per particle.

Written as pickles (``ind.pkl``), numpy arrays (``.npy``) or text (``.txt``, numbers apart by
blanks or line breaks).
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import InputFileError
from cryodrgn.given_arrays import GivenArray, PathOrArray
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import as_array, load_pickles
from cryodrgn.io.latent_text import load_index_text
from cryodrgn.io.text import require_file
from cryodrgn.particles.selection import Selection

REMEDY = (
    "save a one-dimensional array of whole numbers (rows from 0), or of one boolean per "
    "particle, as .pkl, .npy or .txt"
)
ARRAY_REMEDY = "give whole numbers (rows from 0), or one boolean per particle"


def load_selection(path: PathOrArray) -> Selection:
    """The selection that a file holds, or an array is.

    Lists keep their order and repetitions; sets, which have no order, are read in ascending
    order; the tuple that ``numpy.nonzero`` returns is the one array in it.

    Args:
        path: A file of one array, list, tuple or set: a pickle, unless it ends in ``.npy`` or
            ``.txt``. Or an array.

    Raises:
        InputFileError: The file cannot be read or holds something else.
    """
    if not isinstance(path, GivenArray):
        require_file(path)
    try:
        array = _array(path)
    except InputFileError as error:
        if isinstance(path, GivenArray):
            raise
        msg = f"{error}; {REMEDY}"
        raise InputFileError(msg) from error
    if array.ndim == 1 and array.size == 0 and array.dtype.kind in "biuf":
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        msg = (
            f"{path} holds no list of indices: expected a one-dimensional integer array, "
            f"found shape {array.shape} of type {array.dtype}; "
            f"{ARRAY_REMEDY if isinstance(path, GivenArray) else REMEDY}"
        )
        raise InputFileError(msg)
    if array.dtype.kind == "b":
        return Selection.of_mask(array, source=str(path))
    return Selection(indices=array.astype(np.int64), source=str(path))


def load_indices(path: PathOrArray) -> Int[np.ndarray, " rows"]:
    """The rows that a file selects, without a table that they could be checked against.

    Raises:
        InputFileError: The file cannot be read or holds something else.
    """
    return load_selection(path).indices


def _array(path: PathOrArray) -> np.ndarray:
    if isinstance(path, GivenArray):
        return path.values
    if path.suffix == ".npy":
        return read_npy(path)
    if path.suffix == ".txt":
        return load_index_text(path)
    return _plain_array(load_pickles(path)[0], path)


def _plain_array(item: Any, path: Path) -> np.ndarray:
    """An array out of whatever lists numbers in a pickle."""
    if isinstance(item, set | frozenset):
        return np.sort(as_array(list(item), path))
    if isinstance(item, tuple | list) and len(item) == 1 and isinstance(item[0], np.ndarray):
        return _plain_array(item[0], path)
    return as_array(item, path)
