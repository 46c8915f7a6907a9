"""Figures from arrays. Functions return a Figure; only :func:`save_figure` touches files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.errors import MissingDependencyError
from cryodrgn.fourier.shells import ShellCurve
from cryodrgn.imaging.ctf import CtfParameters, contrast_transfer
from cryodrgn.io.atomic import atomic_path
from cryodrgn.particles.optics import CtfTable

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    message = "pictures need matplotlib; install it with: pip install 'cryodrgn[analysis]'"
    raise MissingDependencyError(message) from error

THRESHOLDS = (0.5, 0.143)


def new_figure(
    width: float = 6.0, height: float = 4.0, *, is_placed_by_hand: bool = False
) -> Figure:
    """An empty figure, in inches. Places of axes are found unless given by hand."""
    figure = Figure(figsize=(width, height))
    if not is_placed_by_hand:
        figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    return figure


def bin_edges(values: np.ndarray, count: int) -> Float[np.ndarray, " edges"]:
    """Edges of equal bins of a histogram; values equal but for rounding have one bin's width.

    Args:
        values: The values, finite.
        count: Number of bins.
    """
    low, high = float(np.min(values)), float(np.max(values))
    least = 1e-4 * max(abs(low), abs(high), 1e-6)
    if high - low < least:
        low, high = low - least, high + least
    return np.linspace(low, high, count + 1)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, or as SVG under a name that ends so."""
    is_svg = path.suffix == ".svg"
    metadata = {"Date": None} if is_svg else {"Software": None}
    with atomic_path(path) as partial:
        figure.savefig(partial, format="svg" if is_svg else "png", dpi=120, metadata=metadata)


def plot_ctf(ctf: CtfTable, box_size: int, pixel_size: float) -> Figure:
    """The CTF of the first particle as an image and as its profile along x and y.

    Args:
        ctf: CTF parameters.
        box_size: Side of the image in pixels.
        pixel_size: Å/px.
    """
    first = {name: torch.tensor(values[:1]) for name, values in ctf.columns().items()}
    axis = (torch.arange(box_size) - box_size // 2) / (box_size * pixel_size)
    ky, kx = torch.meshgrid(axis, axis, indexing="ij")
    frequencies = torch.stack([kx, ky], dim=-1).reshape(1, -1, 2)
    image = contrast_transfer(frequencies, CtfParameters(**first)).reshape(box_size, box_size)

    figure = new_figure(9, 4)
    picture, profile = figure.subplots(1, 2)
    limit = float(axis.abs().max())
    drawn = picture.imshow(
        image.numpy(), cmap="gray", vmin=-1, vmax=1, extent=(-limit, limit, limit, -limit)
    )
    picture.set(title="CTF of the first particle", xlabel="kx (1/Å)", ylabel="ky (1/Å)")
    figure.colorbar(drawn, ax=picture, shrink=0.8)
    half = slice(box_size // 2, None)
    profile.plot(axis[half], image[box_size // 2, half], label="along x")
    profile.plot(axis[half], image[half, box_size // 2], label="along y", linewidth=0.8)
    profile.axhline(0, color="gray", linewidth=0.5)
    profile.set(xlabel="spatial frequency (1/Å)", ylabel="CTF", ylim=(-1.05, 1.05))
    profile.legend()
    return figure


def plot_fsc(curves: dict[str, ShellCurve], pixel_size: float) -> Figure:
    """Fourier shell correlations by resolution.

    Args:
        curves: Curves by label.
        pixel_size: Å/px, to label the axis with resolutions.
    """
    figure = new_figure()
    axes = figure.subplots()
    for label, curve in curves.items():
        axes.plot(curve.frequencies / pixel_size, curve.values, label=label)
    for threshold in THRESHOLDS:
        axes.axhline(threshold, color="gray", linewidth=0.7, linestyle="--")
    ticks = np.linspace(0, 0.5 / pixel_size, 6)
    names = ["∞"] + [f"{1 / tick:.3g}" for tick in ticks[1:]]
    axes.set_xticks(ticks, names)
    axes.set(
        xlabel="resolution (Å)",
        ylabel="Fourier shell correlation",
        xlim=(0, 0.5 / pixel_size),
        ylim=(-0.1, 1.03),
    )
    axes.legend()
    return figure


def plot_learning_curve(losses: Float[np.ndarray, " epochs"]) -> Figure:
    """Average loss of every epoch."""
    return plot_learning_curves({"": losses})


def plot_learning_curves(curves: Mapping[str, Float[np.ndarray, " epochs"]]) -> Figure:
    """Average loss of every epoch, of runs by their names."""
    figure = new_figure(6, 3.2)
    axes = figure.subplots()
    for name, losses in curves.items():
        axes.plot(
            np.arange(1, len(losses) + 1), losses, marker="o", markersize=3, label=name or None
        )
    if any(curves):
        axes.legend(fontsize=8)
    axes.set(xlabel="epoch", ylabel="average loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def plot_latent_against_truth(
    latent: Float[np.ndarray, " particles"],
    truth: Float[np.ndarray, " particles"],
    truth_label: str,
) -> Figure:
    """A latent coordinate against what it should follow, and its histogram by truth.

    Args:
        latent: Latent coordinate of every particle.
        truth: The true coordinate, in a few distinct values.
        truth_label: What it is, with its unit.
    """
    figure = new_figure(10, 4)
    scatter, histogram = figure.subplots(1, 2)
    values = np.unique(truth)
    spread = np.min(np.diff(values)) if len(values) > 1 else 1.0
    jitter = np.random.default_rng(0).uniform(-0.35, 0.35, len(truth)) * spread
    drawn = scatter.scatter(truth + jitter, latent, c=truth, cmap="viridis", s=4, alpha=0.6)
    scatter.set(xlabel=truth_label, ylabel="latent coordinate")
    figure.colorbar(drawn, ax=scatter, label=truth_label)

    groups = np.array_split(values, min(5, len(values)))
    colours = drawn.get_cmap()(np.linspace(0, 1, len(groups)))
    histogram.hist(
        [latent[np.isin(truth, group)] for group in groups],
        bins=40,
        stacked=True,
        color=list(colours),
        label=[f"{group[0]:.0f} to {group[-1]:.0f}" for group in groups],
    )
    histogram.set(xlabel="latent coordinate", ylabel="particles")
    # Beside the bars, which leave no corner free.
    histogram.legend(title=truth_label, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_volumes_beside_truth(
    volumes: Sequence[Float[np.ndarray, "box box box"]],
    truths: Sequence[Float[np.ndarray, "box box box"]],
    labels: Sequence[str],
) -> Figure:
    """Central slices and projections along x of volumes, each under its truth.

    Args:
        volumes: The volumes.
        truths: What each should be.
        labels: Name of each state.
    """
    middle = truths[0].shape[-1] // 2
    rows = {
        "truth,\nslice": [truth[:, :, middle] for truth in truths],
        "decoded,\nslice": [volume[:, :, middle] for volume in volumes],
        "truth,\nprojection": [truth.sum(2) for truth in truths],
        "decoded,\nprojection": [volume.sum(2) for volume in volumes],
    }
    figure = new_figure(1.7 * len(volumes) + 0.8, 1.75 * len(rows))
    grid = figure.subplots(len(rows), len(volumes), squeeze=False)
    for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(image, cmap="gray", origin="lower")
            axes.set(xticks=[], yticks=[])
        axes_row[0].set_ylabel(name)
    for axes, label in zip(grid[0], labels, strict=True):
        axes.set_title(label, fontsize=10)
    return figure
