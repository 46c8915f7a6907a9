"""Pictures of a sharpened map: its Fourier shell correlations and its Guinier plot."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cryodrgn.analysis.plots import new_figure
from cryodrgn.fourier.shells import ShellCurve
from cryodrgn.reconstruction.guinier import THRESHOLD, GuinierFit, NoFit
from cryodrgn.reconstruction.postprocess_files import SharpeningPictures

LABELS = {
    "unmasked": "unmasked",
    "masked": "masked",
    "randomised": "masked, random phases",
    "corrected": "corrected",
}
# Colour, width and dashes, drawn in this order: curves that agree stay visible one on another.
LINES = {
    "masked": ("#9ecae1", 5.0, "-"),
    "unmasked": ("tab:green", 2.6, "-"),
    "randomised": ("tab:red", 1.2, (0, (2, 1))),
    "corrected": ("black", 1.2, "-"),
}


def plot_postprocessing(shown: SharpeningPictures, title: str = "") -> Figure:
    """FSC curves, the Guinier plot, and central sections before and after.

    Args:
        shown: What there is of the map.
        title: Heading of the figure.
    """
    figure = new_figure(11.5, 3.6)
    curves, guinier, before, after = figure.subplots(1, 4, width_ratios=(1.5, 1.5, 1, 1))
    summary = shown.summary
    pixel_size = summary.pixel_size
    draw_curves(curves, shown.agreement.curves(), pixel_size, summary.resolution)
    draw_guinier(guinier, shown.amplitudes, shown.guinier, summary.b_factor, pixel_size)
    for axes, (name, section) in zip((before, after), shown.sections.items(), strict=True):
        axes.imshow(section, cmap="gray", origin="lower")
        if shown.mask.min() < 0.5 < shown.mask.max():
            axes.contour(shown.mask, [0.5], colors="tab:orange", linewidths=0.7)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def draw_curves(
    axes: Axes, curves: Mapping[str, ShellCurve], pixel_size: float, resolution: float | None
) -> None:
    """Draw FSC curves, and where the corrected one falls below 0.143.

    Args:
        axes: Where to draw.
        curves: By name, as :class:`~cryodrgn.reconstruction.postprocessing.MaskedAgreement`
            has them.
        pixel_size: Å/px.
        resolution: Å; None marks nothing.
    """
    for name, (colour, width, dashes) in LINES.items():
        curve = curves[name]
        axes.plot(
            curve.frequencies / pixel_size,
            curve.values,
            linestyle=dashes,
            color=colour,
            label=LABELS[name],
            linewidth=width,
        )
    axes.axhline(THRESHOLD, color="gray", linewidth=0.7, linestyle="--")
    axes.axhline(0, color="gray", linewidth=0.5)
    if resolution is not None:
        axes.axvline(1 / resolution, color="black", linewidth=0.7, linestyle=":")
    ticks = np.linspace(0, 0.5 / pixel_size, 6)[1:]
    axes.set_xticks(ticks, [f"{1 / tick:.3g}" for tick in ticks])
    axes.set(
        xlabel="resolution (Å)",
        ylabel="Fourier shell correlation",
        xlim=(0, 0.5 / pixel_size),
        ylim=(-0.15, 1.05),
    )
    axes.legend(fontsize=7)


def draw_guinier(
    axes: Axes,
    amplitudes: tuple[ShellCurve, ShellCurve],
    fit: GuinierFit | NoFit,
    b_factor: float | None,
    pixel_size: float,
) -> None:
    """Draw logarithms of amplitudes against 1/d², with the fitted line.

    Args:
        axes: Where to draw.
        amplitudes: As observed, and their part that is signal.
        fit: The line, or why there is none.
        b_factor: The B factor that was applied, Å²; None if none was.
        pixel_size: Å/px.
    """
    observed, signal = amplitudes
    squares = _squares(observed, pixel_size)
    is_signal = signal.values.numpy() > 0
    axes.plot(squares, _logarithms(observed), color="#9ecae1", linewidth=4, label="observed")
    weighted = _logarithms(signal)[is_signal]
    axes.plot(squares[is_signal], weighted, color="black", label="weighted by FSC")
    if b_factor is not None:
        sharpened = weighted - b_factor / 4 * squares[is_signal]
        axes.plot(squares[is_signal], sharpened, color="tab:red", label="sharpened")
    if isinstance(fit, GuinierFit):
        ends = np.square(fit.frequencies)
        line = fit.intercept + fit.b_factor / 4 * ends
        axes.plot(ends, line, "o--", color="tab:orange", markersize=3, label="fit")
    axes.set(xlabel="1/d² (1/Å²)", ylabel="ln amplitude")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(_b_factor_in_words(fit, b_factor), fontsize=9)
    axes.legend(fontsize=7)


def _b_factor_in_words(fit: GuinierFit | NoFit, b_factor: float | None) -> str:
    if isinstance(fit, NoFit) and b_factor is None:
        # The clause before the figures: what is needed stands in the log and in the record.
        return f"not sharpened: {fit.reason.partition(':')[0]}"
    return f"B factor {b_factor:.0f} Å²"


def _squares(curve: ShellCurve, pixel_size: float) -> Float[np.ndarray, " shells"]:
    return np.square(curve.frequencies.numpy() / pixel_size)


def _logarithms(curve: ShellCurve) -> Float[np.ndarray, " shells"]:
    return np.log(np.maximum(curve.values.numpy(), 1e-30))
