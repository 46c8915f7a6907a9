"""Figures of images and volumes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cryodrgn.analysis.plots import Figure, new_figure


def plot_images(
    images: Float[np.ndarray, "images box box"],
    labels: Sequence[str] | None = None,
    columns: int = 3,
) -> Figure:
    """Images side by side, each with its own grey scale.

    Args:
        images: The images.
        labels: A title for each.
        columns: Images in a row.
    """
    rows = -(-len(images) // columns)
    figure = new_figure(2.1 * columns, 2.25 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    for number, (axes, image) in enumerate(zip(grid, images, strict=False)):
        axes.imshow(image, cmap="gray", origin="lower")
        axes.set_title(labels[number] if labels else str(number), fontsize=9)
    return figure


def plot_slices(volume: Float[np.ndarray, "z y x"], title: str = "") -> Figure:
    """The three central sections of a volume, and its three projections below them."""
    middle = [side // 2 for side in volume.shape]
    panels = {
        "section along z": volume[middle[0]],
        "section along y": volume[:, middle[1]],
        "section along x": volume[:, :, middle[2]],
        "projection along z": volume.sum(0),
        "projection along y": volume.sum(1),
        "projection along x": volume.sum(2),
    }
    figure = new_figure(6.6, 4.9)
    for axes, (name, image) in zip(
        figure.subplots(2, 3).flatten(), panels.items(), strict=True
    ):
        axes.imshow(image, cmap="gray", origin="lower")
        axes.set_title(name, fontsize=9)
        axes.set(xticks=[], yticks=[])
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
