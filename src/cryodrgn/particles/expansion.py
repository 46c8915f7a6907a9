"""Symmetry expansion: every particle once for each mate, and selections led back from there."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

# Which original particles a selection of copies means: those with more than half of their
# copies in it (so that exactly half is not enough), with any, or with all.
CopyRule = Literal["majority", "any", "all"]


def expanded_poses(
    rotations: Float[np.ndarray, "particles 3 3"], mates: Float[np.ndarray, "mates 3 3"]
) -> Float[np.ndarray, "copies 3 3"]:
    """Rotations R S of every particle, the mates of a particle one after another.

    Args:
        rotations: Rotations R of the particles.
        mates: Rotations S of the point group.
    """
    return (rotations[:, None] @ mates[None]).reshape(-1, 3, 3)


def original_rows(
    chosen: Int[np.ndarray, " chosen"],
    originals: Int[np.ndarray, " copies"],
    rule: CopyRule = "majority",
) -> Int[np.ndarray, " rows"]:
    """Rows of the original file that a selection of copies stands for, in ascending order.

    Args:
        chosen: Rows of the expanded file; repetitions count once.
        originals: Row of the original file of every row of the expanded one.
        rule: How many copies of a particle must be chosen.
    """
    count = int(originals.max()) + 1
    copies = np.bincount(originals, minlength=count)
    found = np.bincount(originals[np.unique(chosen)], minlength=count)
    least = {"majority": copies // 2 + 1, "any": np.ones_like(copies), "all": copies}[rule]
    return np.flatnonzero((copies > 0) & (found >= least))
