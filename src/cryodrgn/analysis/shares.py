"""Shares of states among particles whose latents are uncertain, with intervals.

The latents of a state are taken for normally distributed, and every measured latent as its
own, blurred by its own uncertainty: a mixture of K Gaussians of which image i shows
Σ_k p_k N(x_i; μ_k, S_k + C_i). Weights, centres and covariances are those of the greatest
likelihood (expectation–maximisation, Bovy, Hogg & Roweis 2011). A smoothed density leaks over
the valley between two states, and its integral over a basin is no such share.

Intervals follow from the information that the images hold of all parameters together, centres
and widths included (outer products of the gradients of ln p(x_i)), on the scale of
ln p_k / (1 − p_k), where the errors of small shares are symmetric.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import chi2

from cryodrgn.io.atomic import atomic_path
from cryodrgn.particles.copies import Numbers, number_of_different, sums_over_copies

MOST_ITERATIONS = 400
# Change of the mean log-likelihood of an image in one iteration at which it ends.
TOLERANCE = 1e-7
# States narrower than this share of the spread of all latents count as that wide.
LEAST_WIDTH = 0.02
# Variances of states below this share of the variance of errors are not told from zero.
LEAST_VARIANCE = 0.2
# A share depends on a nuisance if chance alone gave as much less often than this.
LEAST_CHANCE = 1e-3
CONFIDENCE = 0.9


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shares:
    """A mixture of states fitted to uncertain latents.

    Attributes:
        values: Share of every state; they add up to 1.
        centres: Means of the states.
        covariances: Their covariances, free of the uncertainty of latents.
        uncertainty: Covariance of the errors of ln p_k, up to a constant that all share.
        memberships: Probability of every state for every image.
        log_likelihood: Of all images, of which copies of one particle are one.
        num_particles: Number of different particles.
    """

    values: Float[np.ndarray, " states"]
    centres: Float[np.ndarray, "states dim"]
    covariances: Float[np.ndarray, "states dim dim"]
    uncertainty: Float[np.ndarray, "states states"]
    memberships: Float[np.ndarray, "images states"]
    log_likelihood: float
    num_particles: int

    @property
    def information_criterion(self) -> float:
        """Bayesian information criterion: smaller for the better number of states."""
        count, dimensions = self.centres.shape
        parameters = count * (1 + dimensions + dimensions * (dimensions + 1) // 2) - 1
        return parameters * float(np.log(self.num_particles)) - 2 * self.log_likelihood

    def interval(
        self, confidence: float = CONFIDENCE
    ) -> tuple[Float[np.ndarray, " states"], Float[np.ndarray, " states"]]:
        """Lower and upper ends of the intervals of all shares."""
        if len(self.values) == 1:
            return self.values, self.values
        others = np.maximum(1 - self.values, 1e-12)
        # d logit p_k / d ln p_j, where ln p are free up to a constant.
        turn = (np.eye(len(self.values)) - self.values) / others[:, None]
        error = np.sqrt(np.einsum("kj,jl,kl->k", turn, self.uncertainty, turn))
        logit = np.log(np.maximum(self.values, 1e-12) / others)
        reach = NormalDist().inv_cdf(0.5 + confidence / 2) * error
        low, high = (1 / (1 + np.exp(-(logit + sign * reach))) for sign in (-1, 1))
        return low, high

    def in_words(self) -> list[str]:
        """Every share with its interval; that of a single state has none."""
        if len(self.values) == 1:
            return ["one state"]
        rows = zip(self.values, *self.interval(), strict=True)
        return [f"{share:.1%} ({low:.1%} to {high:.1%})" for share, low, high in rows]

    def free_energies(
        self, confidence: float = CONFIDENCE
    ) -> tuple[Float[np.ndarray, " states"], Float[np.ndarray, " states"]]:
        """Free energies above that of the largest state in kT, and half of their intervals."""
        largest = int(np.argmax(self.values))
        energies = np.log(self.values[largest] / np.maximum(self.values, 1e-12))
        turn = np.eye(len(self.values)) - np.eye(len(self.values))[largest]
        variance = np.einsum("kj,jl,kl->k", turn, self.uncertainty, turn)
        reach = NormalDist().inv_cdf(0.5 + confidence / 2) * np.sqrt(np.maximum(variance, 0))
        return energies, reach


def fit_shares(
    latents: Float[np.ndarray, "images dim"],
    blurs: Float[np.ndarray, "images dim dim"],
    centres: Float[np.ndarray, "states dim"],
    width: float,
    numbers: Numbers = None,
) -> Shares:
    """Fit a mixture of Gaussian states, begun at given centres.

    Args:
        latents: Measured latents, see :func:`~cryodrgn.analysis.density.measured_latents`.
        blurs: Covariances of their errors.
        centres: Where the states begin.
        width: Standard deviation with which they begin.
        numbers: Number of the different particle in every row; None where no particle is
            listed more than once.
    """
    data, blurs = latents.astype(np.float64), blurs.astype(np.float64)
    count, dimensions = centres.shape
    num_particles = number_of_different(numbers, len(data))
    floor = (LEAST_WIDTH * data.std(0)) ** 2
    values = np.full(count, 1 / count)
    centres = centres.astype(np.float64)
    spreads = np.broadcast_to(width**2 * np.eye(dimensions), (count, dimensions, dimensions))
    before, step = -np.inf, _Step.of(data, blurs, values, centres, spreads)
    for _ in range(MOST_ITERATIONS):
        if step.mean_likelihood - before < TOLERANCE:
            break
        before = step.mean_likelihood
        values, centres, spreads = step.updated(centres, spreads, floor)
        step = _Step.of(data, blurs, values, centres, spreads)
    return Shares(
        values=values,
        centres=centres,
        covariances=np.array(spreads),
        uncertainty=_uncertainty(step, values, _resolved(spreads, blurs), numbers),
        memberships=step.memberships,
        log_likelihood=step.mean_likelihood * num_particles,
        num_particles=num_particles,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Step:
    """Memberships of images under a mixture, and what gradients need.

    Attributes:
        memberships: Probability of every state for every image.
        inverses: (S_k + C_i)⁻¹.
        pulls: (S_k + C_i)⁻¹ (x_i − μ_k).
        mean_likelihood: Mean log-likelihood of an image.
    """

    memberships: Float[np.ndarray, "images states"]
    inverses: Float[np.ndarray, "images states dim dim"]
    pulls: Float[np.ndarray, "images states dim"]
    mean_likelihood: float

    @classmethod
    def of(
        cls,
        data: Float[np.ndarray, "images dim"],
        blurs: Float[np.ndarray, "images dim dim"],
        values: Float[np.ndarray, " states"],
        centres: Float[np.ndarray, "states dim"],
        spreads: Float[np.ndarray, "states dim dim"],
    ) -> "_Step":
        wholes = spreads + blurs[:, None]
        inverses, determinants = _inverted(wholes)
        away = data[:, None] - centres
        pulls = (inverses @ away[..., None])[..., 0]
        squares = (pulls * away).sum(2)
        logarithms = np.log(2 * np.pi) * data.shape[1] + determinants
        joint = np.log(np.maximum(values, 1e-300)) - (squares + logarithms) / 2
        highest = joint.max(1, keepdims=True)
        shares = np.exp(joint - highest)
        total = shares.sum(1, keepdims=True)
        return cls(
            memberships=shares / total,
            inverses=inverses,
            pulls=pulls,
            mean_likelihood=float((highest + np.log(total)).mean()),
        )

    def updated(
        self,
        centres: Float[np.ndarray, "states dim"],
        spreads: Float[np.ndarray, "states dim dim"],
        floor: Float[np.ndarray, " dim"],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, centres and covariances after one step of expectation–maximisation."""
        sums = np.maximum(self.memberships.sum(0), 1e-9)
        # Of the latent itself, given the image and the state: its mean from the old centre.
        moves = np.einsum("kij,nkj->kni", spreads, self.pulls)
        weights = self.memberships.T[..., None]
        shift = (weights * moves).sum(1) / sums[:, None]
        left = moves - shift[:, None]
        outer = (weights * left).transpose(0, 2, 1) @ left
        inverse = np.einsum("nk,nkij->kij", self.memberships, self.inverses)
        doubt = sums[:, None, None] * spreads - spreads @ inverse @ spreads
        covariances = (outer + doubt) / sums[:, None, None]
        least = np.diag(floor)
        return sums / sums.sum(), centres + shift, covariances + 1e-2 * least


