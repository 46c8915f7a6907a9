"""Share of a latent space that views, shifts, optics and other nuisance variables predict.

Every axis of the latent space is predicted from each nuisance by regression on other
particles (five-fold cross-validation). The share of variance that is explained there, R², is
compared with what the same regression finds when the nuisance is shuffled among particles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.particles.copies import chosen_at_random, in_order_of_appearance, shuffled
from cryodrgn.particles.particle_set import ParticleSet

NUM_FOLDS, NUM_SHUFFLES = 5, 5
# Prior weight in a regression, in particles.
RIDGE = 3.0
MAX_PARTICLES = 50_000
# Share of variance, and standard deviations above the shuffled baseline, that count.
LEAST_SHARE, LEAST_DEVIATIONS = 0.1, 6.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NuisanceScore:
    """Shares of the latent axes that one nuisance variable predicts.

    Attributes:
        name: The nuisance.
        explained: R² for every axis on particles that were left out.
        baseline: Mean R² for every axis with the nuisance shuffled.
        baseline_deviation: Standard deviation of that.
    """

    name: str
    explained: Float[np.ndarray, " axes"]
    baseline: Float[np.ndarray, " axes"]
    baseline_deviation: Float[np.ndarray, " axes"]

    def counts(self) -> np.ndarray:
        """On which axes it explains more than chance, and enough to matter."""
        above = self.explained - self.baseline
        clear = above > LEAST_DEVIATIONS * np.maximum(self.baseline_deviation, 1e-3)
        return clear & (self.explained > LEAST_SHARE)


def nuisance_scores(
    latents: Float[np.ndarray, "particles axes"],
    nuisances: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
    numbers: Int[np.ndarray, " particles"] | None = None,
) -> list[NuisanceScore]:
    """Predict the axes of a latent space from every nuisance.

    Args:
        latents: Latent coordinates, for instance principal components.
        nuisances: By name, features as an array of real numbers (particles, features), or
            groups as a vector of whole numbers.
        seed: Of folds and shuffles.
        numbers: Number of the different particle in every row, whose copies are of one fold;
            None where none is listed more than once.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(latents))
    if len(rows) > MAX_PARTICLES:
        rows = np.sort(chosen_at_random(rng, numbers, len(rows), MAX_PARTICLES))
    targets = latents[rows].astype(np.float64)
    numbers = np.arange(len(rows)) if numbers is None else in_order_of_appearance(numbers[rows])
    folds = (rng.permutation(int(numbers.max()) + 1) % NUM_FOLDS)[numbers]
    shuffles = [shuffled(rng, numbers, len(rows)) for _ in range(NUM_SHUFFLES)]
    scores = []
    for name, values in nuisances.items():
        own = values[rows]
        random = np.stack([explained_share(own[s], targets, folds) for s in shuffles])
        scores.append(
            NuisanceScore(
                name=name,
                explained=explained_share(own, targets, folds),
                baseline=random.mean(0),
                baseline_deviation=random.std(0),
            )
        )
    return scores


def explained_share(
    nuisance: np.ndarray,
    targets: Float[np.ndarray, "particles axes"],
    folds: Int[np.ndarray, " particles"],
) -> Float[np.ndarray, " axes"]:
    """R² of predictions for the particles of each fold from all other folds.

    Args:
        nuisance: Features (particles, features), predicted from by ridge regression, or groups
            (particles), predicted from by means of groups, shrunk towards the overall mean.
        targets: What to predict.
        folds: Fold of every particle.
    """
    predicted = np.empty_like(targets)
    predict = _by_groups if nuisance.ndim == 1 else _by_features
    for fold in np.unique(folds):
        test = folds == fold
        mean = targets[~test].mean(0)
        residual = targets[~test] - mean
        predicted[test] = mean + predict(nuisance[~test], residual, nuisance[test])
    error = np.square(targets - predicted).sum(0)
    total = np.square(targets - targets.mean(0)).sum(0)
    return 1 - error / np.maximum(total, 1e-300)


def _by_features(known: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> np.ndarray:
    centre, spread = known.mean(0), known.std(0)
    spread = np.where(spread > 1e-9, spread, np.inf)
    features, others = (known - centre) / spread, (asked - centre) / spread
    normal = features.T @ features + RIDGE * np.eye(features.shape[1])
    return others @ np.linalg.solve(normal, features.T @ targets)


def _by_groups(known: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> np.ndarray:
    count = int(max(known.max(), asked.max())) + 1
    sums = np.stack([np.bincount(known, column, count) for column in targets.T], axis=1)
    return (sums / (np.bincount(known, minlength=count) + RIDGE)[:, None])[asked]


def nuisances_of(
    particles: ParticleSet,
    categories: Mapping[str, Sequence[str]],
    statistics: Float[np.ndarray, "particles 2"] | None = None,
) -> dict[str, np.ndarray]:
    """Nuisance variables of particles, ready for :func:`nuisance_scores`.

    Args:
        particles: The particles.
        categories: Names of groups, such as micrographs, by kind.
        statistics: Mean and standard deviation of every image.
    """
    images = particles.first_images
    poses = images.require_poses()
    in_pixels = poses.shifts / images.pixel_sizes[:, None]
    place = np.linspace(-1, 1, len(particles))
    found: dict[str, np.ndarray] = {
        "view direction": _polynomials(poses.rotations[:, 2], 4),
        "rotation": _polynomials(poses.rotations.reshape(-1, 9), 2),
        "shift": _polynomials(in_pixels, 3),
        "place in the file": np.polynomial.legendre.legvander(place, 8)[:, 1:],
    }
    if images.ctf is not None:
        defocus = np.stack([images.ctf.defocus_u, images.ctf.defocus_v], axis=1)
        found["defocus"] = _polynomials(_standardised(defocus.mean(1, keepdims=True)), 5)
    if statistics is not None:
        found["image mean and contrast"] = _polynomials(_standardised(statistics), 2)
    if particles.offsets is not None:
        counts = particles.image_counts[:, None].astype(np.float64)
        found["number of tilts"] = _polynomials(_standardised(counts), 2)
        if images.doses is not None:
            doses = images.doses[:, None].astype(np.float64)
            found["dose of the first tilt"] = _polynomials(_standardised(doses), 2)
    for name, labels in categories.items():
        _, numbers = np.unique(np.asarray(labels), return_inverse=True)
        if numbers.max() > 0:
            found[name] = numbers.reshape(-1)
    return found


def _standardised(values: np.ndarray) -> np.ndarray:
    spread = values.std(0)
    return (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)


def _polynomials(values: np.ndarray, degree: int) -> Float[np.ndarray, "particles features"]:
    """All products of up to ``degree`` of the columns."""
    powers = [values.astype(np.float64)]
    first = [np.arange(values.shape[1])]
    for _ in range(degree - 1):
        products, starts = [], []
        for column in range(values.shape[1]):
            # Each product once, with its factors in order.
            usable = first[-1] >= column
            products.append(powers[-1][:, usable] * values[:, column : column + 1])
            starts.append(np.full(int(usable.sum()), column))
        powers.append(np.concatenate(products, axis=1))
        first.append(np.concatenate(starts))
    return np.concatenate(powers, axis=1)
