"""The space of volumes: what of them is compared, its components, and states in it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.hierarchy import cut_tree
from scipy.cluster.hierarchy import linkage as build_tree
from scipy.spatial.distance import squareform
from sklearn.decomposition import PCA

from cryodrgn.analysis.clusters import similarity_order
from cryodrgn.analysis.pca import PrincipalComponents
from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.io.arrays import read_npz
from cryodrgn.io.atomic import atomic_path
from cryodrgn.particles.copies import Numbers, bootstrap_weights

Linkage = Literal["average", "single", "complete", "ward"]
Volume = Float[np.ndarray, "box box box"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VolumeSpace:
    """Volumes as vectors of the densities within a mask, and their principal components.

    Negative densities count as zero. Every use of the space treats volumes alike: in finding
    the components, and in projecting other volumes on them.

    Attributes:
        mask: Weight of every voxel, from 0 to 1.
        components: Principal components of the vectors.
    """

    mask: Float[np.ndarray, "box box box"]
    components: PrincipalComponents

    def coordinates(
        self, volumes: Iterable[Volume], count: int
    ) -> Float[np.ndarray, "volumes components"]:
        """Coordinates of volumes along the components, one volume at a time.

        Args:
            volumes: The volumes.
            count: How many they are.
        """
        found = np.empty((count, len(self.components)), np.float32)
        for row, volume in enumerate(volumes):
            found[row] = self.components.project(vector_of(volume, self.mask)[None])[0]
        return found

    def change(self, number: int) -> Volume:
        """Volume of one component (counted from 1), per unit of its coordinate."""
        volume = np.zeros_like(self.mask)
        volume[self.mask > 0] = self.components.directions[number - 1]
        return volume

    def digest(self) -> str:
        """SHA-256 of all that coordinates depend on: mask, mean and directions."""
        digest = hashlib.sha256()
        for array in (self.mask, self.components.mean, self.components.directions):
            digest.update(f"{array.dtype.str} {array.shape} ".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the space as an ``.npz`` file of plain arrays."""
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                mask=self.mask,
                mean=self.components.mean,
                directions=self.components.directions,
                variances=self.components.variances,
                total_variance=self.components.total_variance,
            )

    @classmethod
    def load(cls, path: Path) -> "VolumeSpace":
        """Read a space.

        Raises:
            InputFileError: The file cannot be read or holds something else.
        """
        try:
            arrays = read_npz(path)
            components = PrincipalComponents(
                mean=arrays["mean"],
                directions=arrays["directions"],
                variances=arrays["variances"],
                total_variance=float(arrays["total_variance"]),
            )
            return cls(mask=arrays["mask"], components=components)
        except (InputFileError, TypeError, KeyError) as error:
            msg = f"{path} holds no volume space ({error}); run analyze_landscape first"
            raise InputFileError(msg) from error


def vector_of(
    volume: Volume, mask: Float[np.ndarray, "box box box"]
) -> Float[np.ndarray, " voxels"]:
    """The densities of a volume that are compared: weighted by the mask, none negative."""
    inside = mask > 0
    return np.clip(volume[inside] * mask[inside], 0, None).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class States:
    """Groups of similar volumes.

    Attributes:
        labels: State of every volume, from 0.
        count: Number of states.
    """

    labels: Int[np.ndarray, " volumes"]
    count: int

    def of_particles(
        self, volume_of_particle: Int[np.ndarray, " particles"]
    ) -> Int[np.ndarray, " particles"]:
        """State of every particle, which is that of the volume it stands by."""
        return self.labels[volume_of_particle]


def find_states(
    vectors: Float[np.ndarray, "volumes voxels"], count: int, linkage: Linkage = "average"
) -> States:
    """Agglomerative clusters of volumes, ordered so that neighbours look alike.

    Args:
        vectors: The volumes.
        count: Number of states.
        linkage: How the distance between groups is measured.

    Raises:
        ConfigError: There are fewer volumes than states.
    """
    if not 1 <= count <= len(vectors):
        msg = f"`num_states` {count} states cannot be made of {len(vectors)} volumes"
        raise ConfigError(msg)
    if count == len(vectors) or len(vectors) < 2:
        labels = np.arange(len(vectors))
    else:
        tree = build_tree(squareform(_distances(vectors), checks=False), linkage)
        labels = cut_tree(tree, n_clusters=count)[:, 0]
    means = np.stack([vectors[labels == state].mean(0) for state in range(count)])
    place = np.empty(count, np.int64)
    place[similarity_order(means)] = np.arange(count)
    return States(labels=place[labels], count=count)


