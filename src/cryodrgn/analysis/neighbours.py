"""Nearest neighbours among points, exact."""

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.progress import Progress

try:
    from sklearn.neighbors import NearestNeighbors
except ImportError as error:
    from cryodrgn.errors import MissingDependencyError

    message = "this needs scikit-learn; install it with: pip install 'cryodrgn[analysis]'"
    raise MissingDependencyError(message) from error

# Beyond this many dimensions a tree visits nearly all points, and plain products are faster.
TREE_DIMENSIONS = 15
QUERIES_PER_BLOCK = 20_000


def nearest_neighbours(
    points: Float[np.ndarray, "particles dim"],
    count: int,
    queries: Float[np.ndarray, "queries dim"] | None = None,
    *,
    block: int = QUERIES_PER_BLOCK,
) -> tuple[Float[np.ndarray, "queries count"], Int[np.ndarray, "queries count"]]:
    """The nearest points to each of some places, by Euclidean distance.

    Memory beside the result is bounded: places are looked up block by block.

    Args:
        points: Where the neighbours are.
        count: How many to find for each place.
        queries: The places; None means the points themselves, each of which is then its own
            first neighbour, at distance 0.
        block: Places looked up at a time.

    Returns:
        Distances in ascending order, and the neighbours' row numbers.

    Raises:
        ShapeMismatchError: There are fewer points than neighbours asked for.
    """
    if not 0 < count <= len(points):
        msg = f"{count} neighbours cannot be found among {len(points)} points"
        raise ShapeMismatchError(msg)
    places = points if queries is None else queries
    algorithm = "kd_tree" if points.shape[1] <= TREE_DIMENSIONS else "brute"
    index = NearestNeighbors(n_neighbors=count, algorithm=algorithm, n_jobs=-1).fit(points)
    distances = np.empty((len(places), count), np.float32)
    indices = np.empty((len(places), count), np.int64)
    with Progress(len(places), "finding neighbours", "point") as progress:
        for start in range(0, len(places), block):
            rows = slice(start, start + block)
            distances[rows], indices[rows] = index.kneighbors(places[rows])
            progress.advance(len(places[rows]))
    return distances, indices
