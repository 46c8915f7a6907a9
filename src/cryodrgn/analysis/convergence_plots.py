"""Figures of the held-out evaluation: error, map change, exchange of half images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cryodrgn.analysis.plots import new_figure


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
    figure = new_figure(12, 3.4)
    left, middle, right = figure.subplots(1, 3)
    epochs = np.arange(1, len(explained) + 1)
    left.plot(epochs, 100 * explained, marker="o", markersize=3, label="power explained (%)")
    left.set(xlabel="epoch", ylabel="power of held-out images explained (%)")
    change = left.twinx()
    change.plot(epochs, 100 * map_change, color="tab:orange", linewidth=1)
    change.set_ylabel("change of the state maps (%)", color="tab:orange")
    change.set_ylim(bottom=0)
    if gains is None:
        middle.text(0.5, 0.5, "no latent", ha="center", transform=middle.transAxes)
    else:
        middle.errorbar(epochs, gains[:, 0], gains[:, 1], marker="o", markersize=3, capsize=2)
        middle.axhline(0, color="gray", linewidth=0.7)
    middle.set(xlabel="epoch", ylabel="gain of own over others' states (noise)")
    for axes in (left, middle):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if any(converged):
            axes.axvline(epochs[list(converged).index(True)], color="tab:green", linestyle="--")
    shown = np.unique(np.linspace(0, len(shells) - 1, min(5, len(shells))).round().astype(int))
    for epoch in shown:
        shade = str(0.75 * (1 - (epoch + 1) / len(shells)))
        numbers = np.arange(1, shells.shape[1])
        right.plot(numbers, shells[epoch, 1:], color=shade, label=f"epoch {epoch + 1}")
    right.set(xlabel="shell (cycles per box)", ylabel="squared error per value")
    right.legend(fontsize=8)
    return figure