def _distances(vectors: Float[np.ndarray, "volumes voxels"]) -> np.ndarray:
    """Euclidean distances by matrix products of what differs from the mean."""
    centred = vectors - vectors.mean(0)
    products = (centred @ centred.T).astype(np.float64)
    norms = np.diag(products)
    squares = norms[:, None] + norms - 2 * products
    distances = np.sqrt(squares.clip(0))
    np.fill_diagonal(distances, 0)
    return (distances + distances.T) / 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParticleDensity:
    """Particle density in a plane of the latent space, with its uncertainty by bootstrap.

    This is a density of particles as they were found, not an energy: images do not tell a
    latent exactly, so that the true density is narrower than this one.

    Attributes:
        edges: Edges of the bins along both axes, one more than there are bins.
        density: Particles per unit area, as a share of all.
        low: 5th percentile of the density over bootstrap samples of the particles.
        high: 95th percentile.
        profile_band: 5th and 95th percentile of the density along the first axis alone.
    """

    density: Float[np.ndarray, "x y"]
    edges: tuple[Float[np.ndarray, " x+1"], Float[np.ndarray, " y+1"]]
    low: Float[np.ndarray, "x y"]
    high: Float[np.ndarray, "x y"]
    profile_band: Float[np.ndarray, "2 x"]

    def supported(self) -> Bool[np.ndarray, "x y"]:
        """True where nearly every bootstrap sample has particles."""
        return self.low > 0


def particle_density(
    places: Float[np.ndarray, "particles 2"],
    *,
    bins: int = 40,
    samples: int = 200,
    seed: int = 0,
    numbers: Numbers = None,
) -> ParticleDensity:
    """Bin particles, and draw bootstrap samples of them.

    Drawing particles with replacement and binning them is to draw the bins' counts from a
    multinomial distribution.

    Args:
        places: The particles.
        bins: Bins along each axis.
        samples: Bootstrap samples.
        seed: Of the samples.
        numbers: Number of the different particle in every row, whose copies are drawn together;
            None where no particle is listed more than once.
    """
    counts, x, y = np.histogram2d(places[:, 0], places[:, 1], bins=bins)
    generator = np.random.default_rng(seed)
    if numbers is None:
        shares = counts.ravel() / counts.sum()
        drawn = generator.multinomial(len(places), shares, size=samples).astype(np.float32)
    else:
        cells = _cells(places, (x, y))
        weights = bootstrap_weights(generator, numbers, len(places), samples) * len(places)
        drawn = np.stack([np.bincount(cells, each, counts.size) for each in weights])
    width, height = x[1] - x[0], y[1] - y[0]
    along = drawn.reshape(samples, *counts.shape).sum(2) / (len(places) * width)
    low, high = np.percentile(drawn, [5, 95], axis=0).reshape(2, *counts.shape)
    unit = len(places) * width * height
    return ParticleDensity(
        edges=(x, y),
        density=counts / unit,
        low=low / unit,
        high=high / unit,
        profile_band=np.percentile(along, [5, 95], axis=0),
    )


def _cells(
    places: Float[np.ndarray, "particles 2"], edges: tuple[np.ndarray, np.ndarray]
) -> Int[np.ndarray, " particles"]:
    """Number of the bin that every particle is in; the last bin holds its upper edge, too."""
    pairs = zip(edges, places.T, strict=True)
    along = [
        (np.searchsorted(edge, own, side="right") - 1).clip(0, len(edge) - 2)
        for edge, own in pairs
    ]
    return along[0] * (len(edges[1]) - 1) + along[1]


def save_density(path: Path, density: ParticleDensity) -> None:
    """Write a particle density as an ``.npz`` file of plain arrays."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            x_edges=density.edges[0],
            y_edges=density.edges[1],
            density=density.density,
            low=density.low,
            high=density.high,
        )


def as_scikit_learn(components: PrincipalComponents, num_points: int) -> PCA:
    """The components as the object of scikit-learn that programs around cryoDRGN read.

    Args:
        components: What was found.
        num_points: Number of points in which it was found.
    """
    model = PCA(n_components=len(components))
    model.components_ = components.directions
    model.mean_ = components.mean
    model.explained_variance_ = components.variances
    model.explained_variance_ratio_ = components.explained
    model.singular_values_ = np.sqrt(components.variances * (num_points - 1))
    left_out = components.directions.shape[1] - len(components)
    rest = max(components.total_variance - float(components.variances.sum()), 0.0)
    model.noise_variance_ = rest / max(min(left_out, num_points - len(components)), 1)
    model.n_components_, model.n_samples_ = len(components), num_points
    vars(model)["n_features_in_"] = components.directions.shape[1]
    return model
