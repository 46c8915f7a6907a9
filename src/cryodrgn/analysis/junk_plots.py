"""Figure of particles that look like junk: their scores, and images of some of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from cryodrgn.analysis.plots import Figure, new_figure

PARTICLES, JUNK = "#4c78a8", "#e45756"
COLUMNS = 8
KEY = (
    "Images are sorted along a row. row: in the file of particles, from 0; empty: probability "
    "that the image shows nothing of the model; contrast: of the model in the image, 1 of an "
    "ordinary particle;\nmisfit: of the rest with noise, in standard deviations; distance: in "
    "the latent space to the fifth neighbour, in units of the uncertainty. Images are centred, "
    "multiplied by their CTF, and low-pass filtered."
)


def plot_junk(
    scores: Mapping[str, Float[np.ndarray, " particles"]],
    is_junk: Bool[np.ndarray, " particles"],
    images: Mapping[str, Float[np.ndarray, "images box box"]],
    labels: Mapping[str, Sequence[str]],
    sentence: str,
) -> Figure:
    """Distributions of the scores above, images in rows below.

    Args:
        scores: Scores by name: contrast, misfit, and nearest, the distance to neighbours.
        is_junk: Which particles look like junk.
        images: Up to eight images in every row, by the title of the row.
        labels: What stands above each of the images, by the same titles.
        sentence: What was found, for the title.
    """
    figure = new_figure(1.45 * COLUMNS, 3.7 + 1.8 * len(images))
    figure.suptitle(sentence, fontsize=10, wrap=True)
    figure.supxlabel(KEY, fontsize=8)
    # Apart, so that tiles stand as near one another as their titles allow.
    ratios = [3.4, 1.8 * max(len(images), 1)]
    parts: Any = figure.subfigures(2, 1, height_ratios=ratios)
    above, below = parts
    left, axes = above.subplots(1, 2)
    _histogram(left, scores["contrast"], is_junk)
    for rows, colour, name in ((~is_junk, PARTICLES, "particles"), (is_junk, JUNK, "junk")):
        if rows.any():
            places = scores["misfit"][rows], scores["nearest"][rows]
            axes.scatter(*places, s=6, c=colour, label=name, lw=0)
    axes.set(xlabel="misfit (standard deviations)", ylabel="distance to fifth neighbour")
    axes.legend(fontsize=9, markerscale=3)
    if not images:
        return figure
    grid = below.subplots(len(images), COLUMNS, squeeze=False)
    for tiles, (title, shown) in zip(grid, images.items(), strict=True):
        tiles[0].set_ylabel(title, fontsize=9)
        for column, tile in enumerate(tiles):
            tile.set(xticks=[], yticks=[])
            if column >= len(shown):
                tile.set_frame_on(False)
                continue
            tile.imshow(shown[column], cmap="gray", origin="lower")
            tile.set_title(labels[title][column], fontsize=8)
    return figure


def _histogram(
    axes: Axes,
    values: Float[np.ndarray, " particles"],
    is_junk: Bool[np.ndarray, " particles"],
) -> None:
    edges = np.linspace(values.min(), values.max() + 1e-6, 81)
    for rows, colour in ((~is_junk, PARTICLES), (is_junk, JUNK)):
        axes.hist(values[rows], edges, color=colour, log=True, alpha=0.8)
    axes.set(xlabel="contrast", ylabel="particles")
