"""One motion at an even pace, along a curve in the latent space: what is no stable state.

A domain that turns evenly moves along a bent curve through the space of volumes, and a linear
latent shows its shadow. Where the curve bends away from the axis the shadow piles up, at both
ends of the motion for instance (arcsine law), and the density has maxima where nothing is
stable. So states have to explain the latents better than

    x_i ~ ∫ dt N(x_i; c + a cos t + b sin t, C_i + ε² 1),   t even between −T and T,

an arc of an ellipse, with the uncertainty C_i of every latent. It is fitted by
expectation–maximisation for several T.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# Half of the angle T of the arcs that are tried, in degrees.
HALF_ANGLES = (60, 90, 120, 150, 180)
POINTS = 48
ITERATIONS = 60
# Change of the mean log-likelihood of an image at which the fit ends.
TOLERANCE = 1e-5
# Width ε of the beginning, and the least one, as shares of the spread of the latents.
FIRST_WIDTH, LEAST_WIDTH = 0.2, 0.02


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvenMotion:
    """A motion fitted to uncertain latents.

    Attributes:
        curve: The coefficients c, a and b.
        half_angle: T in radians.
        width: ε.
        log_likelihood: Of all images.
        num_particles: Number of different particles.
    """

    curve: Float[np.ndarray, "3 dim"]
    half_angle: float
    width: float
    log_likelihood: float
    num_particles: int

    @property
    def information_criterion(self) -> float:
        """Bayesian information criterion: smaller for the better model."""
        return (self.curve.size + 2) * float(
            np.log(self.num_particles)
        ) - 2 * self.log_likelihood


def fit_even_motion(
    latents: Float[np.ndarray, "images dim"],
    blurs: Float[np.ndarray, "images dim dim"],
    num_particles: int | None = None,
) -> EvenMotion:
    """The motion under which latents are most likely.

    Args:
        latents: Measured latents, see :func:`~cryodrgn.analysis.density.measured_latents`.
        blurs: Covariances of their errors.
        num_particles: Number of different particles, of which some may be listed several
            times; None takes all for different.
    """
    data, doubt = latents.astype(np.float64), blurs.astype(np.float64)
    number = num_particles or len(data)
    fits = [_fitted(data, doubt, np.deg2rad(angle), number) for angle in HALF_ANGLES]
    return max(fits, key=lambda fit: fit.log_likelihood)


def _fitted(
    data: Float[np.ndarray, "images dim"],
    blurs: Float[np.ndarray, "images dim dim"],
    half_angle: float,
    num_particles: int,
) -> EvenMotion:
    """The motion along an arc of a given angle."""
    count, dimensions = data.shape
    middles = (np.arange(POINTS) + 0.5) / POINTS * 2 - 1
    basis = np.stack([np.ones(POINTS), *(f(half_angle * middles) for f in (np.cos, np.sin))])
    curve, spread = _beginning(data), float(data.var(0).mean())
    square, before = FIRST_WIDTH**2 * spread, -np.inf
    found = curve, square
    for _ in range(ITERATIONS):
        precisions = np.linalg.inv(blurs + square * np.eye(dimensions))
        away = data[:, None] - basis.T @ curve
        pulls = np.einsum("nij,npj->npi", precisions, away)
        logarithms = -np.einsum("npi,npi->np", pulls, away) / 2
        highest = logarithms.max(1, keepdims=True)
        weights = np.exp(logarithms - highest)
        sums = weights.sum(1, keepdims=True)
        norm = np.linalg.slogdet(precisions)[1] / 2 - dimensions * np.log(2 * np.pi) / 2
        likelihood = float((highest + np.log(sums / POINTS)).mean() + norm.mean())
        if likelihood - before < TOLERANCE:
            break
        before, weights = likelihood, weights / sums
        found = curve, square
        curve = _updated(data, precisions, weights, basis)
        # Of the way from the curve: its square given the image, and what is not known of it.
        known = np.einsum("np,npi,npi->", weights, square * pulls, square * pulls)
        unknown = count * dimensions * square - square**2 * np.einsum("nii->", precisions)
        square = max(float(known + unknown) / (count * dimensions), LEAST_WIDTH**2 * spread)
    return EvenMotion(
        curve=found[0],
        half_angle=half_angle,
        width=float(np.sqrt(found[1])),
        log_likelihood=num_particles * before,
        num_particles=num_particles,
    )


def _beginning(data: Float[np.ndarray, "images dim"]) -> Float[np.ndarray, "3 dim"]:
    """A straight line along the direction in which latents spread most, a little bent."""
    centred = data - data.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    lengths = values / np.sqrt(len(data))
    bend = np.zeros(data.shape[1]) if len(values) == 1 else lengths[1] * directions[1] / 2
    return np.stack([data.mean(0) - bend / 2, bend, np.sqrt(2) * lengths[0] * directions[0]])


def _updated(
    data: Float[np.ndarray, "images dim"],
    precisions: Float[np.ndarray, "images dim dim"],
    weights: Float[np.ndarray, "images points"],
    basis: Float[np.ndarray, "3 points"],
) -> Float[np.ndarray, "3 dim"]:
    """Coefficients of the curve by weighted least squares."""
    products = np.einsum("np,ap,bp->nab", weights, basis, basis, optimize=True)
    means = weights @ basis.T
    size = 3 * data.shape[1]
    left = np.einsum("nab,nij->aibj", products, precisions, optimize=True)
    right = np.einsum("na,nij,nj->ai", means, precisions, data, optimize=True)
    return np.linalg.lstsq(left.reshape(size, size), right.ravel(), rcond=None)[0].reshape(
        3, -1
    )