def _inverted(
    matrices: Float[np.ndarray, "*many dim dim"],
) -> tuple[Float[np.ndarray, "*many dim dim"], Float[np.ndarray, "*many"]]:
    """Inverses and ln determinants of symmetric positive matrices.

    All are swept at once (Goodnight 1979): so small matrices take a tenth of the time that
    factorising one after another takes.
    """
    swept, determinants = matrices.copy(), np.zeros(matrices.shape[:-2])
    for row in range(matrices.shape[-1]):
        column = swept[..., row].copy()
        pivot = column[..., row].copy()
        determinants += np.log(pivot)
        ratios = column / pivot[..., None]
        swept -= column[..., :, None] * ratios[..., None, :]
        swept[..., row] = swept[..., row, :] = ratios
        swept[..., row, row] = -1 / pivot
    return -swept, determinants


def _resolved(
    spreads: Float[np.ndarray, "states dim dim"], blurs: Float[np.ndarray, "images dim dim"]
) -> Bool[np.ndarray, "states dim"]:
    """Along which dimensions the width of a state is told from zero.

    A variance that ends near zero is held there by being positive: it is no freedom of the fit.
    """
    own = np.einsum("kii->ki", spreads)
    return own > LEAST_VARIANCE * np.median(np.einsum("nii->ni", blurs), axis=0)


