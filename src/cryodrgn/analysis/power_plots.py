"""Figures of the report on power: probability of detection, resolution of states."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from cryodrgn.analysis.plots import Figure, new_figure

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b7791f", "#718096")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """Forecast probability of detection along an axis.

    Attributes:
        label: Its name in the legend.
        places: Along the axis.
        values: Probabilities.
        low: Lower end of their 90 % interval.
        high: Upper end.
        trials: Place, detected and all trials, of every place that was tried.
    """

    label: str
    places: Float[np.ndarray, " places"]
    values: Float[np.ndarray, " places"]
    low: Float[np.ndarray, " places"]
    high: Float[np.ndarray, " places"]
    trials: Sequence[tuple[float, int, int]] = field(default=())


def plot_detection(
    curves: Sequence[Curve], axis: str, own: float | None = None, own_words: str = "your set"
) -> Figure:
    """Probability of detection: forecasts as curves with bands, trials as points.

    Args:
        curves: The curves.
        axis: Title of the axis.
        own: Place of the user's own set on the axis, marked by a line.
        own_words: Legend of that line.
    """
    figure = new_figure(5.6, 3.9)
    axes = figure.subplots()
    for curve, colour in zip(curves, COLOURS * len(curves), strict=False):
        axes.plot(curve.places, curve.values, color=colour, label=curve.label, linewidth=1.8)
        axes.fill_between(curve.places, curve.low, curve.high, color=colour, alpha=0.18, lw=0)
        for place, found, count in curve.trials:
            # Interval of Wilson (1927), 68 %.
            middle = (found + 0.5) / (count + 1)
            half = np.sqrt(found * (count - found) / count + 0.25) / (count + 1)
            axes.errorbar(
                place, found / count, color=colour, fmt="o", markersize=4 + min(count, 6),
                yerr=[[max(0.0, found / count - middle + half)],
                      [max(0.0, middle + half - found / count)]],
                markerfacecolor="white", elinewidth=1, zorder=3,
            )  # fmt: skip
    if any(curve.trials for curve in curves):
        axes.errorbar(
            [], [], yerr=[], fmt="o", color="#4a5568", markerfacecolor="white", elinewidth=1,
            label="share of trials that detect it,\nand the share's 68 % interval",
        )  # fmt: skip
    if own is not None:
        axes.axvline(own, color="#1a1a1a", linewidth=1, linestyle="--", label=own_words)
        places = [np.interp(np.log(own), np.log(c.places), c.values) for c in curves]
        axes.plot([own] * len(places), places, "D", color="#1a1a1a", markersize=5, zorder=4)
    axes.axhline(0.95, color="#a0aec0", linewidth=0.9, linestyle=":", label="95 %")
    axes.set_xscale("log")
    ticks = _ticks(min(c.places.min() for c in curves), max(c.places.max() for c in curves))
    axes.set_xticks(ticks, [f"{tick:,.12g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel=axis, ylabel="probability of detection", ylim=(-0.03, 1.03))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def plot_resolutions(
    shares: Sequence[float],
    own: Sequence[tuple[float, float, float]],
    uniform: Sequence[float],
) -> Figure:
    """Resolution of a state against its share, for the views of a set and for uniform ones.

    Args:
        shares: Shares of all particles.
        own: Mean, best and worst direction in Å, from the set's views.
        uniform: Mean, from as many uniform views.
    """
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    mean, best, worst = np.array(own).T
    top = (
        np.nanmax(np.where(np.isfinite(worst), worst, np.nan))
        if np.isfinite(worst).any()
        else np.nanmax(mean[np.isfinite(mean)], initial=1.0)
    )
    limited = [np.where(np.isfinite(values), values, 1.5 * top) for values in (best, worst)]
    axes.fill_between(
        shares, *limited, color=COLOURS[0], alpha=0.18, lw=0, label="best to worst direction"
    )
    axes.plot(shares, mean, color=COLOURS[0], label="your views")
    axes.plot(shares, uniform, color=COLOURS[1], linestyle="--", label="as many uniform views")
    axes.set_xscale("log")
    ticks = [share for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if share >= min(shares)]
    axes.set_xticks(ticks, [f"{100 * tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="share of the state (%)", ylabel="resolution at FSC 0.143 (Å)")
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers 1, 2, 5 … within a range."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [f * 10.0**p for p in powers for f in (1, 2, 5) if low <= f * 10.0**p <= high]
