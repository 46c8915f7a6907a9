"""Density of conformations in a latent space, freed of the blur of uncertain latents."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from cryodrgn.errors import ConfigError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.particles.copies import (
    Numbers,
    bootstrap_weights,
    chosen_at_random,
    in_order_of_appearance,
    number_of_different,
)
from cryodrgn.particles.half_sets import halves_of

MOST_DIMENSIONS = 4
# Fewer particles than these make no density: every one of them would be a maximum.
LEAST_PARTICLES = 50
# Grid points along each axis, and images used, by number of dimensions.
GRID_POINTS = (121, 41, 19, 13)
MOST_IMAGES = (20_000, 10_000, 4_000, 3_000)
# Widths of the smoothing that are compared, in standard deviations of the latents.
SMOOTHINGS = (0.08, 0.15, 0.25, 0.4, 0.6)
ITERATIONS = 60
MARGIN = 0.15
# Values of which likelihoods are computed at a time.
VALUES_AT_A_TIME = 1 << 17
# Likelihoods narrower than this share of the latents' spread count as that wide.
LEAST_WIDTH = 0.05
# An image that says less than this share of the prior says nothing.
LEAST_INFORMATION = 0.02


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConformationalDensity:
    """A density on a regular grid.

    Attributes:
        axes: Positions of the grid points along each dimension.
        values: The density; its sum times the volume of a cell is 1.
        samples: The same from bootstrap samples of the images.
        smoothing: Chosen width of the smoothing, in standard deviations of the latents.
    """

    axes: tuple[Float[np.ndarray, " points"], ...]
    values: Float[np.ndarray, "*grid"]
    samples: Float[np.ndarray, "samples *grid"]
    smoothing: float

    def marginal(self, kept: Sequence[int]) -> Float[np.ndarray, "*grid"]:
        """The density of some of the dimensions."""
        return self._summed(self.values, kept, first=0)

    def band(self, kept: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Tenth and ninetieth percentile of that density over the bootstrap samples."""
        low, high = np.quantile(self._summed(self.samples, kept, first=1), (0.1, 0.9), axis=0)
        return low, high

    def _summed(self, values: np.ndarray, kept: Sequence[int], first: int) -> np.ndarray:
        others = [axis for axis in range(len(self.axes)) if axis not in kept]
        steps = [self.axes[axis][1] - self.axes[axis][0] for axis in others]
        return values.sum(tuple(axis + first for axis in others)) * np.prod(steps)

    def nearest(self, point: Float[np.ndarray, " dim"]) -> tuple[int, ...]:
        """Index of the grid point nearest to a place."""
        pairs = zip(self.axes, point, strict=True)
        return tuple(int(np.abs(axis - value).argmin()) for axis, value in pairs)


