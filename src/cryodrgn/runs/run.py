"""A run of this program or of cryoDRGN: its latents, volumes, poses and plots."""

import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.devices import choose_device, choose_network_dtype
from cryodrgn.errors import ConfigError, CryodrgnError, InputFileError
from cryodrgn.io.cryodrgn_pickle import load_ctf, load_latents, load_poses
from cryodrgn.io.latent_text import load_latent_text
from cryodrgn.io.learning_curve import load_epoch_losses
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.recorded_files import (
    MEANINGS,
    files_as_recorded,
    require_particles_of_run,
)
from cryodrgn.io.run_config import find_run_config, load_run_config, rows_of_others
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.text import missing_in_words
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.decode import VolumeSource, decode_volumes
from cryodrgn.reconstruction.options import DecodingCompilation
from cryodrgn.reconstruction.trained import TrainedModel
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.epoch_records import EpochRecord, read_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cryodrgn.analysis.clusters import Clusters
    from cryodrgn.analysis.pca import PrincipalComponents

logger = logging.getLogger(__name__)

# What draws, or learns statistics, is imported where it is used: a run opens without it.


class Run:
    """The folder of a training run, opened by :func:`open_run`.

    Epochs are given by the numbers in the names of their files, which count from 0 here and
    in cryoDRGN 0.2.0, from 1 in cryoDRGN 4; None means the files without a number.

    Args:
        path: The folder.
        settings: The content of its config file.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.files = RunDirectory(path)

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent; 0 for a single structure."""
        return int(self.settings["model_args"].get("zdim") or 0)

    @property
    def box_size(self) -> int:
        """Side of the images in pixels."""
        return int(self.settings["lattice_args"]["D"]) - 1

    @cached_property
    def pixel_size(self) -> float:
        """Å/px of the images; from the CTF where the run does not say it, else 1."""
        stated = self.settings.get("training", {}).get("pixel_size")
        ctf = self._path("ctf")
        if stated:
            return float(stated)
        if ctf is None or not ctf.is_file():
            return 1.0
        _, side_lengths = load_ctf(ctf)
        return float(side_lengths[0]) / self.box_size

    def epochs(self) -> list[int]:
        """Epochs that have latents, in order."""
        return self.files.latent_epochs()

    def last_epoch(self) -> int | None:
        """The last epoch that has latents; None for the files without a number.

        Raises:
            InputFileError: The run has no results.
        """
        if self.files.latents().is_file():
            return None
        epochs = self.epochs()
        if not epochs:
            msg = f"{self.path} has no results yet"
            raise InputFileError(msg)
        return epochs[-1]

    def latents(self, epoch: int | None = None) -> Float[np.ndarray, "particles z"]:
        """Latent of every particle.

        Raises:
            InputFileError: There are none of that epoch.
            ConfigError: The run has a single structure, without latents.
        """
        if self.latent_dim == 0:
            msg = (
                f"{self.path} is a run of a single structure, without latents: look at "
                f"{self.files.reconstruction()}, there is nothing to compare"
            )
            raise ConfigError(msg)
        return load_latents(self._existing(self.files.latents(epoch), epoch))

    def convergence(self) -> list[EpochRecord]:
        """Held-out evaluation after every epoch; empty without held-out particles."""
        return read_records(self.files.convergence)

    def model(self, epoch: int | None = None) -> TrainedModel:
        """The trained model.

        Raises:
            InputFileError: There are no weights of that epoch, or they do not fit the config.
        """
        weights = self._existing(self.files.weights(epoch), epoch)
        return TrainedModel.load(weights, self.settings)

    def volume_source(
        self,
        epoch: int | None = None,
        device: str = "auto",
        compilation: DecodingCompilation = "auto",
    ) -> VolumeSource:
        """Volume source of the run's model, in the precision that is fast on the device.

        Args:
            epoch: Whose weights to use.
            device: Where to compute.
            compilation: Whether the evaluation of the model is compiled, see
                :class:`~cryodrgn.reconstruction.decode.VolumeDecoder`.
        """
        where = choose_device(device)
        dtype = choose_network_dtype(where)
        return self.model(epoch).volume_decoder(where, dtype, compilation)

    def volumes(
        self,
        latents: Float[np.ndarray, "volumes z"] | Path | str,
        epoch: int | None = None,
        *,
        box_size: int | None = None,
        device: str = "auto",
    ) -> Float[np.ndarray, "volumes box box box"]:
        """Volumes at points of the latent space.

        Args:
            latents: The points, or a text file of them.
            epoch: Whose weights to use.
            box_size: A smaller even side.
            device: Where to compute.
        """
        if isinstance(latents, Path | str):
            latents = load_latent_text(Path(latents), self.latent_dim)
        points = torch.as_tensor(np.atleast_2d(latents), dtype=torch.float32)
        source = self.volume_source(epoch, device)
        return np.stack([v.numpy() for v in decode_volumes(source, points, box_size)])

    def particles(self, poses: Path | None = None) -> ParticleSet:
        """The images with their poses and CTF, as the run was given them.

        Args:
            poses: Other poses of the run's images (.pkl).

        Raises:
            CryodrgnError: The files are no longer there, or hold other particles.
        """
        files = ParticleFiles.of_config(self.settings)
        if files is None:
            msg = f"the config of {self.path} does not say which particles it was trained on"
            raise InputFileError(msg)
        # Of tilt pairs the first images, one of each particle.
        files = replace(files, poses=poses or files.poses, tilted=None)
        given = () if poses is None else ("poses",)
        particles = open_particles(files_as_recorded(files, self._config, given))
        require_particles_of_run(self.path, particles)
        return particles

    def copies(self, count: int) -> Int[np.ndarray, " particles"] | None:
        """Number of the different particle that each latent is of, for error bars.

        None where no particle is listed more than once, or where that cannot be known because
        the particle files are gone, which is said.

        Args:
            count: Number of latents.
        """
        try:
            particles = self.particles()
        except CryodrgnError as error:
            logger.info("not known if particles are listed more than once: %s", error)
            return None
        is_told = len(particles) == count and particles.images.copies is not None
        return particles.numbers if is_told else None

    def rotations(self, epoch: int | None = None) -> Float[np.ndarray, "particles 3 3"]:
        """Orientation of every particle: refined by the run, or as it was given them.

        Raises:
            CryodrgnError: The files are no longer there.
        """
        refined = self.files.poses(epoch)
        if refined.is_file():
            found = load_poses(refined)[0]
            count = self.settings.get("training", {}).get("num_particles", len(found))
            if len(found) == count:
                return found
            # Of tilt series it has a row for every image.
            return self.particles(refined).first_images.require_poses().rotations
        return self.particles().first_images.require_poses().rotations

    @property
    def holds_all_particles(self) -> bool:
        """True if the run took all particles of its file, without ``--ind``."""
        files = ParticleFiles.of_config(self.settings)
        return files is None or files.indices is None

    def original_rows(self, count: int) -> Int[np.ndarray, " particles"]:
        """Row of every particle in the file that the run was given, before its ``--ind``.

        Args:
            count: Particles of the run.

        Raises:
            InputFileError: The index file of the run is gone, or has changed since.
        """
        files = ParticleFiles.of_config(self.settings)
        others = MEANINGS.keys() - {"indices"}
        if files is None or files.indices is None:
            return np.arange(count)
        indices = files_as_recorded(files, self._config, others).indices
        assert indices is not None
        rows = load_indices(indices)
        training = self.settings.get("training", {})
        wrong = rows_of_others(rows, {**training, "num_particles": count}, self.path)
        if wrong is not None:
            msg = (
                f"{indices} selects {wrong}: one of them has changed since the training; put "
                "back what was there then"
            )
            raise InputFileError(msg)
        return rows

    def losses(self) -> Float[np.ndarray, " epochs"]:
        """Average loss of every epoch."""
        return load_epoch_losses(self.files)

    def components(self, epoch: int | None = None) -> "PrincipalComponents":
        """Principal components of the latents."""
        from cryodrgn.analysis.pca import principal_components

        return principal_components(self.latents(epoch))

    def clusters(self, count: int = 20, epoch: int | None = None, seed: int = 0) -> "Clusters":
        """K-means clusters of the latents, with centres on particles."""
        from cryodrgn.analysis.clusters import cluster_by_means

        return cluster_by_means(self.latents(epoch), count, seed)

    def plot_learning_curve(self) -> "Figure":
        """Average loss of every epoch."""
        from cryodrgn.analysis.plots import plot_learning_curve

        return plot_learning_curve(self.losses())

    def plot_latents(self, epoch: int | None = None) -> "Figure":
        """Particles along the first two principal components."""
        from cryodrgn.analysis.latent_plots import plot_hexbin

        latents, components = self.latents(epoch), self.components(epoch)
        if len(components) < 2:
            msg = f"{self.path} has a latent of one dimension, which has no second component"
            raise ConfigError(msg)
        return plot_hexbin(components.project(latents)[:, :2], ("PC1", "PC2"))

    def plot_clusters(self, count: int = 20, epoch: int | None = None) -> "Figure":
        """K-means clusters along the first two principal components."""
        from cryodrgn.analysis.latent_plots import plot_clusters

        places = self.components(epoch).project(self.latents(epoch))[:, :2]
        clusters = self.clusters(count, epoch)
        return plot_clusters(places, clusters.labels, clusters.particles, ("PC1", "PC2"))

    def plot_view_directions(self, epoch: int | None = None) -> "Figure":
        """Distribution of the particles' viewing directions."""
        from cryodrgn.analysis.latent_plots import plot_view_directions

        return plot_view_directions(self.rotations(epoch)[:, 2])

    def _path(self, name: str) -> Path | None:
        value = self.settings.get("dataset_args", {}).get(name)
        return None if value is None else Path(value)

    @property
    def _config(self) -> Path:
        """The config file of the run."""
        return find_run_config(self.files.weights())

    def _existing(self, path: Path, epoch: int | None) -> Path:
        if path.is_file():
            return path
        wanted = "results without a number" if epoch is None else f"results of epoch {epoch}"
        there = [f"epoch {number}" for number in self.epochs()]
        if epoch is not None and self.files.latents().is_file():
            there.append("-1 for those without a number")
        found = f"there is {', '.join(there)}" if there else "it has no results at all"
        msg = f"{self.path} has no {wanted} ({path.name} is missing); {found}"
        raise InputFileError(msg)


def open_run(path: Path | str) -> Run:
    """Open the folder of a training run, of this program or of cryoDRGN.

    Raises:
        InputFileError: The folder is missing or holds no config file.
    """
    folder = Path(path)
    if not folder.exists():
        raise InputFileError(missing_in_words(folder))
    if not folder.is_dir():
        msg = f"{folder} is a file, expected the folder of a training run; give {folder.parent}"
        raise InputFileError(msg)
    run = RunDirectory(folder)
    if not run.holds_run:
        msg = f"{folder} is no folder of a training run: it has no config.yaml or config.pkl"
        raise InputFileError(msg)
    settings = load_run_config(find_run_config(run.weights()))
    if "lattice_args" not in settings:
        msg = f"the config in {folder} does not say the size of its images"
        raise InputFileError(msg)
    return Run(folder, settings)
