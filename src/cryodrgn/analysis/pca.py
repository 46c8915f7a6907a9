"""Principal components: the directions in which points vary most."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import ShapeMismatchError

PLANE = ("PC1", "PC2")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PrincipalComponents:
    """Directions of largest variance about the mean, in descending order.

    Attributes:
        mean: Mean of the points.
        directions: Unit vectors, one per row; the entry of largest magnitude is positive.
        variances: Variance along each direction.
        total_variance: Variance along all directions, also those that are not kept.
    """

    mean: Float[np.ndarray, " dim"]
    directions: Float[np.ndarray, "components dim"]
    variances: Float[np.ndarray, " components"]
    total_variance: float

    def __len__(self) -> int:
        return len(self.directions)

    @property
    def explained(self) -> Float[np.ndarray, " components"]:
        """Share of the total variance along each direction."""
        return self.variances / max(self.total_variance, np.finfo(np.float64).tiny)

    def project(
        self, points: Float[np.ndarray, "points dim"]
    ) -> Float[np.ndarray, "points components"]:
        """Coordinates of points along the directions, from the mean."""
        return ((points - self.mean) @ self.directions.T).astype(points.dtype)

    def restore(
        self, coordinates: Float[np.ndarray, "points components"]
    ) -> Float[np.ndarray, "points dim"]:
        """The points that have some coordinates; inverse of :meth:`project`."""
        return coordinates @ self.directions + self.mean


def principal_components(
    points: Float[np.ndarray, "points dim"], count: int | None = None
) -> PrincipalComponents:
    """Find the principal components of points.

    The eigenvectors of the smaller of covariance and Gram matrix are taken, in double
    precision, so that both many points and many dimensions are cheap.

    Args:
        points: The points, at least two.
        count: How many components to keep; None keeps all there are.

    Raises:
        ShapeMismatchError: There are fewer than two points.
    """
    number, dim = points.shape
    if number < 2:
        msg = f"principal components need at least two points, got {number}"
        raise ShapeMismatchError(msg)
    mean = points.mean(0, dtype=np.float64)
    centred = points - mean.astype(points.dtype)
    many_points = number >= dim
    matrix = _product(centred.T, centred) if many_points else _product(centred, centred.T)
    values, vectors = np.linalg.eigh(matrix / (number - 1))
    count = min(len(values) if many_points else number - 1, count or len(values))
    values, vectors = values[::-1][:count].clip(0), vectors[:, ::-1][:, :count].T
    directions = vectors if many_points else vectors.astype(points.dtype) @ centred
    directions = directions / np.maximum(np.linalg.norm(directions, axis=1), 1e-30)[:, None]
    largest = np.abs(directions).argmax(1)
    directions = directions * np.sign(directions[np.arange(count), largest])[:, None]
    return PrincipalComponents(
        mean=mean.astype(points.dtype),
        directions=directions.astype(points.dtype),
        variances=values,
        total_variance=float(np.trace(matrix) / (number - 1)),
    )


def plane_of(points: Float[np.ndarray, "points dim"]) -> Float[np.ndarray, "points 2"]:
    """Points along their first two principal components; one dimension is joined by zeros."""
    places = principal_components(points, 2).project(points)
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))


def _product(left: np.ndarray, right: np.ndarray, block: int = 65_536) -> np.ndarray:
    """A matrix product summed in double precision without a copy of the factors."""
    total = np.zeros((len(left), right.shape[1]))
    for start in range(0, left.shape[1], block):
        part = slice(start, start + block)
        total += left[:, part].astype(np.float64) @ right[part].astype(np.float64)
    return total
