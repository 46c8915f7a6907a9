"""Changes of latents from epoch to epoch: numbers and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from cryodrgn.analysis.latent_plots import colours
from cryodrgn.analysis.plots import new_figure


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentChange:
    """Change of the latents from an epoch to a later one, as medians over particles.

    Attributes:
        first: The earlier epoch.
        second: The later epoch.
        magnitude: Length of the change of a latent, in units of the root mean square distance
            of the later latents from their mean.
        dot_product: Inner product of both latents about their means, in units of the square of
            that distance.
        cosine_distance: 1 minus the cosine of the angle between both, about their means.
    """

    first: int
    second: int
    magnitude: float
    dot_product: float
    cosine_distance: float


def latent_change(
    first: int,
    before: Float[np.ndarray, "particles z"],
    second: int,
    after: Float[np.ndarray, "particles z"],
) -> LatentChange:
    """Change between the latents of two epochs, of the same particles."""
    a, b = (one.astype(np.float64) - one.mean(0) for one in (before, after))
    spread = max(float(np.sqrt((b**2).sum(1).mean())), 1e-12)
    dots, lengths = (a * b).sum(1), np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    moved = np.linalg.norm(after.astype(np.float64) - before, axis=1)
    return LatentChange(
        first=first,
        second=second,
        magnitude=float(np.median(moved)) / spread,
        dot_product=float(np.median(dots)) / spread**2,
        cosine_distance=float(np.median(1 - dots / np.maximum(lengths, 1e-12))),
    )


def plot_latent_changes(changes: Sequence[LatentChange]) -> Figure:
    """Magnitude, inner product and cosine distance along the epochs."""
    figure = new_figure(10, 3.2)
    epochs = [change.second for change in changes]
    for axes, (name, label) in zip(
        figure.subplots(1, 3),
        (
            ("magnitude", "median change of a latent / spread"),
            ("dot_product", "median inner product / spread²"),
            ("cosine_distance", "median cosine distance"),
        ),
        strict=True,
    ):
        axes.plot(epochs, [getattr(change, name) for change in changes], "o-", markersize=3)
        axes.set(xlabel="epoch", ylabel=label)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    return figure


def plot_volume_changes(
    epochs: Sequence[int], tables: Mapping[str, Float[np.ndarray, "epochs volumes"]]
) -> Figure:
    """Measures of how volumes of an epoch agree with those of the epoch before.

    Args:
        epochs: The later epoch of each pair.
        tables: Values by the name of the measure, a column for every volume.
    """
    figure = new_figure(5 * len(tables), 3.4)
    axes = np.atleast_1d(figure.subplots(1, len(tables)))
    for one, (label, values) in zip(axes, tables.items(), strict=True):
        for number, shade in enumerate(colours(values.shape[1])):
            one.plot(epochs, values[:, number], "-", color=shade, linewidth=0.8)
        one.plot(epochs, np.median(values, axis=1), "o-", color="black", label="median")
        one.set(xlabel="epoch", ylabel=label)
        one.legend(frameon=False)
    return figure


def plot_maps(maps: Mapping[int, Float[np.ndarray, "particles 2"]]) -> Figure:
    """Density of the particles on a map of the latents of every epoch, side by side."""
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    figure = new_figure(3 * columns, 3 * rows)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for one in axes:
        one.set_axis_off()
    for one, (epoch, places) in zip(axes, maps.items(), strict=False):
        one.hexbin(*places.T, gridsize=40, bins="log", mincnt=1, cmap="viridis")
        one.set_title(f"epoch {epoch}")
    return figure
