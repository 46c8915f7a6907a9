"""Figures of the held-out evaluation: error, map change, exchange of half images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cryodrgn.analysis.plots import new_figure

GAIN = "own state against others' states"


def plot_convergence(
    explained: Float[np.ndarray, " epochs"],
    map_change: Float[np.ndarray, " epochs"],
    gains: Float[np.ndarray, "epochs 2"] | None,
    shells: Float[np.ndarray, "epochs shells"],
    converged: Sequence[bool],
) -> Figure:
    """Held-out error, explained power and change of the volumes, epoch by epoch.

    Args:
        explained: Share of the images' power that the model explains.
        map_change: Change of the state maps since the epoch before; not a number for the first.
        gains: What an image's own state explains better than others do, and its standard error;
            None without latents.
        shells: Squared error per value in every shell.
        converged: Whether training had converged after each epoch.
    """
    figure = new_figure(11, 3.6)
    left, middle, right = figure.subplots(1, 3)
    epochs = np.arange(1, len(explained) + 1)
    left.plot(
        epochs,
        100 * explained,
        marker="o",
        markersize=3,
    )
    left.set(xlabel="epoch", title="held-out images, and maps")
    left.set_ylabel("power explained (%)", color="tab:blue")
    change = left.twinx()
    change.plot(epochs, 100 * map_change, color="tab:orange", marker="s", markersize=3)
    change.set_ylabel("change of the maps (%)", color="tab:orange")
    change.set_ylim(bottom=0)
    if gains is None:
        middle.text(0.5, 0.5, "no latent", ha="center", transform=middle.transAxes)
    else:
        middle.errorbar(epochs, gains[:, 0], gains[:, 1], marker="o", markersize=3, capsize=2)
        middle.axhline(0, color="gray", linewidth=0.7)
    middle.set(xlabel="epoch", ylabel="gain, in units of the noise", title=GAIN)
    for axes in (left, middle):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if any(converged):
            axes.axvline(
                epochs[list(converged).index(True)],
                color="tab:green",
                linestyle="--",
                label="converged",
            )
    if any(converged):
        middle.legend(fontsize=10)
    _draw_errors(right, shells)
    for axes in (left, middle, right, change):
        axes.xaxis.label.set_size(11)
        axes.yaxis.label.set_size(11)
        axes.title.set_size(11)
    return figure


def _draw_errors(axes: Axes, shells: Float[np.ndarray, "epochs shells"]) -> None:
    """Draw the error in every shell after up to five epochs, the last darkest."""
    shown = np.unique(np.linspace(0, len(shells) - 1, min(5, len(shells))).round().astype(int))
    for epoch in shown:
        shade = str(0.75 * (1 - (epoch + 1) / len(shells)))
        numbers = np.arange(1, shells.shape[1])
        axes.plot(numbers, shells[epoch, 1:], color=shade, label=f"epoch {epoch + 1}")
    axes.set(
        xlabel="shell (cycles per box)",
        ylabel="squared error per value",
        title="error of held-out images",
    )
    axes.legend(fontsize=10)