def conformational_density(
    latents: Float[np.ndarray, "particles dim"],
    covariances: Float[np.ndarray, "particles dim dim"] | None,
    *,
    num_bootstraps: int = 20,
    seed: int = 0,
    numbers: Numbers = None,
) -> ConformationalDensity:
    """Deconvolve the density of conformations.

    Image i says of its conformation z what its posterior says beyond the prior N(0, I): a
    Gaussian likelihood of precision S_i⁻¹ − 1. The density that makes all images most probable
    is found by expectation–maximisation, smoothed by a Gaussian after every step (EMS,
    Silverman et al. 1990). The width of the smoothing is the one with which half of the images
    predict the other half best.

    Args:
        latents: Posterior means, in at most four dimensions.
        covariances: Posterior covariances; None takes latents for exact.
        num_bootstraps: Bootstrap samples.
        seed: Of the choice of images and the samples.
        numbers: Number of the different particle in every row, whose copies are in one half and
            are drawn together; None where no particle is listed more than once.

    Raises:
        ConfigError: There are more than four dimensions, or too few particles.
    """
    require_density(latents, numbers)
    dimensions = latents.shape[1]
    rng = np.random.default_rng(seed)
    axes = _axes(latents)
    chosen = chosen_at_random(rng, numbers, len(latents), MOST_IMAGES[dimensions - 1])
    count, own = len(chosen), None if numbers is None else numbers[chosen]
    part = None if covariances is None else covariances[chosen]
    likelihoods = _likelihoods(*measured_latents(latents[chosen], part), axes)
    shape = tuple(len(axis) for axis in axes)
    steps = np.array([axis[1] - axis[0] for axis in axes])
    widths = [width * latents.std(0) / steps for width in SMOOTHINGS]
    best = int(np.argmax([_held_out(likelihoods, shape, width, own) for width in widths]))

    def fitted(weights: Float[np.ndarray, " images"]) -> Float[np.ndarray, "*grid"]:
        return _deconvolved(likelihoods, shape, widths[best], weights) / np.prod(steps)

    even = np.full(count, 1 / count, np.float32)
    samples = bootstrap_weights(rng, own, count, num_bootstraps)
    return ConformationalDensity(
        axes=axes,
        values=fitted(even),
        samples=np.stack([fitted(weights.astype(np.float32)) for weights in samples]),
        smoothing=SMOOTHINGS[best],
    )


def redrawn(
    density: ConformationalDensity,
    values: Float[np.ndarray, "*grid"],
    latents: Float[np.ndarray, "particles dim"],
    blurs: Float[np.ndarray, "images dim dim"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "*grid"]:
    """A density as it would be estimated if the true one were another.

    Images are drawn from it, each with the uncertainty of a real one.

    Args:
        density: Grid and smoothing of the estimate.
        values: Density from which conformations are drawn.
        latents: Latents of all particles, whose spread is the unit of the smoothing.
        blurs: Covariances of what images say of their latents; as many are drawn, but no more
            than half of those that a density is estimated from.
        rng: Source of random numbers.
    """
    dimensions = len(density.axes)
    count = min(len(blurs), MOST_IMAGES[dimensions - 1] // 2)
    own = blurs[rng.choice(len(blurs), count, replace=False)]
    flat = values.ravel() / values.sum()
    places = np.unravel_index(rng.choice(values.size, count, p=flat), values.shape)
    steps = np.array([axis[1] - axis[0] for axis in density.axes])
    columns = [axis[at] for axis, at in zip(density.axes, places, strict=True)]
    true = np.stack(columns, axis=1) + steps * (rng.random((count, dimensions)) - 0.5)
    noise = np.linalg.cholesky(own) @ rng.normal(size=(count, dimensions, 1))
    likelihoods = _likelihoods(true + noise[..., 0], own, density.axes)
    width = density.smoothing * latents.std(0) / steps
    even = np.full(count, 1 / count, np.float32)
    return _deconvolved(likelihoods, values.shape, width, even) / np.prod(steps)


def require_density(
    latents: Float[np.ndarray, "particles dim"], numbers: Numbers = None
) -> None:
    """Refuse latents of which no density can be estimated.

    Raises:
        ConfigError: There are more than four dimensions, fewer than 50 particles, or all
            particles have one value.
    """
    count, dimensions = latents.shape
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        msg = f"a density needs 1 to {MOST_DIMENSIONS} dimensions, got {dimensions}"
        raise ConfigError(msg)
    different = number_of_different(numbers, count)
    if different < LEAST_PARTICLES:
        msg = (
            f"a density of conformations needs at least {LEAST_PARTICLES} particles, got "
            f"{different}; use a run of more of them"
        )
        raise ConfigError(msg)
    same = np.flatnonzero(np.ptp(latents, axis=0) == 0)
    if len(same):
        msg = (
            f"all {count} particles have the same latent along dimension {same[0] + 1}, so "
            "there is no density along it; use a run whose latents differ"
        )
        raise ConfigError(msg)


def write_density(path: Path, density: ConformationalDensity) -> None:
    """Write a density as arrays ``axis0`` … for its axes, ``values`` and ``samples``."""
    axes = {f"axis{number}": axis for number, axis in enumerate(density.axes)}
    arrays = axes | {"values": density.values, "samples": density.samples}
    with atomic_path(path) as partial, partial.open("wb") as file:
        narrow = {name: array.astype(np.float32) for name, array in arrays.items()}
        np.savez_compressed(file, **narrow)  # type: ignore[arg-type]


def density_path(
    density: ConformationalDensity,
    start: Float[np.ndarray, " dim"],
    end: Float[np.ndarray, " dim"],
) -> Float[np.ndarray, "points dim"]:
    """The path between two places along which ∫ ds / density is least.

    Args:
        density: The density.
        start: Where it begins; the nearest grid point is taken.
        end: Where it ends.

    Returns:
        Grid points along the path.
    """
    shape = density.values.shape
    numbers = np.arange(density.values.size).reshape(shape)
    cost = 1 / np.maximum(density.values, 1e-6 * density.values.max())
    rows, columns, lengths = [], [], []
    for step in itertools.product((-1, 0, 1), repeat=len(shape)):
        if step <= (0,) * len(shape):
            continue
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, shape, strict=True))
        there = tuple(
            slice(max(0, s), n - max(0, -s)) for s, n in zip(step, shape, strict=True)
        )
        spacing = [a[1] - a[0] for a in density.axes]
        length = np.linalg.norm(np.multiply(step, spacing))
        rows.append(numbers[here].ravel())
        columns.append(numbers[there].ravel())
        lengths.append((length * (cost[here] + cost[there]) / 2).ravel())
    graph = csr_matrix(
        (np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns))),
        (numbers.size, numbers.size),
    )
    ends = [int(numbers[density.nearest(point)]) for point in (start, end)]
    _, before = dijkstra(graph, directed=False, indices=ends[0], return_predecessors=True)
    return _grid_positions(density, _walked_back(before, ends))


