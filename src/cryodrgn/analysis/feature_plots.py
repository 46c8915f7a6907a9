"""A picture of how many particles have a piece of density."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from cryodrgn.analysis.plots import bin_edges, new_figure

SHOWN_SHARE = 0.005
BINS = 60


def plot_feature(
    amounts: Float[np.ndarray, " particles"],
    means: Float[np.ndarray, " 2"],
    probabilities: Float[np.ndarray, " particles"],
    words: str,
    names: tuple[str, str] = ("absent", "present"),
) -> Figure:
    """Histograms of the amount of density in the particles, and of their probabilities.

    Args:
        amounts: Amount in every particle, in standard deviations.
        means: Mean amount without and with the density.
        probabilities: Probability of every particle to have it.
        words: A sentence above them.
        names: Of the particles without the density, or with less of it, and of those with it.
    """
    figure = new_figure(8.4, 4.1)
    figure.suptitle(words, fontsize=9, wrap=True)
    left, right = figure.subplots(1, 2)
    finite = amounts[np.isfinite(amounts)]
    low, high = np.quantile(finite, [SHOWN_SHARE, 1 - SHOWN_SHARE])
    edges = bin_edges(finite[(finite >= low) & (finite <= high)], BINS)
    present = probabilities >= 0.5
    left.hist(amounts[~present], bins=edges, color="tab:gray", alpha=0.8, label=names[0])
    left.hist(amounts[present], bins=edges, color="tab:blue", alpha=0.8, label=names[1])
    for mean, label in zip(means, ("means of the two groups", None), strict=True):
        left.axvline(float(mean), color="black", linewidth=0.8, linestyle="--", label=label)
    left.set(
        xlabel="density in each image (standard deviations)", ylabel="particles", ylim=(0, None)
    )
    # Above the axes, where it covers no bar.
    left.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    right.hist(probabilities, bins=np.linspace(0, 1, 21), color="tab:blue")
    right.set(xlabel=f"probability of being “{names[1]}”", ylabel="particles", yscale="log")
    right.set(xlim=(0, 1), ylim=(0.8, None))
    return figure
