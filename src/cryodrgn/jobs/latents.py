"""Latents of a run divided into clusters, and mapped into the plane."""

import logging
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.jobs.options import (
    PICKLE_ENDINGS,
    output_flags,
    require_ending,
)
from cryodrgn.jobs.tool_options import save_picture
from cryodrgn.settings import (
    POSITIVE,
    Job,
    SeedOptions,
    Settings,
    at_least,
    function_of,
    option,
    positional,
    settings,
)

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.analysis.clusters import Clusters

logger = logging.getLogger(__name__)


@settings
class LatentInput(Settings):
    """Latents, all of them or every n-th."""

    latents: Path = positional(metavar="z", help="Latent of every particle (z.pkl)")
    stride: int = option(
        "--stride",
        default=1,
        metavar="N",
        check=at_least(1),
        help="Take every N-th particle only",
        default_words="all",
    )

    def read(self) -> "np.ndarray":
        """The latents of the particles that are taken.

        Raises:
            ConfigError: They are fewer than two.
        """
        from cryodrgn.io.cryodrgn_pickle import load_latents

        latents = load_latents(self.latents)[:: self.stride]
        if len(latents) < 2:
            msg = (
                f"{self.latents} has {len(latents)} particles at `stride` {self.stride}, two "
                "are needed"
            )
            raise ConfigError(msg)
        return latents


@settings
class Kmeans(SeedOptions, LatentInput, Job["Clusters"]):
    """Divide particles into clusters of their latents."""

    num_clusters: int = option("-k", check=at_least(1), help="Number of clusters")
    output: Path = option(
        *output_flags("pkl"),
        metavar="PKL",
        help="Cluster of every particle, from 0 (labels.pkl)",
    )
    picture: Path | None = option(
        "--out-png",
        default=None,
        metavar="PNG",
        help="Picture of the clusters along PC1 and PC2",
    )
    output_centres: Path | None = option(
        "--out-k",
        default=None,
        metavar="TXT",
        help="Centres of the clusters as text, for eval_vol --zfile",
    )
    output_particles: Path | None = option(
        "--out-k-ind",
        default=None,
        metavar="TXT",
        help="Rows of the particles nearest to the means of the clusters, as text",
    )
    on_data: bool = option(
        "--on-data",
        default=False,
        help="Use the particle nearest to the mean of a cluster as its centre",
    )

    def run(self) -> "Clusters":
        """Find the clusters, which are returned, and write what is asked for."""
        from cryodrgn.analysis.clusters import cluster_by_means
        from cryodrgn.io.cryodrgn_pickle import save_pickles
        from cryodrgn.io.latent_text import save_index_text, save_latent_text

        require_ending(self.output, PICKLE_ENDINGS, "output")
        latents = self.read()
        clusters = cluster_by_means(latents, self.num_clusters, self.seed)
        save_pickles(self.output, [clusters.labels])
        logger.info("wrote %s to %s", counted(self.num_clusters, "cluster"), self.output)
        if self.stride > 1:
            logger.warning(
                "labels are those of every %d. particle (`stride`): row i of %s is particle "
                "%d i, and so are rows that select_clusters makes of it",
                self.stride,
                self.output,
                self.stride,
            )
        for number, size in enumerate(clusters.sizes.tolist()):
            logger.info("cluster %d: %d particles", number, size)
        if self.output_centres is not None:
            centres = clusters.centres if self.on_data else clusters.means(latents)
            save_latent_text(self.output_centres, centres)
            logger.info("wrote their centres to %s", self.output_centres)
        if self.output_particles is not None:
            save_index_text(self.output_particles, self.stride * clusters.particles)
            logger.info("wrote their particles to %s", self.output_particles)
        if self.picture is not None:
            from cryodrgn.analysis.latent_plots import plot_clusters
            from cryodrgn.analysis.pca import PLANE, plane_of

            places = plane_of(latents)
            figure = plot_clusters(places, clusters.labels, clusters.particles, PLANE)
            save_picture(figure, self.picture)
        return clusters


@settings
class MapOptions(SeedOptions, LatentInput, Job["np.ndarray"]):
    """Map of latents into the plane, whatever the method.

    Attributes:
        axes: Names of its axes.
    """

    axes: ClassVar[tuple[str, str]]
    show: bool = option(
        "--show", default=False, help="Also draw the map, as a picture beside the output"
    )
    output: Path = option(
        *output_flags("pkl"), metavar="PKL", help="Coordinates in the UMAP (.pkl)"
    )

    @abstractmethod
    def places_of(self, latents: "np.ndarray") -> "np.ndarray":
        """The place of every particle on the map."""

    def run(self) -> "np.ndarray":
        """Write the map, and draw it if asked to; returns the places."""
        from cryodrgn.io.cryodrgn_pickle import save_pickles

        require_ending(self.output, PICKLE_ENDINGS, "output")
        places = self.places_of(self.read())
        save_pickles(self.output, [places])
        logger.info("wrote %d places to %s", len(places), self.output)
        if self.show:
            from cryodrgn.analysis.marginal_plots import plot_marginals

            save_picture(plot_marginals(places, self.axes), self.output.with_suffix(".png"))
        return places


@settings
class RunUmap(MapOptions):
    """Map a latent into the plane by UMAP."""

    axes = ("UMAP 1", "UMAP 2")

    def places_of(self, latents: "np.ndarray") -> "np.ndarray":
        """The place of every particle on the map."""
        from cryodrgn.analysis.embedding import umap_embedding

        return umap_embedding(latents, self.seed)


@settings
class Tsne(MapOptions):
    """Map a latent into the plane by t-SNE."""

    axes = ("t-SNE 1", "t-SNE 2")
    perplexity: float = option(
        "-p",
        "--perplexity",
        default=1000.0,
        check=POSITIVE,
        help="Approximate number of neighbours",
        default_words="1000, or a third of the particles",
    )

    def places_of(self, latents: "np.ndarray") -> "np.ndarray":
        """The place of every particle on the map."""
        from cryodrgn.analysis.embedding import tsne_embedding

        return tsne_embedding(latents, self.perplexity, self.seed)


kmeans = function_of(Kmeans)
run_umap = function_of(RunUmap)
tsne = function_of(Tsne)