def lifted(
    path: Float[np.ndarray, "points dim"],
    latents: Float[np.ndarray, "particles z"],
    columns: Float[np.ndarray, "particles dim"],
    width: float,
) -> Float[np.ndarray, "points z"]:
    """Points of the whole latent space over a path in some of its dimensions.

    Args:
        path: The path.
        latents: Latents of the particles.
        columns: The same particles in the dimensions of the path.
        width: Standard deviation of the Gaussian under which particles are averaged, in those
            of ``columns``.
    """
    spread = columns.std(0)
    places = []
    for point in path:
        squares = np.square((columns - point) / spread).sum(1)
        weights = np.exp(-(squares - squares.min()) / (2 * width**2))
        places.append(weights @ latents / weights.sum())
    return np.array(places, dtype=np.float32)


def _walked_back(before: Int[np.ndarray, " points"], ends: Sequence[int]) -> list[int]:
    path = [ends[1]]
    while path[-1] != ends[0]:
        path.append(int(before[path[-1]]))
    return path[::-1]


def _grid_positions(
    density: ConformationalDensity, numbers: Sequence[int]
) -> Float[np.ndarray, "points dim"]:
    places = np.unravel_index(numbers, density.values.shape)
    columns = [axis[place] for axis, place in zip(density.axes, places, strict=True)]
    return np.stack(columns, axis=1)


def _axes(
    latents: Float[np.ndarray, "particles dim"],
) -> tuple[Float[np.ndarray, " points"], ...]:
    count = GRID_POINTS[latents.shape[1] - 1]
    low, high = np.quantile(latents, (0.001, 0.999), axis=0)
    margin = MARGIN * (high - low)
    ends = zip(low - margin, high + margin, strict=True)
    return tuple(np.linspace(first, last, count) for first, last in ends)


