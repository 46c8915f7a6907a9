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
import torch
from jaxtyping import Float

# Half of the angle T of the arcs that are tried, in degrees.
HALF_ANGLES = (60, 90, 120, 150, 180)
POINTS = 48
ITERATIONS = 60
# Change of the mean log-likelihood of an image at which the fit ends.
TOLERANCE = 1e-5
# Width ε of the beginning, and the least one, as shares of the spread of the latents.
FIRST_WIDTH, LEAST_WIDTH = 0.2, 0.02
# The products of 1, cos t and sin t as sums of 1, cos t, sin t, cos² t and cos t sin t.
PRODUCTS = np.array(
    [
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]],
        [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]],
        [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, -1, 0]],
    ],
    dtype=np.float64,
)


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
    basis = _basis(half_angle * middles)
    widths, directions = np.linalg.eigh(blurs)
    curve, spread = _beginning(data), float(data.var(0).mean())
    square, before = FIRST_WIDTH**2 * spread, -np.inf
    found = curve, square
    for _ in range(ITERATIONS):
        precisions = _with_values(1 / (widths + square), directions)
        form = _SquaredDistances.of(data, precisions, curve)
        # Points by images: a maximum over rows is taken several times as fast as over columns.
        logarithms = basis.T @ (form.factors.T / -2)
        highest = logarithms.max(0)
        logarithms -= highest
        # NumPy takes twice as long for it on processors without AVX-512.
        sums, *others = basis @ torch.from_numpy(logarithms).exp_().numpy()
        norms = form.constant + np.log(2 * np.pi * (widths + square)).sum(1)
        likelihood = float((highest + np.log(sums / POINTS)).mean() - norms.mean() / 2)
        if likelihood - before < TOLERANCE:
            break
        before, found = likelihood, (curve, square)
        means = np.stack([np.ones(count), *(other / sums for other in others)], axis=1)
        # Of the way from the curve: its square given the image, and what is not known of it.
        pulled = _SquaredDistances.of(data, precisions @ precisions, curve)
        known = square**2 * pulled.total(means)
        unknown = count * dimensions * square - square**2 * np.einsum("nii->", precisions)
        curve = _updated(data, precisions, means)
        square = max(float(known + unknown) / (count * dimensions), LEAST_WIDTH**2 * spread)
    return EvenMotion(
        curve=found[0],
        half_angle=half_angle,
        width=float(np.sqrt(found[1])),
        log_likelihood=num_particles * before,
        num_particles=num_particles,
    )


def _basis(angles: Float[np.ndarray, " points"]) -> Float[np.ndarray, "5 points"]:
    """1, cos t, sin t, cos² t and cos t sin t."""
    cosines, sines = np.cos(angles), np.sin(angles)
    return np.stack([np.ones_like(angles), cosines, sines, cosines**2, cosines * sines])


def _beginning(data: Float[np.ndarray, "images dim"]) -> Float[np.ndarray, "3 dim"]:
    """A straight line along the direction in which latents spread most, a little bent."""
    centred = data - data.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    lengths = values / np.sqrt(len(data))
    bend = np.zeros(data.shape[1]) if len(values) == 1 else lengths[1] * directions[1] / 2
    return np.stack([data.mean(0) - bend / 2, bend, np.sqrt(2) * lengths[0] * directions[0]])


def _with_values(
    values: Float[np.ndarray, "images dim"], directions: Float[np.ndarray, "images dim dim"]
) -> Float[np.ndarray, "images dim dim"]:
    """Symmetric matrices of given eigenvalues and eigenvectors."""
    return (directions * values[:, None]) @ directions.transpose(0, 2, 1)


@dataclass(frozen=True, slots=True, eq=False)
class _SquaredDistances:
    """(x_i − γ)ᵀ M_i (x_i − γ) of images and points γ = c + a cos t + b sin t of a curve.

    Attributes:
        constant: x_iᵀ M_i x_i.
        factors: Of the functions of the basis.
    """

    constant: Float[np.ndarray, " images"]
    factors: Float[np.ndarray, "images 5"]

    @classmethod
    def of(
        cls,
        data: Float[np.ndarray, "images dim"],
        matrices: Float[np.ndarray, "images dim dim"],
        curve: Float[np.ndarray, "3 dim"],
    ) -> "_SquaredDistances":
        """The distances by matrices M."""
        turned = (matrices @ data[..., None])[..., 0]
        products = np.einsum("jc,kd,jkf->cdf", curve, curve, PRODUCTS)
        factors = matrices.reshape(len(data), -1) @ products.reshape(-1, 5)
        factors[:, :3] -= 2 * turned @ curve.T
        return cls((turned * data).sum(1), factors)

    def total(self, means: Float[np.ndarray, "images 5"]) -> float:
        """Their sum over images, given means of the functions of the basis."""
        return float(self.constant.sum() + np.vdot(self.factors, means))


def _updated(
    data: Float[np.ndarray, "images dim"],
    precisions: Float[np.ndarray, "images dim dim"],
    means: Float[np.ndarray, "images 5"],
) -> Float[np.ndarray, "3 dim"]:
    """Coefficients of the curve by weighted least squares, given means of the basis."""
    count, dimensions = data.shape
    size = 3 * dimensions
    sums = (means.T @ precisions.reshape(count, -1)).reshape(5, dimensions, dimensions)
    left = np.einsum("jkf,fcd->jckd", PRODUCTS, sums).reshape(size, size)
    right = means[:, :3].T @ (precisions @ data[..., None])[..., 0]
    return np.linalg.lstsq(left, right.ravel(), rcond=None)[0].reshape(3, dimensions)
