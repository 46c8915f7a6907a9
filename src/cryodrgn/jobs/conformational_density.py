"""Density of conformations in a latent space, and paths of high density."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError
from cryodrgn.jobs.traversals import read_anchors
from cryodrgn.settings import SEED, Job, at_least, function_of, option, positional, settings

if TYPE_CHECKING:
    from cryodrgn.analysis.density import ConformationalDensity as Estimate

logger = logging.getLogger(__name__)


@settings
class ConformationalDensity(Job["Estimate"]):
    """Estimate how many particles are in which conformation."""

    workdir: Path = positional(help="Folder of a run")
    epoch: int | None = positional(help="Epoch of the latents (default: the last)", nargs="?")
    outdir: Path = option("-o", "--outdir", help="Output folder")
    num_dimensions: int = option(
        "--dims",
        default=2,
        metavar="N",
        check=at_least(1),
        help="The first N dimensions of the latent, at most 4",
    )
    anchors: tuple[str, str] | None = option(
        "--anchors",
        default=None,
        metavar="A",
        help="Two particles to be joined by a path of high density",
    )
    num_bootstraps: int = option(
        "--bootstraps",
        default=20,
        metavar="N",
        check=at_least(2),
        help="Bootstrap samples for the bands",
    )
    seed: int = option("--seed", default=0, check=SEED, help="Random seed")

    def run(self) -> "Estimate":
        """Estimate the density, write it as a table and a figure, and the path if asked for.

        Raises:
            ConfigError: The latent has fewer dimensions.
        """
        from cryodrgn.analysis.density import (
            conformational_density,
            density_path,
            lifted,
            write_density,
        )
        from cryodrgn.analysis.density_plots import plot_density
        from cryodrgn.analysis.plots import save_figure
        from cryodrgn.io.latent_text import save_latent_text
        from cryodrgn.linear.latents import run_latents
        from cryodrgn.rundir import DensityFiles, RunDirectory

        latents = run_latents(RunDirectory(self.workdir), self.epoch)
        anchors = None
        if self.anchors is not None:
            anchors = read_anchors(self.anchors, len(latents.mean))
        if self.num_dimensions > latents.mean.shape[1]:
            msg = (
                f"`num_dimensions` must lie between 1 and the {latents.mean.shape[1]} of the "
                f"latent, got {self.num_dimensions}"
            )
            raise ConfigError(msg)
        kept = slice(self.num_dimensions)
        columns, covariances = latents.mean[:, kept], latents.covariances
        density = conformational_density(
            columns,
            None if covariances is None else covariances[:, kept, kept],
            num_bootstraps=self.num_bootstraps,
            seed=self.seed,
        )
        files, path = DensityFiles(self.outdir), None
        write_density(files.table, density)
        if anchors is not None:
            path = density_path(density, *columns[anchors])
            points = lifted(path, latents.mean, columns, density.smoothing)
            save_latent_text(files.path_text, points)
            logger.info("wrote %d z-values along the path to %s", len(points), files.path_text)
        save_figure(plot_density(density, path), files.figure)
        logger.info("wrote the density to %s", self.outdir)
        return density


conformational_density = function_of(ConformationalDensity)
