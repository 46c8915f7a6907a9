"""Coverage of the intervals of shares of states, on sets whose true shares are known.

Sets are latents drawn with known errors, or, with ``--images``, images of two states from which
``train_linear`` finds latents. Every set is drawn anew, the number of particles of a state too.
A line of the table is: true share, sets, in how many two states were found, mean and standard
deviation of the share, mean standard error, part of the intervals that hold the truth, and the
mean integral over the basin for comparison.

    python benchmarks/shares.py --sets 20 --shares 0.05 0.1 0.2 0.35 0.5
    python benchmarks/shares.py --images --sets 10 --shares 0.2
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from cryodrgn.analysis.density import conformational_density
from cryodrgn.analysis.stable_states import StableStates, stable_states
from cryodrgn.cli.main import main as cryodrgn
from cryodrgn.linear.latents import run_latents
from cryodrgn.rundir import RunDirectory

# Distance of the states in standard deviations of the error of a typical latent; widths.
APART, WIDTH = 3.5, 0.3
REACH = NormalDist().inv_cdf(0.95)

Found = tuple[StableStates, int]


def drawn_latents(
    count: int, share: float, dimensions: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d d"]]:
    """Posterior means and covariances of latents of two states, as a linear run writes them."""
    is_minor = rng.random(count) < share
    truth = WIDTH * rng.normal(size=(count, dimensions))
    truth[:, 0] += APART * (is_minor - share)
    scale = np.sqrt(share * (1 - share) * APART**2 + WIDTH**2)
    errors = np.exp(0.3 * rng.normal(size=count)) / scale
    measured = truth / scale + errors[:, None] * rng.normal(size=truth.shape)
    variances = 1 / (1 + errors**-2)
    means = measured * (variances * errors**-2)[:, None]
    covariances = variances[:, None, None] * np.eye(dimensions)
    return means.astype(np.float32), covariances.astype(np.float32)


def states_of(
    latents: np.ndarray, covariances: np.ndarray | None, dimensions: int, seed: int
) -> StableStates:
    """Stable states in the first dimensions."""
    kept = slice(dimensions)
    part = None if covariances is None else covariances[:, kept, kept]
    density = conformational_density(latents[:, kept], part, num_bootstraps=10, seed=seed)
    return stable_states(density, latents, covariances, seed)


def from_latents(count: int, dimensions: int) -> Callable[[float, int], Found]:
    """A set of latents; the state at larger z is the one whose share is known."""

    def make(share: float, seed: int) -> Found:
        rng = np.random.default_rng([seed, round(1000 * share)])
        latents, covariances = drawn_latents(count, share, dimensions, rng)
        found = states_of(latents, covariances, dimensions, seed)
        return found, int(np.argmax([state.place[0] for state in found.states]))

    return make


def from_images(count: int, snr: float) -> Callable[[float, int], Found]:
    """Images of 32 px of two states of the built-in hinge, and the latents of a linear run."""

    def make(share: float, seed: int) -> Found:
        rng = np.random.default_rng([seed, round(1000 * share)])
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            words = f"simulate -D 32 --Apix 6 -n 2 --num-states 2 -o {folder}/two"
            cryodrgn(words.split())
            volumes = [f"{folder}/two/gt/state_{number:03d}.mrc" for number in (0, 1)]
            # As many volumes as images, so that every image is of one that was drawn.
            is_minor = rng.random(count) < share
            for number in (0, 1):
                words = (
                    f"simulate {volumes[number]} -n {max(2, int((is_minor == number).sum()))}"
                )
                options = f"--snr {snr} --seed {2 * seed + number} -o {folder}/{number}"
                cryodrgn(f"{words} {options}".split())
            star = _joined(folder)
            words = f"train_linear {star} --components 2 --seed {seed} -o {folder}/run"
            cryodrgn(words.split())
            latents = run_latents(RunDirectory(folder / "run"))
        found = states_of(latents.mean, latents.covariances, 1, seed)
        labels = np.arange(count) < int(is_minor.sum())
        minor = latents.mean[labels, 0].mean() > latents.mean[~labels, 0].mean()
        places = [state.place[0] for state in found.states]
        return found, int(np.argmax(places) if minor else np.argmin(places))

    return make


def _joined(folder: Path) -> Path:
    """One particle file of the images of both states, the minor one's first."""
    lines = [
        (folder / f"{number}/particles.star").read_text().splitlines() for number in (1, 0)
    ]
    rows = []
    for number, text in zip((1, 0), lines, strict=True):
        images = [line for line in text if "@" in line]
        rows += [line.replace("@", f"@{folder}/{number}/") for line in images]
    head = [line for line in lines[0] if "@" not in line]
    path = folder / "joined.star"
    path.write_text("\n".join([*head, *rows]) + "\n")
    return path


def coverage(
    make: Callable[[float, int], Found], shares: list[float], sets: int
) -> Iterator[str]:
    """Lines of the table."""
    inside = total = 0
    for share in shares:
        rows = []
        for seed in range(sets):
            found, number = make(share, seed)
            if len(found.states) == 2:
                state = found.states[number]
                assert state.interval is not None, "there are two states"
                low, high = state.interval
                rows.append(
                    (
                        state.share,
                        (high - low) / 2 / REACH,
                        low <= share <= high,
                        state.basin_share,
                    )
                )
        if not rows:
            yield f"{share:5.0%} {sets:4d} sets, two states in none"
            continue
        values, errors, covered, basins = np.array(rows, dtype=float).T
        inside, total = inside + int(covered.sum()), total + len(rows)
        yield (
            f"{share:5.0%} {sets:4d} sets, two states in {len(rows):4d}: {values.mean():.4f} "
            f"± {values.std():.4f}, error {errors.mean():.4f}, covered {covered.mean():.2f}, "
            f"basin {basins.mean():.4f}"
        )
    yield f"all: {inside} of {total} intervals hold the truth ({inside / max(1, total):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.35, 0.5])
    parser.add_argument("--dims", type=int, default=1)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--snr", type=float, default=0.3)
    args = parser.parse_args()
    make = from_images(args.n, args.snr) if args.images else from_latents(args.n, args.dims)
    for line in coverage(make, args.shares, args.sets):
        print(line, flush=True)


if __name__ == "__main__":
    main()
