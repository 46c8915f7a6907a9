"""Half sets and held-out sets: the one place that says on which side a particle is.

A particle that is listed more than once, as symmetry expansion lists it, is one particle: all
of its copies are on one side, since what is found from one of them would predict the noise of
the others. Without copies, particles belong to the halves in turn.
"""

import numpy as np
from jaxtyping import Int


def in_order_of_appearance(
    copies: Int[np.ndarray, " rows"],
) -> Int[np.ndarray, " rows"]:
    """Numbers 0, 1, 2, … of different particles, in the order of their first rows.

    Args:
        copies: Any numbers that are equal for copies of one particle.
    """
    _, first, places = np.unique(copies, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[places.ravel()]


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


def without_copies_of(
    rows: Int[np.ndarray, " rows"],
    others: Int[np.ndarray, " others"],
    numbers: Int[np.ndarray, " particles"],
) -> Int[np.ndarray, " kept"]:
    """Those of some rows that show none of the particles that other rows show."""
    return rows[~np.isin(numbers[rows], numbers[others])]
