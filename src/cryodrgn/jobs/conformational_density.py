"""Density of conformations in a latent space, and paths of high density."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError, CryodrgnError
from cryodrgn.given_arrays import PathOrArray
from cryodrgn.jobs.traversals import read_anchors
from cryodrgn.settings import (
    Job,
    SeedOptions,
    at_least,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.analysis.density import ConformationalDensity as Estimate
    from cryodrgn.analysis.stable_states import StableStates
    from cryodrgn.linear.latents import Latents
    from cryodrgn.particles.copies import Numbers
    from cryodrgn.rundir import DensityFiles, RunDirectory

logger = logging.getLogger(__name__)

NOISE = "no component carries signal above noise: the density is that of noise"


@settings
class ConformationalDensity(Job["Estimate"]):
    """Estimate how many particles are in which conformation."""

    workdir: Path = positional(help="Folder of a run")
    epoch: int | None = positional(
        check=at_least(0), help="Epoch of the latents (default: the last)", nargs="?"
    )
    outdir: Path = option("-o", "--outdir", help="Output folder")
    num_dimensions: int = option(
        "--dims",
        default=2,
        metavar="N",
        check=at_least(1),
        help="The first N dimensions of the latent, at most 4",
        default_words="2, or 1 of a latent of one dimension",
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
    labels: PathOrArray | None = option(
        "--labels",
        default=None,
        metavar="FILE",
        help="Clusters of the particles (.pkl or .npy), whose shares are estimated, too",
    )
    seed: int = same_as(SeedOptions, "seed")

    def run(self) -> "Estimate":
        """Estimate the density and its stable states, and write them as tables and a figure.

        Raises:
            ConfigError: The latent has fewer dimensions, or labels are of other particles.
        """
        from cryodrgn.analysis.density import (
            conformational_density,
            density_path,
            lifted,
            write_density,
        )
        from cryodrgn.analysis.density_plots import plot_density
        from cryodrgn.analysis.plots import save_figure
        from cryodrgn.analysis.stable_states import stable_states
        from cryodrgn.io.latent_text import save_latent_text
        from cryodrgn.linear.latents import run_latents
        from cryodrgn.rundir import DensityFiles, RunDirectory

        work = RunDirectory(self.workdir)
        latents = run_latents(work, self.epoch)
        labels = None if self.labels is None else _labels(self.labels, len(latents.mean))
        anchors = None
        if self.anchors is not None:
            anchors = _ends(self.anchors, len(latents.mean))
        kept = self._kept(latents)
        if kept.stop < self.num_dimensions:
            logger.info("the latent has one dimension, and the density is that of it")
        columns, covariances = latents.mean[:, kept], latents.covariances
        remark = NOISE if latents.are_noise else ""
        latents.warn_of_noise("the density is that of noise")
        numbers = _copies(self.workdir, len(columns))
        density = conformational_density(
            columns,
            None if covariances is None else covariances[:, kept, kept],
            num_bootstraps=self.num_bootstraps,
            seed=self.seed,
            numbers=numbers,
        )
        files, path = DensityFiles(self.outdir), None
        write_density(files.table, density)
        if anchors is not None:
            path = density_path(density, *columns[anchors])
            points = lifted(path, latents.mean, columns, density.smoothing)
            save_latent_text(files.path_text, points)
            logger.info("wrote %d z-values along the path to %s", len(points), files.path_text)
        found = stable_states(density, latents.mean, covariances, self.seed, numbers)
        _write_states(files, found, remark)
        if labels is not None:
            self._write_clusters(files.clusters, latents, labels, numbers)
        if len(found.states) > 1:
            self._judge(work, latents, found)
        save_figure(plot_density(density, path, found.states), files.figure)
        logger.info("wrote the density and its stable states to %s", self.outdir)
        return density

    def _kept(self, latents: "Latents") -> slice:
        """The dimensions of the density.

        Raises:
            ConfigError: The latent has fewer than were asked for.
        """
        there = latents.mean.shape[1]
        if self.num_dimensions > there and "num_dimensions" in self.given:
            msg = (
                f"`num_dimensions` must be at most {there}, the dimensions of the latent, got "
                f"{self.num_dimensions}"
            )
            raise ConfigError(msg)
        return slice(min(self.num_dimensions, there))

    def _write_clusters(
        self,
        path: Path,
        latents: "Latents",
        labels: "np.ndarray",
        numbers: "np.ndarray | None",
    ) -> None:
        """Shares of given clusters, under their own numbers, in these dimensions."""
        import numpy as np

        from cryodrgn.analysis.shares import write_shares
        from cryodrgn.analysis.stable_states import cluster_shares

        kept, doubt = self._kept(latents), latents.covariances
        part = None if doubt is None else doubt[:, kept, kept]
        shares = cluster_shares(latents.mean[:, kept], part, labels, numbers)
        names = np.unique(labels).tolist()
        for name, words in zip(names, shares.in_words(), strict=False):
            logger.info("cluster %d: %s", name, words)
        write_shares(path, shares, names)

    def _judge(self, work: "RunDirectory", latents: "Latents", found: "StableStates") -> None:
        """Say whether shares depend on view directions and other nuisances."""
        from cryodrgn.analysis.shares import dependences_in_words, share_dependences
        from cryodrgn.diagnosis.nuisance import nuisances_of
        from cryodrgn.io.run_config import find_run_config, load_run_config
        from cryodrgn.linear.latents import recorded_data

        try:
            config = find_run_config(work.weights(self.epoch))
            particles = recorded_data(load_run_config(config), config).open()
            latents.require_particles(particles)
            if len(found.rows) < len(particles):
                particles = particles.select(found.rows)
            nuisances = nuisances_of(particles, {})
        except CryodrgnError as error:
            logger.info("not tested against view directions: %s", error)
            return
        copies = None if particles.images.copies is None else particles.numbers
        dependences = share_dependences(found.shares.memberships, nuisances, copies)
        logger.info("%s", dependences_in_words(dependences))


def _copies(workdir: Path, count: int) -> "Numbers":
    """Numbers of the different particles of a run; None where its particles are not known."""
    from cryodrgn.runs.run import open_run

    try:
        return open_run(workdir).copies(count)
    except CryodrgnError as error:
        logger.info("all particles are taken for different: %s", error)
        return None


def _write_states(files: "DensityFiles", found: "StableStates", remark: str) -> None:
    """Write the stable states, and say what they are."""
    from cryodrgn.analysis.stable_states import write_stable_states
    from cryodrgn.io.latent_text import save_latent_text

    write_stable_states(files.states, found, remark)
    save_latent_text(files.states_text, found.latents())
    for number, state in enumerate(found.states):
        logger.info("state %d: %s", number, state.in_words())
    for sentence in found.in_words():
        logger.info("%s", sentence)
    if not found.states:
        logger.warning("no stable state: every maximum lies beyond all particles")


def _labels(source: PathOrArray, count: int) -> "np.ndarray":
    """Cluster of every particle.

    Raises:
        InputFileError: They are no whole numbers.
        ConfigError: They are of another number of particles.
    """
    from cryodrgn.io.cryodrgn_pickle import load_labels

    labels = load_labels(source)
    if len(labels) != count:
        msg = (
            f"{source} holds {len(labels)} labels, expected the cluster of each of the "
            f"{count} particles"
        )
        raise ConfigError(msg)
    return labels


def _ends(words: tuple[str, str], count: int) -> list[int]:
    """The two particles that a path joins.

    Raises:
        CryodrgnError: They are not two different particles.
    """
    ends = read_anchors(words, count)
    if len(ends) != 2 or ends[0] == ends[1]:
        listed = ", ".join(map(str, ends[:5])) + (", …" if len(ends) > 5 else "")
        msg = f"`anchors` must name two different particles, got {listed}"
        raise ConfigError(msg)
    return ends


conformational_density = function_of(ConformationalDensity)