def _uncertainty(
    step: _Step,
    values: Float[np.ndarray, " states"],
    resolved: Bool[np.ndarray, "states dim"],
    numbers: Numbers,
) -> Float[np.ndarray, "states states"]:
    """Covariance of the errors of ln p, with that of the first state as the constant.

    Gradients of copies of a particle are added up before their products are, so that what
    copies say alike counts once, and what they say independently counts as such (the sandwich
    of clusters, Liang & Zeger 1986).
    """
    count = len(values)
    if count == 1:
        return np.zeros((1, 1))
    images, _, dimensions = step.pulls.shape
    weights = step.memberships[..., None]
    upper = np.triu_indices(dimensions)
    free = resolved[:, upper[0]] & resolved[:, upper[1]]
    outer = step.pulls[..., :, None] * step.pulls[..., None, :] - step.inverses
    gradients = np.concatenate(
        [
            step.memberships[:, 1:] - values[1:],
            (weights * step.pulls).reshape(images, -1),
            (weights * outer[..., upper[0], upper[1]]).reshape(images, -1)[:, free.ravel()],
        ],
        axis=1,
    )
    information = gradients.T @ gradients
    scale = np.sqrt(np.maximum(information.diagonal(), 1e-300))
    scaled = information / scale[:, None] / scale + 1e-9 * np.eye(len(scale))
    covariance = np.linalg.inv(scaled) / scale[:, None] / scale
    if numbers is not None:
        together = sums_over_copies(gradients, numbers)
        covariance = covariance @ (together.T @ together) @ covariance
    found = np.zeros((count, count))
    found[1:, 1:] = covariance[: count - 1, : count - 1]
    return found