def measured_latents(
    latents: Float[np.ndarray, "images dim"],
    covariances: Float[np.ndarray, "images dim dim"] | None,
) -> tuple[Float[np.ndarray, "images dim"], Float[np.ndarray, "images dim dim"]]:
    """Centre and covariance of what every image says of its latent beyond the prior N(0, I).

    Args:
        latents: Posterior means.
        covariances: Posterior covariances; None takes latents for exact.

    Returns:
        Centres and covariances of the likelihoods, which are at least 5 % of the latents'
        spread wide.
    """
    dimensions = latents.shape[1]
    narrowest = np.diag((LEAST_WIDTH * latents.std(0)) ** 2)
    if covariances is None:
        return latents, np.broadcast_to(narrowest, (len(latents), *narrowest.shape))
    posterior = np.linalg.inv(covariances.astype(np.float64))
    values, directions = np.linalg.eigh(posterior - np.eye(dimensions))
    widths = 1 / np.maximum(values, LEAST_INFORMATION)
    blurs = np.einsum("nij,nj,nkj->nik", directions, widths, directions) + narrowest
    pull = np.einsum("nij,nj->ni", posterior, latents)
    centres = np.einsum("nij,nj,nkj,nk->ni", directions, widths, directions, pull)
    return centres, blurs


def _likelihoods(
    centres: Float[np.ndarray, "images dim"],
    blurs: Float[np.ndarray, "images dim dim"],
    axes: Sequence[Float[np.ndarray, " points"]],
) -> Float[np.ndarray, "images points"]:
    """Likelihood of every image at every grid point, scaled to at most 1."""
    count, dimensions = centres.shape
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(dimensions, -1)
    factors = np.linalg.cholesky(np.linalg.inv(blurs)).transpose(0, 2, 1)
    likelihoods = np.empty((count, points.shape[1]), np.float32)
    together = max(1, VALUES_AT_A_TIME // points.size)
    for first in range(0, count, together):
        part = slice(first, first + together)
        away = factors[part] @ (points - centres[part, :, None])
        squares = np.square(away, out=away).sum(1)
        squares -= squares.min(1, keepdims=True)
        np.exp(squares.astype(np.float32) / -2, out=likelihoods[part])
    return likelihoods


def _deconvolved(
    likelihoods: Float[np.ndarray, "images points"],
    shape: tuple[int, ...],
    width: Float[np.ndarray, " dim"],
    weights: Float[np.ndarray, " images"],
) -> Float[np.ndarray, "*grid"]:
    """EM for the mixing density, smoothed after every step; sums to 1."""
    density = np.full(likelihoods.shape[1], 1 / likelihoods.shape[1], np.float32)
    filters = [
        gaussian_filter1d(np.eye(points, dtype=np.float32), along, axis=0, mode="constant")
        for points, along in zip(shape, width, strict=True)
    ]
    for _ in range(ITERATIONS):
        predicted = np.maximum(likelihoods @ density, 1e-30)
        density = density * ((weights / predicted) @ likelihoods)
        # Every product smooths the first axis and makes it the last.
        for matrix in filters:
            density = density.reshape(len(matrix), -1).T @ matrix.T
        density = (density / density.sum()).ravel()
    return density.reshape(shape).astype(np.float64)


def _held_out(
    likelihoods: Float[np.ndarray, "images points"],
    shape: tuple[int, ...],
    width: Float[np.ndarray, " dim"],
    numbers: Numbers,
) -> float:
    """Mean log-likelihood of either half of the images under the density of the other."""
    total = 0.0
    places = np.arange(len(likelihoods))
    halves = halves_of(places, places if numbers is None else in_order_of_appearance(numbers))
    for first, second in (halves, halves[::-1]):
        part = likelihoods[first]
        even = np.full(len(part), 1 / len(part), np.float32)
        density = _deconvolved(part, shape, width, even)
        predicted = likelihoods[second] @ density.ravel().astype(np.float32)
        total += float(np.log(np.maximum(predicted, 1e-30)).mean())
    return total
