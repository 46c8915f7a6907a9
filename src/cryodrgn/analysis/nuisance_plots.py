"""Figures of the nuisance report: dependence of a latent on poses, contrast, optics."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from cryodrgn.analysis.plots import Figure, new_figure


def plot_explained(
    names: Sequence[str], explained: Float[np.ndarray, "names axes"], labels: Sequence[str]
) -> Figure:
    """Share of variance of every latent axis that every nuisance explains.

    Args:
        names: The nuisances.
        explained: R² by nuisance and axis.
        labels: The axes.
    """
    figure = new_figure(0.8 * len(labels) + 3.2, 0.36 * len(names) + 1.2)
    axes = figure.subplots()
    shown = np.clip(explained, 0, 1)
    drawn = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(np.arange(len(labels)), labels)
    axes.set_yticks(np.arange(len(names)), names)
    for row, column in np.ndindex(shown.shape):
        value = shown[row, column]
        colour = "white" if value > 0.5 else "#333333"
        text = f"{value:.2f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(drawn, ax=axes, label="R² on other particles")
    return figure


def plot_coloured(
    coordinates: Float[np.ndarray, "particles 2"],
    colours: Mapping[str, Float[np.ndarray, " particles"]],
    labels: tuple[str, str],
) -> Figure:
    """Two latent axes as scatter plots, each coloured by one nuisance variable.

    Args:
        coordinates: Coordinates of the particles.
        colours: Nuisances by name.
        labels: Names of the two axes.
    """
    columns = 3
    rows = -(-len(colours) // columns)
    figure = new_figure(3.5 * columns, 2.9 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid[len(colours) :]:
        axes.set_axis_off()
    low, high = np.percentile(coordinates, (0.5, 99.5), axis=0)
    for axes, (name, values) in zip(grid, colours.items(), strict=False):
        limits = np.percentile(values, (1, 99))
        drawn = axes.scatter(
            *coordinates.T, c=values, s=3, cmap="viridis", vmin=limits[0], vmax=limits[1]
        )
        axes.set(
            xlabel=labels[0],
            ylabel=labels[1],
            xlim=(low[0], high[0] + 1e-9),
            ylim=(low[1], high[1] + 1e-9),
        )
        axes.set_title(name, fontsize=9)
        figure.colorbar(drawn, ax=axes)
    return figure


def plot_shares(
    labels: Sequence[str],
    rigid: Sequence[float],
    contrast: Sequence[float],
    agreement: Sequence[float],
) -> Figure:
    """Rigid motion, contrast, and agreement of half sets along every latent axis, as bars."""
    figure = new_figure(0.9 * len(labels) + 3.0, 2.9)
    axes = figure.subplots()
    places = np.arange(len(labels))
    for offset, values, name, colour in (
        (-0.27, rigid, "rigid motion", "#c05621"),
        (0.0, contrast, "contrast", "#718096"),
        (0.27, agreement, "agreement of halves", "#2b6cb0"),
    ):
        axes.bar(places + offset, values, width=0.25, label=name, color=colour)
    axes.axhline(0.5, color="gray", linewidth=0.7, linestyle="--")
    axes.set_xticks(places, labels)
    axes.set(ylabel="share of the change", ylim=(min(0.0, *agreement) - 0.02, 1.05))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