def write_shares(path: Path, shares: Shares, names: Sequence[int]) -> None:
    """Write shares with their intervals and free energies as a table.

    Args:
        path: A ``.csv`` file.
        shares: The shares.
        names: Numbers of the clusters that they are of.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "cluster",
            "share",
            "share_low",
            "share_high",
            "free_energy_kt",
            "free_energy_error_kt",
        ]
    )
    columns = (shares.values, *shares.interval(), *shares.free_energies())
    for name, *figures in zip(names, *columns, strict=True):
        cells = [f"{value:.5g}" for value in figures]
        if len(shares.values) == 1:
            # The share of a single state is not estimated, so it has no interval.
            cells = [cells[0], "", "", cells[3], ""]
        writer.writerow([name, *cells])
    with atomic_path(path) as partial:
        partial.write_text(text.getvalue())


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependence:
    """Dependence of shares on a nuisance.

    Attributes:
        nuisance: Its name.
        chance: Probability of as much by chance.
        state: Number of the state that depends on it most.
        low: Its share where it is least, a tenth of the particles.
        high: The same where it is most.
    """

    nuisance: str
    chance: float
    state: int
    low: float
    high: float


def share_dependences(
    memberships: Float[np.ndarray, "images states"],
    nuisances: Mapping[str, Float[np.ndarray, "images features"] | Int[np.ndarray, " images"]],
    numbers: Numbers = None,
) -> list[Dependence]:
    """Test of shares against view directions and other nuisances.

    If latents and their uncertainties are right, the mean membership of images is the share of
    the state from wherever they were seen. Σ_i (r_ik − p_k) f(v_i) is compared with its spread
    for the features f of a nuisance; the test is the χ² of them all (a score test).

    Args:
        memberships: r_ik, see :class:`Shares`.
        nuisances: Features by name; groups, as whole numbers, are left out.
        numbers: Number of the different particle in every row; None where no particle is
            listed more than once.
    """
    found = []
    states = memberships.shape[1]
    for name, features in nuisances.items():
        if features.ndim != 2 or states < 2:
            continue
        basis = _whitened(features)
        left = memberships - memberships.mean(0)
        sums = left.T @ basis
        results = []
        for state in range(states):
            scores = left[:, state, None] * basis
            together = sums_over_copies(scores, numbers)
            spread = together.T @ together
            statistic = sums[state] @ np.linalg.lstsq(spread, sums[state], rcond=None)[0]
            chance = float(chi2.sf(statistic, basis.shape[1]))
            results.append((chance, state))
        chance, state = min(results)
        along = basis @ (basis.T @ left[:, state]) / len(basis)
        order, tenth = np.argsort(along), max(1, len(along) // 10)
        found.append(
            Dependence(
                nuisance=name,
                chance=min(1.0, states * chance),
                state=state,
                low=float(memberships[order[:tenth], state].mean()),
                high=float(memberships[order[-tenth:], state].mean()),
            )
        )
    return found


def dependences_in_words(found: list[Dependence]) -> str:
    """One sentence: whether poses, orientation or selection could have made the shares."""
    if not found:
        return (
            "whether shares depend on view directions or optics is not known: there were no "
            "poses of the particles"
        )
    suspected = [one for one in found if one.chance * len(found) < LEAST_CHANCE]
    if not suspected:
        names = ", ".join(one.nuisance for one in found)
        return (
            f"shares do not depend on {names}: nothing here says that poses, preferred "
            "orientations or the selection of particles made them"
        )
    worst = max(suspected, key=lambda one: one.high - one.low)
    names = ", ".join(one.nuisance for one in suspected)
    return (
        f"shares depend on {names}: that of state {worst.state} runs from {worst.low:.0%} to "
        f"{worst.high:.0%} with {worst.nuisance}, so errors of poses, preferred orientations "
        "or the selection of particles may have made them, and intervals do not hold this"
    )


def _whitened(
    features: Float[np.ndarray, "images features"],
) -> Float[np.ndarray, "images basis"]:
    """An orthonormal basis of centred features, of those that are not sums of others."""
    centred = features.astype(np.float64) - features.mean(0)
    spread = centred.std(0)
    centred = centred[:, spread > 1e-9] / spread[spread > 1e-9]
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    kept = values > 1e-6 * max(float(values[0]), 1e-300) if len(values) else values > 0
    return left[:, kept] * np.sqrt(len(centred))
