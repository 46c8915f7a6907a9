"""Names of the files that analyses of a run write; the only place that knows them.

Where they lie in the folder of the run, :mod:`cryodrgn.rundir` says.
"""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class VolumeSeries:
    """Volumes at some points of a latent space, and their pictures, in one folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def z_values(self) -> Path:
        """The points, one per line."""
        return self.path / "z_values.txt"

    @property
    def film(self) -> Path:
        """A moving picture of the volumes."""
        return self.path / "movie.gif"

    def volume(self, number: int) -> Path:
        """One of the volumes."""
        return self.path / f"vol_{number:03d}.mrc"

    def picture(self, number: int) -> Path:
        """Surface, slice and projection of one of the volumes."""
        return self.path / f"vol_{number:03d}.png"

    def difference(self, number: int) -> Path:
        """Difference map of the next volume and this one."""
        return self.path / f"difference_{number:03d}.png"

    def volumes(self) -> list[Path]:
        """All volumes there are, in order."""
        return sorted(self.path.glob("vol_[0-9]*.mrc"))

    def beyond(self, count: int) -> list[Path]:
        """Volumes and pictures of an earlier call, with numbers that no point has any more."""
        pattern = re.compile(r"(vol|difference)_(\d{3,})\.(mrc|png)")
        matches = (pattern.fullmatch(path.name) for path in self.path.glob("*_*"))
        return [self.path / m.group() for m in matches if m and int(m.group(2)) >= count]

    def plot(self, name: str) -> Path:
        """A plot of where the points lie, for instance on ``umap``."""
        return self.path / f"{name}.png"


@dataclass(frozen=True, slots=True)
class ClusterFiles(VolumeSeries):
    """Files of k-means clusters beside the volumes at their centres."""

    @property
    def labels(self) -> Path:
        """Cluster of every particle, from 0: the number of its volume."""
        return self.path / "labels.pkl"

    @property
    def centres(self) -> Path:
        """Latents of the particles at the centres."""
        return self.path / "centers.txt"

    @property
    def centre_particles(self) -> Path:
        """Numbers of those particles."""
        return self.path / "centers_ind.txt"

    @property
    def sizes(self) -> Path:
        """Plot of the particles in every cluster."""
        return self.path / "particles_per_cluster.png"


@dataclass(frozen=True, slots=True)
class AnalysisFiles:
    """The files of one analysis.

    Attributes:
        path: The folder that holds them.
    """

    path: Path

    @property
    def record(self) -> Path:
        """Record of an analysis: what was analysed, by which program, from which inputs."""
        return self.path / "analysis.yaml"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def notebook(self) -> Path:
        """The notebook to go on with by hand."""
        return self.path / "cryoDRGN_viz.ipynb"

    @property
    def chimerax(self) -> Path:
        """A script that opens all volumes in ChimeraX."""
        return self.path / "volumes.cxc"

    @property
    def umap(self) -> Path:
        """Coordinates of every particle in the UMAP of the latent space."""
        return self.path / "umap.pkl"

    def plot(self, name: str) -> Path:
        """One of the plots, for instance ``z_pca_hexbin``."""
        return self.path / f"{name}.png"

    def component(self, number: int) -> VolumeSeries:
        """Volumes along a principal component, counted from 1."""
        return VolumeSeries(self.path / f"pc{number}")

    def components(self) -> list[VolumeSeries]:
        """All of those there are."""
        found = sorted(self.path.glob("pc[0-9]*"), key=lambda path: int(path.name[2:]))
        return [VolumeSeries(path) for path in found]

    def clusters(self, count: int) -> ClusterFiles:
        """K-means clusters, with a volume at the centre of each."""
        return ClusterFiles(self.path / f"kmeans{count}")

    @property
    def line(self) -> VolumeSeries:
        """Volumes along a latent of one dimension."""
        return VolumeSeries(self.path)


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The files of one state of a landscape.

    Attributes:
        path: The folder of all states.
        number: The state, from 0.
    """

    path: Path
    number: int

    @property
    def labels(self) -> Path:
        """State of every volume of the sketch, from 0; one file for all states."""
        return self.path / "state_labels.pkl"

    @property
    def mean(self) -> Path:
        """Mean of the state's volumes, weighted by their particles."""
        return self.path / f"state_{self.number:03d}_mean.mrc"

    @property
    def deviation(self) -> Path:
        """Standard deviation of them."""
        return self.path / f"state_{self.number:03d}_std.mrc"

    @property
    def particles(self) -> Path:
        """The state's particles, as rows of the file that the run was given."""
        return self.path / f"state_{self.number:03d}_particle_ind.pkl"


@dataclass(frozen=True, slots=True)
class LandscapeFiles:
    """The files of one landscape of volumes.

    Attributes:
        path: The folder that holds them.
    """

    path: Path

    def sketch(self, count: int) -> ClusterFiles:
        """The clusters of particles whose volumes stand for all."""
        return ClusterFiles(self.path / f"kmeans{count}")

    def mean(self, count: int) -> Path:
        """Mean of those volumes, weighted by their particles."""
        return self.sketch(count).path / "vol_mean.mrc"

    @property
    def mask(self) -> Path:
        """The voxels that are compared."""
        return self.path / "mask.mrc"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def components(self) -> Path:
        """Mean, directions and variances of the volumes' principal components."""
        return self.path / "vol_pca.npz"

    @property
    def record(self) -> Path:
        """Record of a landscape: its settings and inputs."""
        return self.path / "landscape.yaml"

    def coordinates(self, count: int) -> Path:
        """Coordinates of the sketch's volumes along the components."""
        return self.path / f"vol_pca_{count}.pkl"

    def component(self, number: int) -> VolumeSeries:
        """Volumes along a component, counted from 1."""
        return VolumeSeries(self.path / "vol_pcs" / f"pc{number}")

    def states(self, linkage: str, count: int) -> Path:
        """The folder of the states."""
        return self.path / f"sketch_clustering_{linkage}_{count}"

    @property
    def sampled_particles(self) -> Path:
        """Particles whose volumes were made to learn the mapping."""
        return self.path / "ind.sampled.pkl"

    @property
    def sampled_latents(self) -> Path:
        """Their latents."""
        return self.path / "z.sampled.pkl"

    @property
    def sampled_coordinates(self) -> Path:
        """Coordinates of their volumes."""
        return self.path / "vol_pca_sampled.pkl"

    @property
    def all_states(self) -> Path:
        """State of every particle, from 0, by its place among the sketch's volumes."""
        return self.path / "state_labels_all.pkl"

    @property
    def all_coordinates(self) -> Path:
        """Coordinates of all particles along the volumes' components."""
        return self.path / "vol_pca_all.pkl"

    @property
    def umap(self) -> Path:
        """Map of all particles' coordinates."""
        return self.path / "umap_vol_pca.pkl"

    @property
    def communities(self) -> Path:
        """Community of every particle by its coordinates, from 1."""
        return self.path / "full_clustering" / "cluster_labels.pkl"

    @property
    def communities_map(self) -> Path:
        """A plot of the communities."""
        return self.path / "full_clustering" / "umap.png"

    @property
    def full_report(self) -> Path:
        """The page about all particles."""
        return self.path / "report_full.html"

    @property
    def density(self) -> Path:
        """Particle density along the first two components, with its bootstrap band."""
        return self.path / "particle_density.npz"

    def plot(self, name: str) -> Path:
        """One of the plots."""
        return self.path / f"{name}.png"


def component_text(folder: Path, number: int) -> Path:
    """Points of the latent space along a principal component, counted from 1."""
    return folder / f"pc{number}.txt"
