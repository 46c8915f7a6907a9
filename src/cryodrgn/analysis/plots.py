"""Figures from arrays. Functions return a Figure; only :func:`save_figure` touches files."""

from pathlib import Path

import numpy as np
import torch

from cryodrgn.errors import MissingDependencyError
from cryodrgn.fourier.shells import ShellCurve
from cryodrgn.imaging.ctf import CtfParameters, contrast_transfer
from cryodrgn.io.atomic import atomic_path
from cryodrgn.particles.optics import CtfTable

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    message = "pictures need matplotlib; install it with: pip install 'cryodrgn[analysis]'"
    raise MissingDependencyError(message) from error

THRESHOLDS = (0.5, 0.143)


def new_figure(width: float = 6.0, height: float = 4.0) -> Figure:
    """An empty figure, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})


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
