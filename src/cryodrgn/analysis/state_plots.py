"""A figure of states reconstructed from images, with their FSC and effective numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from cryodrgn.analysis.plots import new_figure
from cryodrgn.fourier.shells import ShellCurve

MOST_SHOWN = 8
# In inches: of the picture of one state, and of the narrowest figure that holds its note.
STATE_WIDTH, LEAST_WIDTH = 2.1, 5.5
# Characters of a note on an inch of the figure.
CHARACTERS = 11


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StatePanel:
    """One state of the figure.

    Attributes:
        title: Its name.
        section: Central section of the volume.
        projection: Projection of the volume.
        fsc: Correlation of its half maps.
        words: What else is said of it.
        is_supported: Whether there are particles near it.
    """

    title: str
    section: Float[np.ndarray, "box box"]
    projection: Float[np.ndarray, "box box"]
    fsc: ShellCurve
    words: str
    is_supported: bool


def plot_states(panels: Sequence[StatePanel], pixel_size: float, note: str) -> Figure:
    """States side by side: section, projection, half-map FSC.

    Args:
        panels: The states; of more than eight, eight evenly chosen ones are shown.
        pixel_size: Å/px.
        note: A sentence that a reader must not miss.
    """
    few = np.linspace(0, len(panels) - 1, min(len(panels), MOST_SHOWN)).round().astype(int)
    shown = [panels[number] for number in few]
    width = max(STATE_WIDTH * len(shown) + 1.2, LEAST_WIDTH)
    lines = wrap(note, int(CHARACTERS * width))
    figure = new_figure(width, 6.6 + 0.2 * len(lines))
    grid = figure.subplots(3, len(shown), squeeze=False, height_ratios=(1, 1, 0.9))
    for row, name in ((0, "section"), (1, "projection")):
        images = [getattr(panel, name) for panel in shown]
        low, high = float(np.min(images)), float(np.max(images))
        for axes, image in zip(grid[row], images, strict=True):
            axes.imshow(image, cmap="gray", origin="lower", vmin=low, vmax=high)
            axes.set(xticks=[], yticks=[])
        grid[row][0].set_ylabel(name)
    for column, panel in enumerate(shown):
        grid[0][column].set_title(f"{panel.title}\n{panel.words}", fontsize=9)
        axes = grid[2][column]
        colour = "tab:blue" if panel.is_supported else "tab:red"
        axes.plot(panel.fsc.frequencies / pixel_size, panel.fsc.values, color=colour)
        axes.axhline(0.143, color="gray", linewidth=0.7, linestyle="--")
        ticks = np.array([0.2, 0.4]) / pixel_size
        axes.set_xticks(ticks, [f"{1 / tick:.3g}" for tick in ticks])
        axes.set(ylim=(-0.1, 1.05), xlim=(0, 0.5 / pixel_size), xlabel="resolution (Å)")
        if column:
            axes.set_yticklabels([])
    grid[2][0].set_ylabel("half-map FSC\nwithin the mask")
    figure.suptitle("\n".join(lines), fontsize=10)
    return figure
