"""Figures of latent spaces, clusters, paths and viewing directions."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogFormatter, MaxNLocator

from cryodrgn.analysis.plots import bin_edges, new_figure

AxisNames = tuple[str, str]
# Without the ends: cells of a single particle would be white, and points on black unseen.
GREYS = ListedColormap(colormaps["Greys"](np.linspace(0.2, 0.8, 256)))
CLUSTER_COLOURS = "turbo"
# Beyond this many points single ones are no longer drawn in pictures with a density.
DOTS_AT_MOST = 50_000


def colours(count: int) -> Float[np.ndarray, "count 4"]:
    """Colours of clusters or of volumes along a path, from first to last."""
    return colormaps[CLUSTER_COLOURS](np.linspace(0.05, 0.95, count))


def plot_scatter(places: Float[np.ndarray, "particles 2"], names: AxisNames) -> Figure:
    """A dot for every particle."""
    figure = new_figure(5.5, 5)
    axes = figure.subplots()
    _dots(axes, places)
    label_axes(axes, places, names)
    return figure


def plot_hexbin(places: Float[np.ndarray, "particles 2"], names: AxisNames) -> Figure:
    """Density of particles in hexagonal cells of a plane."""
    figure = new_figure(6, 5)
    axes = figure.subplots()
    bins = axes.hexbin(*places.T, gridsize=50, bins="log", mincnt=1, cmap="viridis")
    bar = figure.colorbar(bins, ax=axes, label="particles", format="{x:.0f}")
    # Numbers between the powers of ten, too, where there are few powers.
    bar.minorformatter = LogFormatter(minor_thresholds=(1, 0.5))
    label_axes(axes, places, names)
    return figure


def plot_clusters(
    places: Float[np.ndarray, "particles 2"],
    labels: Int[np.ndarray, " particles"],
    centres: Int[np.ndarray, " clusters"],
    names: AxisNames,
    first: int = 0,
) -> Figure:
    """Particles in the colour of their cluster, and the number of each at its centre.

    Args:
        places: The particles.
        labels: Cluster of every particle.
        centres: The particle at the centre of every cluster.
        names: Of the axes.
        first: Number of the first cluster.
    """
    figure = new_figure(6, 5.5)
    axes = figure.subplots()
    shades = colours(len(centres))
    _dots(axes, places, colour=shades[labels])
    for number, (x, y) in enumerate(places[centres]):
        axes.plot(x, y, "o", color=shades[number], markeredgecolor="black", markersize=6)
    number_points(axes, places[centres], first)
    label_axes(axes, places, names)
    return figure


def plot_centres(
    places: Float[np.ndarray, "particles 2"],
    centres: Int[np.ndarray, " clusters"],
    names: AxisNames,
    first: int = 0,
) -> Figure:
    """Density of the particles, and the number of each cluster at its central particle."""
    return plot_path(places, places[centres], names, connected=False, first=first)


def plot_values(
    places: Float[np.ndarray, "particles 2"],
    values: Float[np.ndarray, " particles"],
    names: AxisNames,
    label: str,
) -> Figure:
    """Particles in the colour of a number that each of them has.

    Args:
        places: The particles.
        values: The number; its highest and lowest two percent have the colours at the ends.
        names: Of the axes.
        label: Of the number.
    """
    figure = new_figure(6, 5)
    axes = figure.subplots()
    low, high = np.percentile(values, [2, 98])
    dots = axes.scatter(
        *places.T, s=4, c=values, vmin=low, vmax=high, linewidths=0, rasterized=True
    )
    figure.colorbar(dots, ax=axes, label=label)
    label_axes(axes, places, names)
    return figure


def plot_path(
    places: Float[np.ndarray, "particles 2"],
    stops: Float[np.ndarray, "stops 2"],
    names: AxisNames,
    *,
    connected: bool = True,
    first: int = 0,
) -> Figure:
    """Points over the density of the particles, with the numbers of their volumes.

    Args:
        places: The particles.
        stops: Points where volumes are, in the order of a path.
        names: Of the axes.
        connected: True draws a line from each to the next.
        first: Number of the first volume.
    """
    figure = new_figure(6, 5)
    axes = figure.subplots()
    axes.hexbin(*places.T, gridsize=50, bins="log", mincnt=1, cmap=GREYS)
    if connected:
        axes.plot(*stops.T, color="black", linewidth=0.8)
    axes.scatter(*stops.T, c=colours(len(stops)), edgecolors="black", s=40, zorder=3)
    number_points(axes, stops, first)
    label_axes(axes, np.concatenate([places, stops]), names)
    return figure


def plot_cluster_sizes(
    sizes: Int[np.ndarray, " clusters"],
    name: str = "cluster (number of its volume)",
    counted: str = "particles",
) -> Figure:
    """Particles, or what else is counted, in every cluster or other group of that name."""
    figure = new_figure(7, 3)
    axes = figure.subplots()
    axes.bar(np.arange(len(sizes)), sizes, color=colours(len(sizes)))
    axes.set(xlabel=name, ylabel=counted)
    axes.set_xticks(np.arange(0, len(sizes), max(1, len(sizes) // 20)))
    return figure


def plot_one_dimension(
    latents: Float[np.ndarray, " particles"], stops: Float[np.ndarray, " stops"]
) -> Figure:
    """A latent of one dimension along the particles, to see whether it drifts.

    Args:
        latents: The latent of every particle, in the order of their file.
        stops: Where volumes were made.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    alpha = float(np.clip(3000 / len(latents), 0.03, 0.6))
    axes.plot(latents, ".", markersize=2, alpha=alpha, rasterized=True)
    for stop in stops:
        axes.axhline(stop, color="black", linewidth=0.4)
    axes.set(xlabel="particle", ylabel="z", xlim=(0, len(latents)))
    return figure


