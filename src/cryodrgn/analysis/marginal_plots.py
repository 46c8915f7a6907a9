"""Latents on two axes, or along the particles, with histograms or densities beside them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from cryodrgn.analysis.latent_plots import AxisNames, label_axes, number_points
from cryodrgn.analysis.plots import bin_edges, new_figure

# Points of a density's curve and, along either axis, of its contours.
CURVE, GRID = 200, 60
# A kernel estimate costs particles times points of the grid.
ESTIMATED_FROM = 5000


@dataclass(frozen=True, kw_only=True, slots=True)
class Dots:
    """Drawing of particles as dots.

    Attributes:
        size: Diameter of a dot in points.
        opacity: From 0 to 1; None takes less of it the more particles there are.
        by_row: Colour of a particle by its row in the file.
        as_density: Draw a kernel estimate of the density instead.
        limits: Of the vertical axis; None leaves out the few particles that are far away.
    """

    size: float = 2.0
    opacity: float | None = None
    by_row: bool = False
    as_density: bool = False
    limits: tuple[float, float] | None = None

    def opacity_of(self, count: int, whole: int, low: float) -> float:
        """Opacity of each of ``count`` dots, at most 0.7, at least ``low``."""
        if self.opacity is not None:
            return self.opacity
        return float(np.clip(whole / count, low, 0.7))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Marked:
    """Points of the plane that are marked.

    Attributes:
        places: The points.
        are_numbered: Write the number of each beside it.
    """

    places: Float[np.ndarray, "points 2"]
    are_numbered: bool = False


PLAIN = Dots()
NOTHING_MARKED = Marked(places=np.zeros((0, 2), np.float32))


def plot_marginals(
    places: Float[np.ndarray, "particles 2"],
    names: AxisNames,
    dots: Dots = PLAIN,
    marked: Marked = NOTHING_MARKED,
) -> Figure:
    """A dot for every particle, and the histograms along both axes."""
    figure = new_figure(6, 6)
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
    axes = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=axes)
    beside = figure.add_subplot(grid[1, 1], sharey=axes)
    if dots.as_density:
        _contours(axes, places)
    else:
        _scatter(axes, places, dots, dots.opacity_of(len(places), 2000, 0.05))
    label_axes(axes, places, names)
    _mark(axes, marked)
    if dots.limits is not None:
        axes.set_ylim(*dots.limits)
    _distribution(above, places[:, 0], dots, "vertical")
    _distribution(beside, places[:, 1], dots, "horizontal")
    above.tick_params(labelbottom=False)
    beside.tick_params(labelleft=False)
    counted = "density" if dots.as_density else "particles"
    above.set_ylabel(counted)
    beside.set_xlabel(counted)
    return figure


def plot_along_particles(
    values: Float[np.ndarray, " particles"],
    name: str,
    dots: Dots = PLAIN,
    marked: Marked = NOTHING_MARKED,
) -> Figure:
    """A latent of one dimension along the particles of the file, and its histogram."""
    figure = new_figure(8, 4)
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    places = np.stack([np.arange(len(values), dtype=np.float32), values], axis=1)
    _scatter(axes, places, dots, dots.opacity_of(len(values), 3000, 0.03))
    _mark(axes, marked)
    axes.set(xlabel="particle", ylabel=name, xlim=(0, len(values)))
    if dots.limits is not None:
        axes.set_ylim(*dots.limits)
    _distribution(beside, values, dots, "horizontal")
    beside.set_xlabel("density" if dots.as_density else "particles")
    return figure


def _scatter(
    axes: Axes, places: Float[np.ndarray, "particles 2"], dots: Dots, opacity: float
) -> None:
    colour = np.arange(len(places)) if dots.by_row else None
    drawn = axes.scatter(
        *places.T, s=dots.size**2, c=colour, alpha=opacity, linewidths=0, rasterized=True
    )
    if dots.by_row and axes.figure is not None:
        bar = axes.figure.colorbar(drawn, ax=axes, label="row of the particle")
        if bar.solids is not None:
            bar.solids.set(alpha=1)


def _mark(axes: Axes, marked: Marked) -> None:
    if len(marked.places) == 0:
        return
    axes.scatter(*marked.places.T, marker="*", s=70, c="tab:red", edgecolors="white", zorder=3)
    if marked.are_numbered:
        number_points(axes, marked.places)


def _distribution(
    axes: Axes, values: np.ndarray, dots: Dots, orientation: Literal["vertical", "horizontal"]
) -> None:
    """A histogram of values, or the curve of their density."""
    edges = bin_edges(values, 80)
    if not dots.as_density:
        # One outline: every bar by itself takes a millisecond.
        axes.hist(
            values,
            bins=edges.tolist(),
            color="tab:gray",
            histtype="stepfilled",
            orientation=orientation,
        )
        return
    points = np.linspace(edges[0], edges[-1], CURVE)
    heights = kernel_density(values[None], points[None])
    pair = (points, heights) if orientation == "vertical" else (heights, points)
    axes.plot(*pair, color="tab:gray")


def _contours(axes: Axes, places: Float[np.ndarray, "particles 2"]) -> None:
    low, high = np.percentile(places, [0.05, 99.95], axis=0)
    margin = 0.08 * (high - low) + 1e-6
    x, y = (np.linspace(a - m, b + m, GRID) for a, b, m in zip(low, high, margin, strict=True))
    grid = np.stack([one.ravel() for one in np.meshgrid(x, y)])
    axes.contourf(
        x, y, kernel_density(places.T, grid).reshape(GRID, GRID), levels=10, cmap="Greys"
    )


def kernel_density(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Gaussian kernel estimate of the density (Scott's rule), from a part of many values.

    Args:
        values: Coordinates of the values, one row each.
        points: Those of the points where the density is wanted.
    """
    values = values[:, :: -(-values.shape[1] // ESTIMATED_FROM)].astype(float)
    # Values that do not vary in some direction have no density; a hair of noise gives one.
    spread = 1e-3 * max(float(np.ptp(values)), 1e-6)
    rng = np.random.default_rng(0)
    return gaussian_kde(values + spread * rng.normal(size=values.shape))(points)
