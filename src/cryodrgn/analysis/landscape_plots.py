"""Figures of volume spaces, states and particle densities."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cryodrgn.analysis.landscape import ParticleDensity
from cryodrgn.analysis.latent_plots import colours
from cryodrgn.analysis.plots import new_figure


def plot_mask(mask: Float[np.ndarray, "box box box"]) -> Figure:
    """Central slices of a mask along z, y and x."""
    figure = new_figure(9, 3.3)
    for axis, (axes, name) in enumerate(zip(figure.subplots(1, 3), "zyx", strict=True)):
        axes.imshow(
            np.take(mask, len(mask) // 2, axis), cmap="gray", vmin=0, vmax=1, origin="lower"
        )
        axes.set(title=f"central slice along {name}", xticks=[], yticks=[])
    return figure


def plot_explained(explained: Float[np.ndarray, " components"]) -> Figure:
    """Share of the variance of volumes that each component holds."""
    figure = new_figure(6, 3)
    axes = figure.subplots()
    axes.bar(np.arange(1, len(explained) + 1), 100 * explained, color="tab:gray")
    axes.set(xlabel="principal component of the volumes", ylabel="share of variance (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def plot_states(
    places: Float[np.ndarray, "volumes 2"],
    labels: Int[np.ndarray, " volumes"],
    weights: Int[np.ndarray, " volumes"],
    numbers: tuple[int, int],
) -> Figure:
    """Volumes along two components, in the colour of their state.

    Args:
        places: The volumes.
        labels: State of every volume.
        weights: Particles that stand by every volume, shown as the size of its dot.
        numbers: The components, counted from 1.
    """
    figure = new_figure(6, 5)
    axes = figure.subplots()
    count = int(labels.max()) + 1
    shades = colours(count)
    sizes = 6 + 60 * weights / max(1, weights.max())
    axes.scatter(*places.T, s=sizes, c=shades[labels], edgecolors="white", linewidths=0.3)
    for state in range(count):
        x, y = places[labels == state].mean(0)
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": shades[state], "alpha": 0.85}
        axes.text(x, y, str(state), fontsize=9, ha="center", va="center", bbox=box)
    axes.set(xlabel=f"volume PC{numbers[0]}", ylabel=f"volume PC{numbers[1]}")
    axes.margins(0.08)
    return figure


def plot_density(density: ParticleDensity) -> Figure:
    """Particle density in the plane, and along the first axis with its bootstrap band."""
    figure = new_figure(11, 4.5)
    plane, profile = figure.subplots(1, 2, width_ratios=(1.15, 1))
    x, y = density.edges
    shown = np.where(density.density > 0, density.density, np.nan)
    mesh = plane.pcolormesh(x, y, shown.T, cmap="viridis", rasterized=True)
    figure.colorbar(mesh, ax=plane, label="share of particles per unit area")
    middles = [(edges[1:] + edges[:-1]) / 2 for edges in (x, y)]
    if density.supported().any() and not density.supported().all():
        plane.contour(*middles, density.supported().T.astype(float), [0.5], colors="white")
    plane.set(
        xlabel="volume PC1",
        ylabel="volume PC2",
        title="particle density (within the line: in 95 % of samples)",
    )
    plane.title.set_fontsize(9)
    step = y[1] - y[0]
    profile.plot(
        middles[0], density.density.sum(1) * step, color="black", label="all particles"
    )
    profile.fill_between(
        middles[0],
        *density.profile_band,
        color="tab:blue",
        alpha=0.3,
        label="5 to 95 % of samples",
    )
    profile.set(xlabel="volume PC1", ylabel="share of particles per unit", ylim=(0, None))
    profile.legend()
    return figure