def plot_histogram(
    latents: Float[np.ndarray, " particles"],
    stops: Float[np.ndarray, " stops"],
    first: int = 0,
) -> Figure:
    """Histogram of a latent of one dimension.

    Args:
        latents: The latent of every particle.
        stops: Where volumes were made, which are marked with their numbers.
        first: Number of the first volume.
    """
    figure = new_figure(7, 3.5)
    axes = figure.subplots()
    edges = bin_edges(latents, 80).tolist()
    counts, _, _ = axes.hist(latents, bins=edges, color="tab:gray", histtype="stepfilled")
    height = 1.06 * float(np.max(counts))
    for number, (stop, shade) in enumerate(zip(stops, colours(len(stops)), strict=True)):
        axes.axvline(stop, color=shade, linewidth=1.2)
        label = {"fc": "white", "ec": "none", "pad": 1}
        axes.text(stop, height, str(number + first), ha="center", fontsize=9, bbox=label)
    axes.set(xlabel="z", ylabel="particles", ylim=(0, 1.15 * float(np.max(counts))))
    return figure


def plot_view_directions(directions: Float[np.ndarray, "particles 3"]) -> Figure:
    """From where the particles were seen, as an equal-area map of the sphere.

    Args:
        directions: Viewing direction of every particle in the frame of the volume.
    """
    longitude = np.arctan2(directions[:, 1], directions[:, 0])
    sine = np.clip(directions[:, 2], -1, 1)
    # Bins of equal solid angle: equal steps of longitude and of the sine of the latitude.
    counts, east, north = np.histogram2d(
        longitude, sine, bins=(48, 24), range=((-np.pi, np.pi), (-1, 1))
    )
    figure = new_figure(8, 4.4)
    axes = figure.add_subplot(projection="mollweide")
    # The map has singular points at its poles.
    latitudes = np.arcsin(np.clip(north, -1 + 1e-9, 1 - 1e-9))
    mesh = axes.pcolormesh(east, latitudes, counts.T, cmap="viridis", rasterized=True)
    figure.colorbar(
        mesh, ax=axes, label="particles", shrink=0.8, ticks=MaxNLocator(integer=True)
    )
    axes.grid(linewidth=0.4)
    axes.tick_params(labelsize=9)
    # On the picture, which is dark where few particles are and bright where many are.
    for label in axes.get_xticklabels():
        label.set(color="white", path_effects=[withStroke(linewidth=2, foreground="black")])
    axes.set_title(
        "viewing directions: azimuth and elevation in the volume", fontsize=11, pad=14
    )
    return figure


def _dots(
    axes: Axes, places: Float[np.ndarray, "particles 2"], colour: np.ndarray | None = None
) -> None:
    count = len(places)
    alpha = float(np.clip(2000 / count, 0.05, 0.7))
    if colour is None:
        axes.scatter(*places.T, s=4, alpha=alpha, linewidths=0, rasterized=True)
    else:
        axes.scatter(*places.T, s=4, c=colour, alpha=alpha, linewidths=0, rasterized=True)


def label_axes(axes: Axes, places: Float[np.ndarray, "points 2"], names: AxisNames) -> None:
    """Names and limits that leave out the few particles that are far away."""
    low, high = np.percentile(places, [0.05, 99.95], axis=0)
    margin = 0.08 * (high - low) + 1e-6
    axes.set(
        xlabel=names[0],
        ylabel=names[1],
        xlim=(low[0] - margin[0], high[0] + margin[0]),
        ylim=(low[1] - margin[1], high[1] + margin[1]),
    )


def number_points(axes: Axes, places: Float[np.ndarray, "points 2"], first: int = 0) -> None:
    """Numbers beside points, from a first one on."""
    for number, place in enumerate(places, first):
        axes.annotate(
            str(number),
            place,
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7},
        )
