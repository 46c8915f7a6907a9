"""Copies of particles: what counts rows that show one particle as one particle.

Symmetry expansion lists a particle once for every mate, and its rows share the noise of one
image. Sums may run over rows; how sure a mean is depends on different particles. Everything
here takes the number of the different particle that every row shows
(:attr:`~cryodrgn.particles.particle_set.ParticleSet.numbers`), or None where every row is a
particle of its own, and then does what is done without copies, number by number.
"""

import numpy as np
from jaxtyping import Float, Int

Numbers = Int[np.ndarray, " rows"] | None


def in_order_of_appearance(
    copies: Int[np.ndarray, " rows"],
) -> Int[np.ndarray, " rows"]:
    """Numbers 0, 1, 2, … of different particles, in the order of their first rows.

    Args:
        copies: Any numbers that are equal for copies of one particle.
    """
    _, first, places = np.unique(copies, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[places.ravel()]


def number_of_different(numbers: Numbers, count: int) -> int:
    """Number of different particles among so many rows."""
    return count if numbers is None else len(np.unique(numbers))


def copies_per_particle(numbers: Numbers) -> float:
    """Rows of a particle, on average."""
    return 1.0 if numbers is None else len(numbers) / len(np.unique(numbers))


def first_rows(numbers: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " particles"]:
    """First row of every different particle, in ascending order."""
    return np.sort(np.unique(numbers, return_index=True)[1])


def sums_over_copies(
    values: Float[np.ndarray, "rows *columns"], numbers: Numbers
) -> Float[np.ndarray, "particles *columns"]:
    """Sums over all rows of each different particle, in the order of their numbers."""
    if numbers is None:
        return values
    _, places = np.unique(numbers, return_inverse=True)
    places = places.ravel()
    columns = values.reshape(len(values), -1).T
    count = int(places.max(initial=-1)) + 1
    sums = np.stack([np.bincount(places, column, count) for column in columns], axis=1)
    return sums.reshape(count, *values.shape[1:])


def mean_of_copies(
    values: Float[np.ndarray, "rows *columns"], numbers: Numbers
) -> Float[np.ndarray, "particles *columns"]:
    """Means over all rows of each different particle, in the order of their numbers."""
    if numbers is None:
        return values
    _, counts = np.unique(numbers, return_counts=True)
    shape = (-1, *[1] * (values.ndim - 1))
    return sums_over_copies(values, numbers) / counts.reshape(shape)


def standard_error(
    values: Float[np.ndarray, " rows"], numbers: Numbers = None, *, ddof: int = 0
) -> float:
    """Standard error of a mean over rows, of which those of one particle are one observation.

    Args:
        values: Of every row.
        numbers: Numbers of the different particles, see above.
        ddof: Subtracted from their count in the variance.
    """
    means = mean_of_copies(values, numbers)
    return float(means.std(ddof=ddof) / np.sqrt(len(means)))


def chosen_at_random(
    rng: np.random.Generator, numbers: Numbers, count: int, most: int
) -> Int[np.ndarray, " chosen"]:
    """Rows of particles drawn without replacement, with all of their copies, in random order.

    Args:
        rng: Of the choice.
        numbers: Numbers of the different particles of all rows.
        count: Number of rows.
        most: As many rows as are wanted, or a few less.
    """
    if numbers is None:
        return rng.choice(count, min(count, most), replace=False)
    _, places = np.unique(numbers, return_inverse=True)
    places = places.ravel()
    different = int(places.max()) + 1
    wanted = max(1, min(different, int(most / copies_per_particle(numbers))))
    drawn = rng.choice(different, wanted, replace=False)
    ranks = np.full(different, different)
    ranks[drawn] = np.arange(wanted)
    order = np.argsort(ranks[places], kind="stable")
    return order[: int((ranks[places] < different).sum())]


def bootstrap_weights(
    rng: np.random.Generator, numbers: Numbers, count: int, samples: int
) -> Float[np.ndarray, "samples rows"]:
    """Weights of rows in samples of particles drawn with replacement; they add up to 1.

    Args:
        rng: Of the samples.
        numbers: Numbers of the different particles of all rows.
        count: Number of rows.
        samples: Number of samples.
    """
    different = number_of_different(numbers, count)
    drawn = rng.multinomial(different, np.full(different, 1 / different), size=samples)
    if numbers is None:
        return drawn / count
    weights = drawn[:, in_order_of_appearance(numbers)]
    return weights / weights.sum(1, keepdims=True)


def shuffled(rng: np.random.Generator, numbers: Numbers, count: int) -> Int[np.ndarray, "rows"]:
    """For every row a row of another particle, the same one for all copies of a particle.

    The n-th copy of a particle is given the n-th of the other, or of those that it has in turn.

    Args:
        rng: Of the order.
        numbers: Numbers of the different particles of all rows.
        count: Number of rows.
    """
    if numbers is None:
        return rng.permutation(count)
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    places = places.ravel()
    order = np.argsort(places, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    ranks = np.empty(count, dtype=np.int64)
    ranks[order] = np.arange(count) - np.repeat(starts, counts)
    other = rng.permutation(len(counts))[places]
    return order[starts[other] + ranks % counts[other]]
