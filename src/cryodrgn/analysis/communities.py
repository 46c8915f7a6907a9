"""Communities of particles: groups that are denser inside than between (Traag et al. 2019)."""

import logging
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.analysis.embedding import umap_library
from cryodrgn.analysis.neighbours import nearest_neighbours
from cryodrgn.errors import MissingDependencyError

try:
    leiden: Any = import_module("graspologic_native")
except ImportError as error:
    message = (
        "communities need graspologic-native; install it with: pip install 'cryodrgn[analysis]'"
    )
    raise MissingDependencyError(message) from error

logger = logging.getLogger(__name__)


def find_communities(
    points: Float[np.ndarray, "particles dim"],
    *,
    num_neighbours: int = 50,
    resolution: float = 1.5,
    seed: int = 0,
) -> Int[np.ndarray, " particles"]:
    """The Leiden partition of the graph that UMAP makes of each point's nearest neighbours.

    Unlike k-means it is not told how many groups there are, and they may have any shape.

    Args:
        points: The particles.
        num_neighbours: Of each particle in the graph, itself among them.
        resolution: Of the modularity (Newman's); larger values make more and smaller groups.
        seed: Of the order in which particles are moved.

    Returns:
        Community of every particle, from 0, the largest first.

    Raises:
        MissingDependencyError: UMAP or graspologic-native are not installed.
    """
    umap = umap_library()
    count = min(num_neighbours, len(points))
    distances, indices = nearest_neighbours(points, count)
    graph = umap.umap_.fuzzy_simplicial_set(
        points, count, np.random.RandomState(seed), "euclidean", {}, indices, distances
    )[0].tocsr()
    logger.info("looking for communities of %d particles", len(points))
    _, found = leiden.leiden_csr(
        graph.indptr.astype(np.int64),
        graph.indices.astype(np.int32),
        graph.data.astype(np.float64),
        len(points),
        resolution=resolution,
        seed=seed,
    )
    labels = np.fromiter((found[n] for n in range(len(points))), np.int64, len(points))
    place = np.argsort(np.argsort(-np.bincount(labels), kind="stable"))
    return place[labels]
