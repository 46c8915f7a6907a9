"""Clusters of particles, and a particle at the centre of each."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError, MissingDependencyError

try:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from sklearn.cluster import KMeans
except ImportError as error:
    message = "clusters need scikit-learn; install it with: pip install 'cryodrgn[analysis]'"
    raise MissingDependencyError(message) from error

# Many clusters are a sketch of the particles, for which one start is as good as the best.
STARTS = 10
FEW = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clusters:
    """A partition of particles.

    Attributes:
        labels: Cluster of every particle, from 0.
        particles: For every cluster, the particle of it that is nearest to its mean.
        centres: Where those particles are.
    """

    labels: Int[np.ndarray, " particles"]
    particles: Int[np.ndarray, " clusters"]
    centres: Float[np.ndarray, "clusters z"]

    @property
    def sizes(self) -> Int[np.ndarray, " clusters"]:
        """Particles in every cluster."""
        return np.bincount(self.labels, minlength=len(self.particles))

    def means(
        self, latents: Float[np.ndarray, "particles z"]
    ) -> Float[np.ndarray, "clusters z"]:
        """Mean latent of every cluster, between particles rather than on one."""
        sums = np.zeros((len(self.particles), latents.shape[1]))
        np.add.at(sums, self.labels, latents)
        return (sums / self.sizes[:, None]).astype(np.float32)


def cluster_by_means(
    latents: Float[np.ndarray, "particles z"], count: int, seed: int = 0
) -> Clusters:
    """K-means, with centres on particles and an order in which neighbours look alike.

    The order is that of the leaves of the tree of average linkage between the centres.

    Args:
        latents: The particles.
        count: Number of clusters.
        seed: Of the random starts; of few clusters the best of ten is taken.

    Raises:
        ConfigError: There are fewer different particles than clusters, or no cluster at all,
            or part of one.
    """
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        msg = f"the number of clusters must be a whole number of at least 1, got {count!r}"
        raise ConfigError(msg)
    count = int(count)
    # The first particles are mostly enough to tell, and all of them take long to sort.
    if len(np.unique(latents[: 100 * count], axis=0)) < count:
        different = len(np.unique(latents, axis=0))
    else:
        different = count
    if different < count:
        raise ConfigError(_too_few(count, different, len(latents)))
    starts: Any = STARTS if count <= FEW else 1
    means = KMeans(count, n_init=starts, random_state=seed).fit(latents)
    labels = np.asarray(means.labels_, dtype=np.int64)
    # Latents that differ by less than their squares can hold fall into one cluster.
    if len(np.unique(labels)) < count:
        raise ConfigError(_too_few(count, len(np.unique(labels)), len(latents)))
    distances = np.linalg.norm(latents - means.cluster_centers_[labels], axis=1)
    by_cluster = np.lexsort([distances, labels])
    nearest = by_cluster[np.searchsorted(labels[by_cluster], np.arange(count))]
    order = similarity_order(latents[nearest])
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    return Clusters(
        labels=place[labels], particles=nearest[order], centres=latents[nearest[order]]
    )


def _too_few(count: int, different: int, particles: int) -> str:
    return (
        f"{count} clusters need as many different latents, but there are {different} among "
        f"{particles} particles; ask for fewer clusters"
    )


def similarity_order(points: Float[np.ndarray, "points dim"]) -> Int[np.ndarray, " points"]:
    """An order of points in which neighbours are near one another."""
    if len(points) < 3:
        return np.arange(len(points))
    tree = linkage(points.astype(np.float64), "average", optimal_ordering=True)
    return leaves_list(tree).astype(np.int64)
