"""Rows of the pickles of cryoDRGN, whatever they hold: poses, CTF parameters, latents, indices.

A file holds one or several objects; each is an array, or a tuple of arrays with a row for every
particle.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import InputFileError, ShapeMismatchError
from cryodrgn.io.cryodrgn_pickle import as_array, load_pickles, save_pickles
from cryodrgn.particles.selection import Selection

MOST_ARRAYS = 100


def filter_pickle(
    source: Path, rows: Int[np.ndarray, " rows"] | Selection, output: Path
) -> int:
    """Write some rows of every array of a pickle.

    Args:
        source: The pickle.
        rows: Numbers of the rows, from 0, in the order wanted, or a selection of them.
        output: The pickle to write.

    Returns:
        The number of rows that there were.

    Raises:
        CryodrgnError: The file holds something else than arrays of equal length, or has too
            few rows.
    """
    objects = load_pickles(source)
    count = _count(objects, source)
    chosen = Selection.of(rows).rows_of(count, str(source))
    save_pickles(output, [_map(item, lambda array: array[chosen]) for item in objects])
    return count


def concatenate_pickles(sources: Sequence[Path], output: Path) -> list[int]:
    """Write the rows of several pickles of the same kind one after another.

    Args:
        sources: The pickles.
        output: The pickle to write.

    Returns:
        The number of rows of each.

    Raises:
        CryodrgnError: The files hold different things, or no arrays.
    """
    contents = [load_pickles(source) for source in sources]
    counts = [_count(item, path) for item, path in zip(contents, sources, strict=True)]
    layouts = [_layout(item, path) for item, path in zip(contents, sources, strict=True)]
    for layout, source in zip(layouts, sources, strict=True):
        if layout != layouts[0]:
            msg = f"{source} holds arrays {layout}, but {sources[0]} holds {layouts[0]}"
            raise ShapeMismatchError(msg)
    joined = []
    for parts in zip(*contents, strict=True):
        if isinstance(parts[0], tuple | list):
            columns = zip(*parts, strict=True)
            joined.append(tuple(np.concatenate(column) for column in columns))
        else:
            joined.append(np.concatenate(parts))
    save_pickles(output, joined)
    return counts


def _map(item: Any, change: Any) -> Any:
    if isinstance(item, tuple | list):
        return tuple(change(np.asarray(part)) for part in item)
    return change(np.asarray(item))


def _arrays(objects: Sequence[Any], path: Path) -> list[np.ndarray]:
    parts = [
        part
        for item in objects
        for part in (item if isinstance(item, tuple | list) else [item])
    ]
    if len(parts) > MOST_ARRAYS:
        msg = f"{path} holds {len(parts)} objects, not arrays with a row for every particle"
        raise InputFileError(msg)
    return [as_array(part, path) for part in parts]


def _layout(objects: Sequence[Any], path: Path) -> list[tuple[int, ...]]:
    """Shape of a row of every array."""
    return [array.shape[1:] for array in _arrays(objects, path)]


def _count(objects: Sequence[Any], path: Path) -> int:
    """Number of rows, the same for every array."""
    arrays = _arrays(objects, path)
    lengths = {array.shape[0] if array.ndim else None for array in arrays}
    if len(lengths) != 1 or None in lengths:
        shapes = [array.shape for array in arrays]
        msg = f"{path} holds no arrays with a row for every particle: found shapes {shapes}"
        raise InputFileError(msg)
    return arrays[0].shape[0]
