"""Figures of particles in the colours of classes that somebody gave them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from cryodrgn.analysis.latent_plots import AxisNames, label_axes
from cryodrgn.analysis.marginal_plots import GRID, kernel_density
from cryodrgn.analysis.plots import new_figure

# Share of a class's highest density within whose contours its particles are drawn.
LEVELS = (0.2, 0.5, 0.8)


def class_colours(count: int, palette: str | None = None) -> Float[np.ndarray, "count 4"]:
    """A colour for every class.

    Args:
        count: Number of classes.
        palette: Name of a colour map of matplotlib, or names of colours separated by commas,
            repeated if there are more classes.

    Raises:
        ValueError: There is no such map or colour.
    """
    if palette is None:
        palette = "tab10" if count <= 10 else "turbo"
    if palette in colormaps:
        shades = colormaps[palette]
        if shades.N <= 20:
            return np.array([shades(number % shades.N) for number in range(count)])
        return shades(np.linspace(0.05, 0.95, count))
    names = [name.strip() for name in palette.split(",")]
    return np.array([to_rgba(names[number % len(names)]) for number in range(count)])


def plot_classes(
    places: Float[np.ndarray, "particles 2"],
    labels: Int[np.ndarray, " particles"],
    classes: Sequence[int],
    names: AxisNames,
    shades: Float[np.ndarray, "classes 4"],
    *,
    as_density: bool = False,
) -> Figure:
    """Particles of every class as dots, or contours of its density.

    Args:
        places: The particles.
        labels: Class of each.
        classes: The classes to draw, in the order of the legend.
        names: Of the axes.
        shades: Colour of every class.
        as_density: Draw contours, at shares of the highest density of the class.
    """
    figure = new_figure(6.5, 5)
    axes = figure.subplots()
    for number, shade in zip(classes, shades, strict=True):
        own = places[labels == number]
        label = f"class {number}: {len(own)}"
        if as_density and len(own) > 2:
            x, y, heights = _heights(own)
            levels = [share * float(heights.max()) for share in LEVELS]
            axes.contour(x, y, heights, levels=levels, colors=[tuple(shade)])
            axes.plot([], [], color=tuple(shade), label=label)
        else:
            alpha = float(np.clip(2000 / len(places), 0.05, 0.7))
            axes.scatter(*own.T, s=4, alpha=alpha, linewidths=0, rasterized=True, color=shade)
            axes.plot([], [], "o", color=tuple(shade), label=label)
    label_axes(axes, places, names)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _heights(
    places: Float[np.ndarray, "particles 2"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, high = places.min(0), places.max(0)
    margin = 0.2 * (high - low) + 1e-6
    x, y = (np.linspace(a - m, b + m, GRID) for a, b, m in zip(low, high, margin, strict=True))
    grid = np.stack([one.ravel() for one in np.meshgrid(x, y)])
    return x, y, kernel_density(places.T, grid).reshape(GRID, GRID)
