"""Lists of particle indices."""

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import ShapeMismatchError


def check_indices(
    indices: Int[np.ndarray, " rows"], count: int, *, source: str, of: str
) -> Int[np.ndarray, " rows"]:
    """Indices as an array, after checking that each points at one of ``count`` rows.

    Order and repetitions are kept.

    Args:
        indices: Row numbers from 0.
        count: Number of rows they point into.
        source: Where the indices come from, for messages.
        of: What they point into, for messages.

    Raises:
        ShapeMismatchError: There are none, or one lies outside 0 … count − 1.
    """
    if len(indices) == 0:
        msg = f"{source} selects no particles"
        raise ShapeMismatchError(msg)
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= count:
        found = low if low < 0 else high
        msg = f"{source} holds index {found}, but {of} has {count} particles (0 to {count - 1})"
        raise ShapeMismatchError(msg)
    return indices
