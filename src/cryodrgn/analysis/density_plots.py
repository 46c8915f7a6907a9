"""Pictures of a density of conformations."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from cryodrgn.analysis.density import ConformationalDensity
from cryodrgn.analysis.plots import new_figure
from cryodrgn.analysis.stable_states import StableState

Path = Float[np.ndarray, "points dim"]
# Width of a number above an axis, as a share of the axis.
NUMBER_WIDTH = 0.06
OUTLINE = [withStroke(linewidth=2, foreground="black")]


def plot_density(
    density: ConformationalDensity,
    path: Path | None = None,
    states: Sequence[StableState] = (),
) -> Figure:
    """The density of every component with its band, of every pair, and shares of states.

    Args:
        density: The density.
        path: A path to be drawn on the pairs.
        states: Stable states, whose numbers are drawn where they are.
    """
    count = len(density.axes)
    pairs = list(combinations(range(count), 2))
    # A single state holds all particles, which needs no picture.
    columns = max(count, len(pairs)) + (len(states) > 1)
    rows = 1 + bool(pairs)
    figure = new_figure(3.4 * columns + 0.6, 3.1 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_visible(False)
    for number in range(count):
        axes = grid[0][number]
        axes.set_visible(True)
        position, band = density.axes[number], density.band([number])
        axes.fill_between(position, *band, alpha=0.3, label="10 to 90 %")
        axes.plot(position, density.marginal([number]), label="density")
        _mark_places(axes, [state.place[number] for state in states], np.ptp(position))
        axes.set(xlabel=f"component {number + 1}", ylim=(0, None))
    grid[0][0].set_ylabel("density")
    grid[0][0].legend(fontsize=8)
    for axes, (first, second) in zip(grid[-1], pairs, strict=False):
        axes.set_visible(True)
        image = density.marginal([first, second])
        x, y = density.axes[first], density.axes[second]
        drawn = axes.pcolormesh(x, y, image.T, cmap="magma", shading="nearest")
        figure.colorbar(drawn, ax=axes, label="density")
        if path is not None:
            axes.plot(path[:, first], path[:, second], color="cyan", linewidth=1.5)
            axes.plot(path[[0, -1], first], path[[0, -1], second], "o", color="cyan")
        for name, state in enumerate(states):
            place = state.place[first], state.place[second]
            axes.text(
                *place, str(name), color="white", ha="center", va="center", path_effects=OUTLINE
            )
        axes.set(xlabel=f"component {first + 1}", ylabel=f"component {second + 1}")
    if len(states) > 1:
        grid[0][-1].set_visible(True)
        _draw_shares(grid[0][-1], states)
    return figure


def _mark_places(axes: Axes, places: Sequence[float], length: float) -> None:
    """Mark states on an axis of some length by lines, with their numbers above."""
    for name, (place, level) in enumerate(zip(places, _levels(places, length), strict=True)):
        axes.axvline(place, color="gray", linewidth=0.7, linestyle=":")
        axes.annotate(
            str(name),
            (place, 1),
            (0, 2 + 9 * level),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )


def _levels(places: Sequence[float], length: float) -> list[int]:
    """Heights of numbers above an axis so that near ones do not overlap."""
    ends: list[float] = []
    levels = [0] * len(places)
    for number in np.argsort(places):
        place = places[number]
        level = next((k for k, end in enumerate(ends) if place >= end), len(ends))
        ends[level : level + 1] = [place + NUMBER_WIDTH * length]
        levels[number] = level
    return levels


def _draw_shares(axes: Axes, states: Sequence[StableState]) -> None:
    """Shares with their intervals, and the depths of the states in kT."""
    for number, state in enumerate(states):
        low, high = state.interval or (state.share, state.share)
        reach = [[state.share - low], [high - state.share]]
        axes.errorbar(number, state.share, reach, fmt="o", color="tab:blue", capsize=3)
        if state.depth is not None:
            axes.annotate(
                f"{state.depth:.1f} kT",
                (number, high),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    top = 1.15 * max((state.interval or (0, 1))[1] for state in states)
    axes.set(
        xticks=range(len(states)),
        xlim=(-0.6, len(states) - 0.4),
        ylim=(0, min(1.1, top)),
        xlabel="stable state",
        ylabel="share of particles, 90 % interval;\nabove it the depth",
    )
