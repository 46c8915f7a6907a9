"""Half sets and held-out sets: the one place that says on which side a particle is.

A particle that is listed more than once, as symmetry expansion lists it, is one particle: all
of its copies are on one side, since what is found from one of them would predict the noise of
the others. Without copies, particles belong to the halves in turn.
"""

import numpy as np
from jaxtyping import Int


def halves_of(
    rows: Int[np.ndarray, " rows"], numbers: Int[np.ndarray, " particles"]
) -> tuple[Int[np.ndarray, " first"], Int[np.ndarray, " second"]]:
    """Those of some rows that belong to the first half set, and those of the second.

    Args:
        rows: Rows of a set of particles, in any order, which is kept.
        numbers: Number of the different particle that every row of the set shows, see
            :attr:`~cryodrgn.particles.particle_set.ParticleSet.numbers`.
    """
    is_second = numbers[rows] % 2 == 1
    return rows[~is_second], rows[is_second]


def rows_of(
    chosen: Int[np.ndarray, " chosen"], numbers: Int[np.ndarray, " particles"]
) -> Int[np.ndarray, " rows"]:
    """Rows, in ascending order, that show one of some different particles.

    Args:
        chosen: Numbers of different particles.
        numbers: That of every row.
    """
    return np.flatnonzero(np.isin(numbers, chosen))
