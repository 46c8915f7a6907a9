"""Stable states: maxima of a density of conformations, with shares, depths and widths.

A basin holds the places from which the steepest way up leads to one maximum (watershed). The
depth of a maximum is ln(its density / that at the pass to a higher one), which is the height of
the barrier in kT if the particles were frozen from equilibrium.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.analysis.basins import Basins, stands_out
from cryodrgn.analysis.density import (
    ConformationalDensity,
    lifted,
    measured_latents,
    redrawn,
)
from cryodrgn.analysis.even_motion import fit_even_motion
from cryodrgn.analysis.shares import Shares, fit_shares
from cryodrgn.counts import counted
from cryodrgn.io.atomic import atomic_path
from cryodrgn.particles.copies import Numbers, chosen_at_random, first_rows

# Maxima below this share of the highest density, and shallower than this depth in kT, are none.
LEAST_HEIGHT, LEAST_DEPTH = 1e-3, 0.1
# Of the bootstrap samples, so many must have the valley in front of a maximum.
CERTAIN = 0.95
BAND = (0.05, 0.95)
MOST_FITTED = 30_000
# Dimensions in which states are looked for where nobody says in how many.
STABLE_DIMENSIONS = 2
# Standard deviation with which states begin to be fitted, in those of the latents.
FIRST_WIDTH = 0.3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StableState:
    """One maximum of a density.

    Attributes:
        place: Where it is, in the dimensions of the density.
        latent: The same in all dimensions: mean of the latents near it, nearest weighing most.
        share: Share of the particles, see :mod:`cryodrgn.analysis.shares`.
        interval: In which that lies with 90 % probability; None where there is one state only.
        free_energy: Above that of the largest state, kT.
        free_energy_error: Half of its 90 % interval.
        basin_share: Integral of the smoothed density over the basin.
        basin_band: The same in bootstrap samples, 5th and 95th percentile.
        depth: In kT, at most ln N of N particles; None where there is one state only.
        depth_band: The same in bootstrap samples.
        width: Standard deviation along every dimension, free of the uncertainty of latents.
    """

    place: Float[np.ndarray, " dim"]
    latent: Float[np.ndarray, " z"]
    share: float
    interval: tuple[float, float] | None
    free_energy: float
    free_energy_error: float
    basin_share: float
    basin_band: tuple[float, float]
    depth: float | None
    depth_band: tuple[float, float] | None
    width: Float[np.ndarray, " dim"]

    def in_words(self) -> str:
        """Share, free energy and depth in one line."""
        if self.interval is None:
            return "one state (no other is told apart from it)"
        low, high = self.interval
        words = f"{self.share:.1%} ({low:.1%} to {high:.1%})"
        if self.free_energy > 0:
            words += f", {self.free_energy:.2f} ± {self.free_energy_error:.2f} kT"
        if self.depth is not None and self.depth_band is not None:
            low, high = self.depth_band
            words += f", depth {self.depth:.2f} kT ({low:.2f} to {high:.2f})"
        return words


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StableStates:
    """The stable states of a density, the largest first.

    Attributes:
        states: The states. Maxima beyond the latents of all particles are none.
        basins: Number of the state to whose basin every grid point belongs; maxima that are no
            states have the last numbers.
        shares: The mixture behind the shares, states in the same order.
        rows: Particles to which it was fitted.
        by_chance: Depths in kT of maxima that are none, as chance makes such maxima, too.
        by_motion: The same of maxima that one motion at an even pace explains as well.
    """

    states: list[StableState]
    basins: Int[np.ndarray, "*grid"]
    shares: Shares
    rows: Int[np.ndarray, " rows"]
    by_chance: tuple[float, ...] = ()
    by_motion: tuple[float, ...] = ()

    def in_words(self) -> list[str]:
        """Sentences on maxima that are no states."""
        words = []
        if self.by_motion:
            words.append(
                f"{len(self.by_motion)} maxima ({_depths(self.by_motion)} deep) are no states: "
                "one motion at an even pace along a bent curve explains the latents as well, "
                "and piles up where the curve turns"
            )
        if self.by_chance:
            maxima = counted(len(self.by_chance), "other maximum is", "other maxima are")
            words.append(
                f"{maxima} within noise ({_depths(self.by_chance)} deep): particles drawn from "
                "a density without them show as deep ones"
            )
        return words

    def latents(self) -> Float[np.ndarray, "states z"]:
        """z-values of all states."""
        return np.array([state.latent for state in self.states], dtype=np.float32)


def stable_states(
    density: ConformationalDensity,
    latents: Float[np.ndarray, "particles z"],
    covariances: Float[np.ndarray, "particles z z"] | None,
    seed: int = 0,
    numbers: Numbers = None,
) -> StableStates:
    """Find the maxima of a density that the particles are sure of, and their shares.

    A maximum counts if it is deeper than 0.1 kT and has a valley before it in 95 % of the
    bootstrap samples, if chance does not make such maxima where there is none (19 sets drawn
    from the density without it), and if the mixture of all states is better with it than
    without it by the Bayesian information criterion.

    Args:
        density: Density of the first dimensions of the latents.
        latents: Latents of all particles.
        covariances: Their uncertainty; None takes them for exact.
        seed: Of drawn images, and of the particles that shares are fitted to, if very many.
        numbers: Number of the different particle in every row; None where no particle is
            listed more than once.
    """
    kept = slice(len(density.axes))
    rows = np.arange(len(latents))
    if len(rows) > MOST_FITTED:
        rows = _fitted_rows(numbers, len(rows), seed)
    different = None if numbers is None else numbers[rows]
    own = None if covariances is None else covariances[rows][:, kept, kept]
    data, blurs = measured_latents(latents[rows][:, kept], own)
    width = FIRST_WIDTH * float(np.sqrt(latents[:, kept].var(0).mean()))
    landscape = _certain(density, Basins.of(density.values))

    def fitted(some: Basins) -> Shares:
        return fit_shares(data, blurs, some.places(density), width, different)

    own_blurs = blurs if different is None else blurs[first_rows(different)]
    of_draws = np.random.default_rng([seed, 1])

    def drawn(values: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
        return redrawn(density, values, latents[:, kept], own_blurs, of_draws)

    shares = fitted(landscape)
    by_chance, by_motion = list[float](), list[float]()
    while len(landscape.peaks) > 1:
        depths = landscape.depths(density.values)
        fewer = landscape.merged(int(np.argmin(depths)), density.values)
        simpler = fitted(fewer)
        is_apart = _apart(density, landscape, shares)
        if is_apart and shares.information_criterion < simpler.information_criterion:
            if stands_out(landscape, density.values, drawn):
                break
            by_chance.append(float(depths.min()))
        landscape, shares = fewer, simpler
    if len(landscape.peaks) > 1 and _is_motion(shares, data, blurs, len(own_blurs)):
        by_motion = landscape.depths(density.values).tolist()
        landscape = _whole(landscape, density.values)
        shares = fitted(landscape)
    found = _described(density, landscape, shares, latents, data, rows)
    return replace(found, by_chance=tuple(by_chance), by_motion=tuple(by_motion))


def _fitted_rows(numbers: Numbers, count: int, seed: int) -> Int[np.ndarray, " rows"]:
    """Rows of very many particles, to whose latents shares are fitted."""
    rng = np.random.default_rng(seed)
    return np.sort(chosen_at_random(rng, numbers, count, MOST_FITTED))


def _is_motion(
    shares: Shares,
    data: Float[np.ndarray, "particles dim"],
    blurs: Float[np.ndarray, "particles dim dim"],
    count: int,
) -> bool:
    """True if a single motion at an even pace explains latents as well as several states."""
    motion = fit_even_motion(data, blurs, count)
    return motion.information_criterion <= shares.information_criterion


def cluster_shares(
    latents: Float[np.ndarray, "particles dim"],
    covariances: Float[np.ndarray, "particles dim dim"] | None,
    labels: Int[np.ndarray, " particles"],
    numbers: Numbers = None,
) -> Shares:
    """Shares of clusters: a mixture begun at the means of given clusters.

    Args:
        latents: Latents.
        covariances: Their uncertainty; None takes them for exact.
        labels: Cluster of every particle; states are in ascending order of these numbers.
        numbers: Number of the different particle in every row; None where no particle is
            listed more than once.
    """
    data, blurs = measured_latents(latents, covariances)
    centres = np.stack([data[labels == number].mean(0) for number in np.unique(labels)])
    width = FIRST_WIDTH * float(np.sqrt(data.var(0).mean()))
    return fit_shares(data, blurs, centres, width, numbers)


def write_stable_states(path: Path, found: StableStates, remark: str = "") -> None:
    """Write the states as a table, one row each, with a remark in the last column.

    Intervals of a single state stay empty: nothing was estimated. Without any state the only
    row holds the remark.
    """
    dimensions = found.basins.ndim
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "state",
            *(f"z{number}" for number in range(dimensions)),
            *("share", "share_low", "share_high", "free_energy_kt", "free_energy_error_kt"),
            *("depth_kt", "depth_low_kt", "depth_high_kt"),
            *(f"width{number}" for number in range(dimensions)),
            *("basin_share", "basin_share_low", "basin_share_high", "remark"),
        ]
    )
    for number, state in enumerate(found.states):
        depth = [] if state.depth is None else [state.depth, *(state.depth_band or ())]
        is_only = state.interval is None
        cells = _cells([*state.place, state.share])
        cells += [""] * 2 if state.interval is None else _cells(state.interval)
        cells += _cells([state.free_energy]) + (
            [""] if is_only else _cells([state.free_energy_error])
        )
        cells += _cells(depth) or [""] * 3
        cells += _cells([*state.width, state.basin_share])
        cells += [""] * 2 if is_only else _cells(state.basin_band)
        writer.writerow([number, *cells, remark])
    if not found.states and remark:
        writer.writerow([""] * (12 + 2 * dimensions) + [remark])
    with atomic_path(path) as partial:
        partial.write_text(text.getvalue())


def _depths(values: Sequence[float]) -> str:
    return (
        " to ".join(dict.fromkeys(f"{end:.1f}" for end in (min(values), max(values)))) + " kT"
    )


def _cells(values: Iterable[float]) -> list[str]:
    return [f"{value:.5g}" for value in values]


def _certain(density: ConformationalDensity, landscape: Basins) -> Basins:
    """The basins of maxima that are high, deep, and there in nearly all bootstrap samples."""
    values = density.values
    while len(landscape.peaks) > 1:
        heights, depths = landscape.heights(values), landscape.depths(values)
        low = heights < LEAST_HEIGHT * heights.max()
        if low.any():
            landscape = landscape.merged(int(np.argmin(heights)), values)
            continue
        least = int(np.argmin(depths))
        if depths[least] >= LEAST_DEPTH:
            samples = np.stack([landscape.depths(sample) for sample in density.samples])
            certain = (samples > 0).mean(0)
            if certain.min() >= CERTAIN:
                break
            least = int(np.argmin(certain))
        landscape = landscape.merged(least, values)
    return landscape


def _whole(landscape: Basins, values: Float[np.ndarray, "*grid"]) -> Basins:
    """All basins as one."""
    while len(landscape.peaks) > 1:
        landscape = landscape.merged(int(np.argmin(landscape.depths(values))), values)
    return landscape


def _apart(density: ConformationalDensity, landscape: Basins, shares: Shares) -> bool:
    """True if every state of the mixture stayed in the basin in which it began."""
    inside = [
        landscape.labels[density.nearest(centre)] == basin
        for basin, centre in enumerate(shares.centres)
    ]
    return all(inside)


def _described(
    density: ConformationalDensity,
    landscape: Basins,
    shares: Shares,
    latents: Float[np.ndarray, "particles z"],
    measured: Float[np.ndarray, "rows dim"],
    rows: Int[np.ndarray, " rows"],
) -> StableStates:
    """The states with all that is said of them, the largest first."""
    places = landscape.places(density)
    columns = latents[:, : len(density.axes)]
    # Latents are drawn towards the mean by their prior, and a state may lie beyond all of them.
    is_beyond = ((places < measured.min(0)) | (places > measured.max(0))).any(1)
    order = np.lexsort((-shares.values, is_beyond))
    cell = float(np.prod([axis[1] - axis[0] for axis in density.axes]))
    labels, count = landscape.labels.ravel(), len(order)

    def integrals(values: np.ndarray) -> Float[np.ndarray, " basins"]:
        return np.bincount(labels, values.ravel(), count) * cell

    basin_shares = integrals(density.values)
    basin_bands = np.quantile([integrals(s) for s in density.samples], BAND, axis=0)
    # Nothing is known of valleys emptier than one particle of all.
    deepest = np.log(shares.num_particles)
    depths = np.minimum(landscape.depths(density.values), deepest)
    depth_bands = np.full((2, count), np.inf)
    if count > 1:
        depth_bands = np.quantile([landscape.depths(s) for s in density.samples], BAND, axis=0)
        depth_bands = np.minimum(depth_bands, deepest)
    whole = lifted(places, latents, columns, density.smoothing)
    low, high = shares.interval()
    energies, errors = shares.free_energies()
    states = [
        StableState(
            place=places[k],
            latent=whole[k],
            share=float(shares.values[k]),
            interval=(float(low[k]), float(high[k])) if count > 1 else None,
            free_energy=float(energies[k]),
            free_energy_error=float(errors[k]),
            basin_share=float(basin_shares[k]),
            basin_band=(float(basin_bands[0, k]), float(basin_bands[1, k])),
            depth=float(depths[k]) if count > 1 else None,
            depth_band=(float(depth_bands[0, k]), float(depth_bands[1, k]))
            if count > 1
            else None,
            width=np.sqrt(np.diagonal(shares.covariances[k])),
        )
        for k in order
        if not is_beyond[k]
    ]
    return StableStates(
        states=states,
        basins=np.argsort(order)[landscape.labels],
        shares=_reordered(shares, order),
        rows=rows,
    )


def _reordered(shares: Shares, order: Int[np.ndarray, " states"]) -> Shares:
    return Shares(
        values=shares.values[order],
        centres=shares.centres[order],
        covariances=shares.covariances[order],
        uncertainty=shares.uncertainty[order][:, order],
        memberships=shares.memberships[:, order],
        log_likelihood=shares.log_likelihood,
        num_particles=shares.num_particles,
    )
