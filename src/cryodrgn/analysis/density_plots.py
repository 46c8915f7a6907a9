"""Pictures of a density of conformations."""

from itertools import combinations

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from cryodrgn.analysis.density import ConformationalDensity
from cryodrgn.analysis.plots import new_figure

Path = Float[np.ndarray, "points dim"]


def plot_density(density: ConformationalDensity, path: Path | None = None) -> Figure:
    """The density of every component with its band, and of every pair of components.

    Args:
        density: The density.
        path: A path to be drawn on the pairs.
    """
    count = len(density.axes)
    pairs = list(combinations(range(count), 2))
    columns = max(count, len(pairs))
    rows = 1 + bool(pairs)
    figure = new_figure(3.4 * columns + 0.6, 3.1 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_visible(False)
    for number in range(count):
        axes = grid[0][number]
        axes.set_visible(True)
        position, band = density.axes[number], density.band(number)
        axes.fill_between(position, *band, alpha=0.3, label="10 to 90 %")
        axes.plot(position, density.marginal(number), label="density")
        axes.set(xlabel=f"component {number + 1}", ylim=(0, None))
    grid[0][0].set_ylabel("density")
    grid[0][0].legend(fontsize=8)
    for axes, (first, second) in zip(grid[-1], pairs, strict=False):
        axes.set_visible(True)
        image = density.marginal(first, second)
        x, y = density.axes[first], density.axes[second]
        drawn = axes.pcolormesh(x, y, image.T, cmap="magma", shading="nearest")
        figure.colorbar(drawn, ax=axes)
        if path is not None:
            axes.plot(path[:, first], path[:, second], color="cyan", linewidth=1.5)
            axes.plot(path[[0, -1], first], path[[0, -1], second], "o", color="cyan")
        axes.set(xlabel=f"component {first + 1}", ylabel=f"component {second + 1}")
    return figure
