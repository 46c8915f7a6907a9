"""Nearest neighbours among points, exact."""

from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.progress import Progress

try:
    from scipy.spatial import KDTree
except ImportError as error:
    from cryodrgn.errors import MissingDependencyError

    message = "this needs scipy; install it with: pip install 'cryodrgn[analysis]'"
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
    find = _searcher(points, count)
    # Places near one another are looked up together, so that the cache holds their branches.
    order = find.order if queries is None else np.arange(len(places))
    distances = np.empty((len(places), count), np.float32)
    indices = np.empty((len(places), count), np.int64)
    with Progress(len(places), "finding neighbours", "point") as progress:
        for start in range(0, len(places), block):
            rows = order[start : start + block]
            distances[rows], indices[rows] = find(places[rows])
            progress.advance(len(rows))
    return distances, indices


class _Tree:
    """Search in few dimensions: scipy's tree is several times as fast as scikit-learn's."""

    def __init__(self, points: Float[np.ndarray, "particles dim"], count: int) -> None:
        self._tree = KDTree(points, leafsize=32, balanced_tree=False, compact_nodes=False)
        self._ranks: Any = np.arange(1, count + 1)
        self.order = self._tree.indices

    def __call__(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distances, indices = self._tree.query(places, self._ranks, workers=-1)
        return np.asarray(distances), np.asarray(indices)


class _Products:
    """Search in many dimensions, by matrix products.

    Whoever needs none of it need not wait for scikit-learn, which takes seconds to load.
    """

    def __init__(self, points: Float[np.ndarray, "particles dim"], count: int) -> None:
        kind = import_module("sklearn.neighbors").NearestNeighbors
        self._index: Any = kind(n_neighbors=count, algorithm="brute", n_jobs=-1)
        self._index.fit(points)
        self.order = np.arange(len(points))

    def __call__(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._index.kneighbors(places)


def _searcher(points: Float[np.ndarray, "particles dim"], count: int) -> _Tree | _Products:
    in_few = points.shape[1] <= TREE_DIMENSIONS
    return _Tree(points, count) if in_few else _Products(points, count)
