"""Smooth functions on a cloud of points: eigenfunctions of diffusion over its neighbours."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import LinearOperator, eigsh

from cryodrgn.analysis.neighbours import nearest_neighbours
from cryodrgn.errors import ShapeMismatchError

NUM_NEIGHBOURS = 30
MOST_LANDMARKS = 20_000
# Variance of a posterior below which a direction is not stretched any further.
LEAST_VARIANCE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DiffusionMap:
    """Functions known at landmarks, in descending order of smoothness.

    Attributes:
        metric: Matrix that points are multiplied with (from the right) before distances are
            taken.
        landmarks: The landmarks, multiplied with it.
        values: Each function divided by its eigenvalue.
        scales: Distance of each landmark from its last neighbour.
        densities: Sum of each landmark's weights.
        num_neighbours: Landmarks that a point is compared with.
    """

    metric: Float[np.ndarray, "z z"]
    landmarks: Float[np.ndarray, "landmarks z"]
    values: Float[np.ndarray, "landmarks functions"]
    scales: Float[np.ndarray, " landmarks"]
    densities: Float[np.ndarray, " landmarks"]
    num_neighbours: int = NUM_NEIGHBOURS


def diffusion_map(
    latents: Float[np.ndarray, "particles z"],
    num_functions: int,
    *,
    covariance: Float[np.ndarray, "z z"] | None = None,
    seed: int = 0,
) -> DiffusionMap:
    """Eigenfunctions of a random walk between neighbours that does not feel their density.

    With weights w = exp(−2 d² / (e_i e_j)) between neighbours, e being the distance to the last
    of 30, divided by the densities of both ends (Coifman & Lafon 2006, α = 1).

    Args:
        latents: The points; up to 20,000 of them, chosen at random, become landmarks.
        num_functions: How many functions, the constant not counted.
        covariance: Typical uncertainty of a point. Distances are then counted in units of it,
            so that what the images do not tell apart is taken for near.
        seed: Of the choice of landmarks and of the eigensolver.

    Raises:
        ShapeMismatchError: There are too few points for so many functions.
    """
    count = min(len(latents), MOST_LANDMARKS)
    if count <= max(NUM_NEIGHBOURS, 2 * num_functions):
        msg = (
            f"{num_functions} smooth functions need more than "
            f"{max(NUM_NEIGHBOURS, 2 * num_functions)} particles, got {count}"
        )
        raise ShapeMismatchError(msg)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(latents), count, replace=False))
    metric = _metric(latents, covariance)
    landmarks = (latents[chosen] @ metric).astype(np.float32)
    graph, scales = _neighbour_graph(landmarks)
    densities = np.asarray(graph.sum(1)).ravel()
    walk = diags(1 / densities) @ graph @ diags(1 / densities)
    eigenvalues, functions = _smoothest(walk, num_functions, rng)
    values = functions / np.maximum(eigenvalues, 0.05)
    return DiffusionMap(
        metric=metric.astype(np.float32),
        landmarks=landmarks,
        values=values.astype(np.float32),
        scales=scales.astype(np.float32),
        densities=densities.astype(np.float32),
    )


def _neighbour_graph(
    points: Float[np.ndarray, "points z"],
) -> tuple[csr_matrix, Float[np.ndarray, " points"]]:
    """Weights between neighbours, and the distance of each point from its last one."""
    count = len(points)
    distances, neighbours = nearest_neighbours(points, NUM_NEIGHBOURS)
    scales = np.maximum(distances[:, -1], 1e-12)
    weights = np.exp(-2 * distances**2 / (scales[:, None] * scales[neighbours]))
    rows = np.repeat(np.arange(count), NUM_NEIGHBOURS)
    directed = csr_matrix((weights.ravel(), (rows, neighbours.ravel())), (count, count))
    return (directed + directed.T) / 2, scales


def _smoothest(
    walk: csr_matrix, num_functions: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " functions"], Float[np.ndarray, "points functions"]]:
    """Eigenvalues of a random walk in descending order, and eigenfunctions of unit spread."""
    degrees = np.asarray(walk.sum(1)).ravel()
    root = diags(degrees**-0.5)
    symmetric = root @ walk @ root
    # The constant is an eigenvector of eigenvalue 1, as is any constant on a separate part of
    # the cloud: it is taken out by name, not by its place in the order.
    constant = np.sqrt(degrees / degrees.sum())

    def without_constant(vector: np.ndarray) -> np.ndarray:
        vector = vector.ravel()
        return symmetric @ vector - constant * (constant @ vector)

    operator = LinearOperator(walk.shape, without_constant)
    start = rng.uniform(0.5, 1.5, len(degrees))
    eigenvalues, vectors = eigsh(operator, num_functions, which="LA", v0=start)
    order = np.argsort(-eigenvalues)
    functions = vectors[:, order] / np.sqrt(degrees)[:, None]
    return eigenvalues[order], functions / functions.std(0)


def _metric(
    latents: Float[np.ndarray, "particles z"], covariance: Float[np.ndarray, "z z"] | None
) -> Float[np.ndarray, "z z"]:
    """The square root of the inverse covariance; the scale of the points without one."""
    if covariance is None:
        return np.eye(latents.shape[1]) / max(float(latents.std()), 1e-12)
    variances, directions = np.linalg.eigh(covariance.astype(np.float64))
    floor = LEAST_VARIANCE * variances.max()
    return directions / np.sqrt(np.maximum(variances, floor)) @ directions.T
