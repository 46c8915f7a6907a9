"""Basins of a density on a grid, and the test of its maxima against chance.

A basin holds the places from which the steepest way up leads to one maximum (watershed). The
depth of a maximum is ln(its density / that at the pass to a higher one).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.analysis.density import ConformationalDensity


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Basins:
    """Basins of a density.

    Attributes:
        labels: Basin of every grid point.
        peaks: Flat number of the grid point of every maximum.
        borders: By pair of neighbouring basins, flat numbers of neighbouring points in them.
    """

    labels: Int[np.ndarray, "*grid"]
    peaks: Int[np.ndarray, " basins"]
    borders: dict[tuple[int, int], Int[np.ndarray, "2 pairs"]]

    @classmethod
    def of(cls, values: Float[np.ndarray, "*grid"]) -> "Basins":
        """Watershed: a point is a maximum, or belongs to the basin of its highest neighbour."""
        flat = values.ravel()
        numbers = np.arange(values.size).reshape(values.shape)
        highest = numbers.ravel().copy()
        for first, second in _neighbours(numbers):
            for here, there in ((first, second), (second, first)):
                # Of equal heights the later counts as higher: plateaus have one maximum.
                better = (flat[there] > flat[highest[here]]) | (
                    (flat[there] == flat[highest[here]]) & (there > highest[here])
                )
                highest[here[better]] = there[better]
        while not np.array_equal(highest, highest[highest]):
            highest = highest[highest]
        peaks, labels = np.unique(highest, return_inverse=True)
        return cls._of_labels(labels.reshape(values.shape), peaks)

    @classmethod
    def _of_labels(cls, labels: np.ndarray, peaks: np.ndarray) -> "Basins":
        numbers = np.arange(labels.size).reshape(labels.shape)
        flat = labels.ravel()
        ends = [np.stack(pair) for pair in _neighbours(numbers)]
        pairs = np.concatenate(ends, axis=1)
        pairs = pairs[:, flat[pairs[0]] != flat[pairs[1]]]
        sides = np.sort(flat[pairs], axis=0)
        codes = sides[0] * len(peaks) + sides[1]
        order = np.argsort(codes, kind="stable")
        kinds, begins = np.unique(codes[order], return_index=True)
        parts = np.split(pairs[:, order], begins[1:], axis=1)
        borders = {
            divmod(int(kind), len(peaks)): part
            for kind, part in zip(kinds, parts, strict=False)
        }
        return cls(labels=labels, peaks=peaks, borders=borders)

    def places(self, density: ConformationalDensity) -> Float[np.ndarray, "basins dim"]:
        """Positions of the maxima."""
        where = np.unravel_index(self.peaks, self.labels.shape)
        columns = [axis[rows] for axis, rows in zip(density.axes, where, strict=True)]
        return np.stack(columns, axis=1)

    def heights(self, values: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, " basins"]:
        """The highest density in every basin."""
        highest = np.zeros(len(self.peaks))
        np.maximum.at(highest, self.labels.ravel(), values.ravel())
        return highest

    def passes(self, values: Float[np.ndarray, "*grid"]) -> dict[tuple[int, int], float]:
        """Density of the highest pass between neighbouring basins."""
        flat = values.ravel()
        return {
            pair: float(np.minimum(flat[points[0]], flat[points[1]]).max())
            for pair, points in self.borders.items()
        }

    def depths(self, values: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, " basins"]:
        """Depth of every maximum in kT: infinite if there is no other.

        Basins are joined across the highest passes first. Where two meet, the lower maximum's
        depth is known; that of the highest of all follows from its own first pass.
        """
        heights = np.maximum(self.heights(values), 1e-300)
        depths = np.full(len(heights), np.inf)
        top = np.arange(len(heights))
        ordered = sorted(self.passes(values).items(), key=lambda item: -item[1])
        for (first, second), level in ordered:
            ends = [_root(top, basin) for basin in (first, second)]
            if ends[0] == ends[1]:
                continue
            lower, higher = sorted(ends, key=lambda basin: heights[basin])
            barrier = np.log(heights[[lower, higher]] / max(level, 1e-300))
            depths[lower] = barrier[0]
            depths[higher] = min(depths[higher], barrier[1])
            top[lower] = higher
        return depths

    def merged(self, basin: int, values: Float[np.ndarray, "*grid"]) -> "Basins":
        """One basin less: it joins its neighbour across the highest pass."""
        own = {pair: level for pair, level in self.passes(values).items() if basin in pair}
        pair = max(own, key=lambda pair: own[pair])
        other = pair[0] if pair[1] == basin else pair[1]
        labels = np.where(self.labels == basin, other, self.labels)
        labels = np.where(labels > basin, labels - 1, labels)
        peaks = self.peaks.copy()
        peaks[other] = max(peaks[list(pair)], key=lambda place: values.ravel()[place])
        return self._of_labels(labels, np.delete(peaks, basin))


def _root(top: Int[np.ndarray, " basins"], basin: int) -> int:
    while top[basin] != basin:
        basin = int(top[basin])
    return basin


def _neighbours(
    numbers: Int[np.ndarray, "*grid"],
) -> list[tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]]:
    """All pairs of neighbouring grid points, diagonals included."""
    pairs = []
    for step in itertools.product((-1, 0, 1), repeat=numbers.ndim):
        if step <= (0,) * numbers.ndim:
            continue
        sides = list(zip(step, numbers.shape, strict=True))
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in sides)
        there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in sides)
        pairs.append((numbers[here].ravel(), numbers[there].ravel()))
    return pairs


# Sets drawn without a maximum, none of which may show one like it: chance is below 1 in 20.
NUM_DRAWN = 19


def stands_out(
    basins: Basins,
    values: Float[np.ndarray, "*grid"],
    redrawn: Callable[[Float[np.ndarray, "*grid"]], Float[np.ndarray, "*grid"]],
) -> bool:
    """True if chance alone would not have made the shallowest of some maxima.

    Under the hypothesis that it is none the density is flat there, cut at the height of the
    pass. Densities are estimated anew from images that are drawn from that density; the maximum
    stands out if none of 19 has as many maxima that are as deep and have half of its share.

    Args:
        basins: Basins of the density, two or more.
        values: The density.
        redrawn: Density estimated from images that are drawn from a given one.
    """
    depths = basins.depths(values)
    least = int(np.argmin(depths))
    passes = [level for pair, level in basins.passes(values).items() if least in pair]
    inside = basins.labels == least
    flat = np.where(inside, np.minimum(values, max(passes)), values)
    share = float(values[inside].sum() / values.sum())
    for _ in range(NUM_DRAWN):
        drawn = redrawn(flat / flat.sum() * values.sum())
        if _like(drawn, depths[least], share / 2) >= len(basins.peaks):
            return False
    return True


def _like(values: Float[np.ndarray, "*grid"], depth: float, share: float) -> int:
    """Number of maxima of at least some depth and share of a density."""
    basins = Basins.of(values)
    heights = np.maximum(basins.heights(values), 1e-300)
    sums = np.bincount(basins.labels.ravel(), values.ravel(), len(heights))
    top = np.arange(len(heights))
    # From the highest pass on, a maximum that is shallower joins the higher one beside it.
    for (first, second), level in sorted(
        basins.passes(values).items(), key=lambda item: -item[1]
    ):
        ends = [_root(top, basin) for basin in (first, second)]
        lower, higher = sorted(ends, key=lambda basin: heights[basin])
        if lower != higher and np.log(heights[lower] / max(level, 1e-300)) < depth:
            top[lower] = higher
            sums[higher] += sums[lower]
    kept = top == np.arange(len(heights))
    return int((sums[kept] >= share * values.sum()).sum())
