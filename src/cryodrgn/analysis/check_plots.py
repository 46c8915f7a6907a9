"""Figures about particle files: where they look from, how they fit, what they contain."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cryodrgn.analysis.plots import Figure, bin_edges, new_figure


def plot_comparisons(
    names: Sequence[str],
    gains: Sequence[float],
    stated: float,
    control: float,
) -> Figure:
    """Gain in prediction of every convention over the stated one, as bars.

    Args:
        names: The conventions.
        gains: Mean gain of an image under each, in nats.
        stated: The same under the convention of the file.
        control: The same with shuffled rows.
    """
    figure = new_figure(8.5, 0.24 * len(names) + 1.5)
    axes = figure.subplots()
    rows = np.arange(len(names))
    colours = ["#c53030" if gain > stated else "#90a4b4" for gain in gains]
    axes.barh(rows, gains, color=colours, height=0.7)
    axes.axvline(stated, color="#2b6cb0", label="as the file stands")
    axes.axvline(control, color="#718096", linestyle="--", label="shuffled rows")
    axes.set_yticks(rows, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("gain of likelihood per image (nats)")
    axes.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return figure


def plot_defocus(
    defocus_um: Float[np.ndarray, " particles"],
    astigmatism_um: Float[np.ndarray, " particles"],
) -> Figure:
    """Histograms of defocus and astigmatism, in µm."""
    figure = new_figure(8.0, 2.8)
    for axes, values, label in zip(
        figure.subplots(1, 2),
        (defocus_um, astigmatism_um),
        ("defocus (µm underfocus)", "astigmatism (µm)"),
        strict=True,
    ):
        axes.hist(values, bins=bin_edges(values, 40).tolist(), color="#4a7ba6")
        axes.set(xlabel=label, ylabel="particles")
    return figure


def plot_views(
    averages: Float[np.ndarray, "views box box"],
    projections: Float[np.ndarray, "views box box"],
    numbers: Sequence[int],
) -> Figure:
    """Averages of images in some directions of view, above projections of the map there."""
    figure = new_figure(1.45 * len(averages) + 0.5, 3.3)
    grid = figure.subplots(2, len(averages), squeeze=False)
    for column, number in enumerate(numbers):
        for axes, image in zip(
            grid[:, column], (averages[column], projections[column]), strict=True
        ):
            axes.imshow(image, cmap="gray", origin="lower")
            axes.set(xticks=[], yticks=[])
        grid[0, column].set_title(f"{number} images", fontsize=9)
    grid[0, 0].set_ylabel("average")
    grid[1, 0].set_ylabel("projection")
    return figure
