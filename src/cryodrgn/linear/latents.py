"""Latents of a finished run, or of a file, with what is known of their uncertainty."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.counts import counted
from cryodrgn.data.config import DataConfig
from cryodrgn.errors import ConfigError, InputFileError, ShapeMismatchError
from cryodrgn.given_arrays import GivenArray, PathOrArray
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import as_array, load_latents, load_pickles, single_precision
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.io.recorded_files import (
    files_as_recorded,
    number_explained,
    require_particles_of_run,
)
from cryodrgn.io.run_config import load_run_config
from cryodrgn.particles.half_sets import halves_of
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.rundir import RunDirectory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Latents:
    """Latents of all particles of a set.

    Attributes:
        mean: The latents.
        source: Where they come from, for messages.
        covariances: Their uncertainty; None where nothing is known of it.
        half_means: Latents estimated by two models, each from one half set of the particles
            alone; None where z comes from all of them.
        contrasts: Contrast of every image; None where all are 1.
        is_linear: Whether they are of a linear run.
        num_signals: Components of it that carry signal above noise; None where nobody judged.
        run: Folder of the run whose particles they are of, all of them and in its order; None
            where that is not known, or some were chosen.
        numbers: Number of every particle among all different ones of which latents were
            estimated, which decides its half set; None where no particle was left out or listed
            more than once.
    """

    mean: Float[np.ndarray, "particles z"]
    source: str
    covariances: Float[np.ndarray, "particles z z"] | None = None
    half_means: Float[np.ndarray, "particles z"] | None = None
    contrasts: Float[np.ndarray, " particles"] | None = None
    is_linear: bool = False
    num_signals: int | None = None
    run: Path | None = None
    numbers: Int[np.ndarray, " particles"] | None = None

    def __post_init__(self) -> None:
        """Validate that latents are a table of finite numbers.

        Raises:
            InputFileError: It is empty or not finite.
        """
        if not (self.mean.ndim == 2 and self.mean.size and np.isfinite(self.mean).all()):
            msg = f"{self.source} holds no finite latents (N, z), but {self.mean.shape}"
            raise InputFileError(msg)

    @property
    def are_noise(self) -> bool:
        """True if no component carries signal, so that nothing is told apart along z."""
        return self.num_signals == 0

    def warn_of_noise(self, consequence: str) -> None:
        """Repeat that the run found no heterogeneity, if it did not, and what follows."""
        if self.are_noise:
            logger.warning(
                "%s: no component carries signal above noise: %s", self.source, consequence
            )

    def halves(self) -> tuple[Int[np.ndarray, " first"], Int[np.ndarray, " second"]]:
        """Rows of the particles of each half, in which they stay whoever is left out."""
        return halves_of(np.arange(len(self.mean)), self._all_numbers())

    def select(self, rows: Int[np.ndarray, " rows"]) -> "Latents":
        """Latents of some of the particles."""
        half_means, contrasts = self.half_means, self.contrasts
        return replace(
            self,
            mean=self.mean[rows],
            covariances=None if self.covariances is None else self.covariances[rows],
            half_means=None if half_means is None else half_means[rows],
            contrasts=None if contrasts is None else contrasts[rows],
            run=None,
            numbers=self._all_numbers()[rows],
        )

    def _all_numbers(self) -> Int[np.ndarray, " particles"]:
        return np.arange(len(self.mean)) if self.numbers is None else self.numbers

    def of_particles(self, particles: ParticleSet) -> "Latents":
        """These latents as those of a set, of which some particles may be listed repeatedly.

        Raises:
            ShapeMismatchError: The set has another number of particles.
            ConfigError: They are others than those of the run, or in another order.
        """
        self.require_particles(particles)
        if particles.images.copies is None or self.numbers is not None:
            return self
        return replace(self, numbers=particles.numbers)

    def require_particles(self, particles: ParticleSet) -> None:
        """Refuse other particles than those of the latents.

        Raises:
            ShapeMismatchError: Their number differs.
            ConfigError: They are others than those of the run, or in another order.
        """
        if len(self.mean) != len(particles):
            origin = self.run or Path(self.source)
            advice = number_explained(origin, particles) if origin.exists() else ""
            self.require_count(len(particles), particles.source, advice)
        if self.run is not None:
            require_particles_of_run(self.run, particles)

    def require_count(self, count: int, source: str, advice: str = "") -> None:
        """Refuse another number of particles.

        Args:
            count: Number of particles.
            source: Where they come from.
            advice: What to do, after a semicolon.

        Raises:
            ShapeMismatchError: The numbers differ.
        """
        if len(self.mean) != count:
            advice = advice or "; both must be of the same particles"
            msg = (
                f"{self.source} holds latents of {counted(len(self.mean), 'particle')}, but "
                f"{source} has {count}{advice}"
            )
            raise ShapeMismatchError(msg)


def run_latents(run: RunDirectory, epoch: int | None = None) -> Latents:
    """Latents that a training run wrote.

    Args:
        run: The run.
        epoch: Which epoch's; None takes the finished run's.

    Raises:
        InputFileError: They cannot be read.
    """
    path = run.latents(epoch)
    latents = replace(file_latents(path), run=run.path)
    files = run.linear
    if epoch is None and files.contrasts.exists():
        latents = replace(latents, contrasts=_read_array(files.contrasts))
    if epoch is not None or not files.covariances.exists():
        return latents
    return replace(
        latents,
        covariances=_read_array(files.covariances),
        half_means=_read_array(files.half_latents),
        is_linear=True,
        num_signals=_num_signals(run),
    )


def _num_signals(run: RunDirectory) -> int | None:
    """Components with signal of a linear run; None if it was written without the number."""
    if not run.config_yaml.exists():
        return None
    found = load_run_config(run.config_yaml).get("training", {}).get("components_with_signal")
    return None if found is None else int(found)


def file_latents(path: PathOrArray) -> Latents:
    """Latents of an array, a ``.npy`` or a ``z.pkl``, with log-variances if it holds them.

    Raises:
        InputFileError: The file cannot be read or holds something else.
    """
    if isinstance(path, GivenArray):
        return Latents(mean=load_latents(path), source=str(path))
    if path.suffix == ".npy":
        return Latents(mean=_read_array(path), source=str(path))
    mean = load_latents(path)
    parts = load_pickles(path)
    covariances = None
    if len(parts) > 1 and as_array(parts[1], path).shape == mean.shape:
        with np.errstate(over="ignore", invalid="ignore"):
            variances = np.exp(single_precision(as_array(parts[1], path)))
        covariances = np.zeros((*mean.shape, mean.shape[1]), dtype=np.float32)
        np.einsum("nii->ni", covariances)[:] = variances
    return Latents(mean=mean, covariances=covariances, source=str(path))


def recorded_data(
    settings: Mapping[str, Any], config: Path | None = None, given: Collection[str] = ()
) -> DataConfig:
    """The images that a run was trained on, out of its config file.

    Args:
        settings: What the file holds.
        config: The file, to say where a path that is gone comes from; None looks for none.
        given: Settings of files that will be taken from elsewhere.

    Raises:
        ConfigError: The config does not name them.
        InputFileError: It names a file that is gone.
    """
    files, dataset = ParticleFiles.of_config(settings), settings.get("dataset_args", {})
    if files is None:
        msg = "the config of the run names no particles; give them with `particles`"
        raise ConfigError(msg)
    own = settings.get("training", {}).get("settings", {}).get("data", {})
    norm = dataset.get("norm")
    return DataConfig(
        files=files if config is None else files_as_recorded(files, config, given),
        window_radius=dataset.get("window_r", 0.85) if dataset.get("window") else None,
        invert=bool(dataset.get("invert_data")),
        norm=None if norm is None else (float(norm[0]), float(norm[1])),
        box_size=own.get("box_size", settings.get("training", {}).get("box_size")),
    )


def _read_array(path: Path) -> np.ndarray:
    array = read_npy(path)
    if array.dtype.kind not in "biuf":
        msg = f"{path} holds no numbers, but an array of type {array.dtype}"
        raise InputFileError(msg)
    return single_precision(array)
