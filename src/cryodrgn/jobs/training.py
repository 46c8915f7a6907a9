"""Training jobs: settings of a run, its start or resumption, plan, and work."""

import logging
from abc import abstractmethod
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn import compat
from cryodrgn.errors import ConfigError
from cryodrgn.jobs.architecture import LatentOptions
from cryodrgn.jobs.linear_start import LinearStartOptions
from cryodrgn.jobs.options import (
    BoxOptions,
    DataOptions,
    HeldOutOptions,
    PoseRefinementOptions,
    StorageOptions,
    TrainingOptions,
    data_config,
)
from cryodrgn.jobs.processes import joined, stop_on_signals
from cryodrgn.jobs.recipe_options import values_of_recipe
from cryodrgn.jobs.recorded_settings import (
    differences_in_options,
    given_otherwise,
    require_own_command,
    require_recorded_particles,
)
from cryodrgn.jobs.tilt_options import RandomTiltOptions
from cryodrgn.particles.options import TableOptions
from cryodrgn.settings import (
    Job,
    Settings,
    option,
    options_of,
    part_of,
    positional,
    settings,
)
from cryodrgn.training.options import PoseConfig, ReportOptions, ShuffleOptions

if TYPE_CHECKING:
    import torch

    from cryodrgn.data.config import DataConfig
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.parallel import Team
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.rundir import RunDirectory
    from cryodrgn.runs.run import Run
    from cryodrgn.training.run_config import RunConfig, TrainConfig
    from cryodrgn.training.start import Load, ResumePoint

logger = logging.getLogger(__name__)

HELD_OUT_STOP = "held_out.stop"
# Settings that say how the program is called, not what the run is.
OF_THE_CALL = frozenset(
    {
        "particles",
        "outdir",
        "datadir",
        "load",
        "verbose",
        "device",
        "multigpu",
        "deterministic",
        "overwrite",
    }
)


@settings
class FolderOptions(Settings):
    """Folder of the run, and its beginning."""

    particles: Path | None = positional(
        help="Input particles (.mrcs, .star, .cs, or .txt); not needed to resume a run",
        nargs="?",
    )
    outdir: Path = option(
        "-o", "--outdir", kw_only=False, help="Output directory to save model"
    )
    load: str | None = option(
        "--load",
        default=None,
        help="Initialize training from a checkpoint: a weights file, or 'latest' to resume "
        "the run in OUTDIR, which needs no other option, or to begin it if there is none",
    )
    overwrite: bool = option(
        "--overwrite", default=False, help="Replace the run that OUTDIR holds"
    )


@settings
class VerboseOptions(Settings):
    """Level of the log."""

    verbose: bool = option(
        "-v", "--verbose", default=False, help="Log every interval, not only every epoch"
    )


@settings
class RunOptions(ShuffleOptions, VerboseOptions, ReportOptions, FolderOptions):
    """Folder of the run, its beginning, its reports, and its seeds."""


@settings
class TrainingJob(
    TrainingOptions,
    StorageOptions,
    BoxOptions,
    DataOptions,
    TableOptions,
    RunOptions,
    Job["Run"],
):
    """A training run, whatever its model."""

    @abstractmethod
    def model(self, particles: "ParticleSet") -> "ModelConfig":
        """Settings of the model for the images of particles."""

    def optimisation(self) -> "TrainConfig":
        """Settings of the optimisation."""
        return self.train_config()

    def train_config(self) -> "TrainConfig":
        """Settings of the optimisation that all kinds of training share."""
        from cryodrgn.training.run_config import TrainConfig

        more: dict[str, Any] = values_of_recipe(self)
        if isinstance(self, HeldOutOptions):
            more["held_out"] = self.held_out_settings
        if isinstance(self, PoseRefinementOptions) and self.refine_poses:
            more["poses"] = part_of(self, PoseConfig)
        if isinstance(self, RandomTiltOptions):
            more["tilts_drawn"] = self.tilts_drawn
        more |= {"curriculum": self.frequency_curriculum, "on_disk": self.lazy or None}
        return part_of(self, TrainConfig, more)

    def run(self) -> "Run":
        """Train, and open the run.

        Raises:
            CryodrgnError: The settings or the data cannot be used, or training diverges.
        """
        from cryodrgn.preflight.plan import require_output
        from cryodrgn.preflight.plans import training_plan
        from cryodrgn.preflight.rows import warn_of_foreign_poses
        from cryodrgn.preflight.screening import run_excluding_bad_images, screen_data
        from cryodrgn.rundir import RunDirectory, ScreeningFiles
        from cryodrgn.runs.run import open_run
        from cryodrgn.training.assembly import storage_of
        from cryodrgn.training.runner import train
        from cryodrgn.training.start import is_over, require_epochs_left

        if self.verbose:
            _log_every_interval()
        load = self._beginning()
        run = RunDirectory(self.outdir, first_epoch=self._first_epoch(load))
        if load == "latest" and self.overwrite:
            logger.warning("`load` latest has no effect with `overwrite`: a new run begins")
        config, particles = self._begun(run)
        require_output(run.path)

        files = ScreeningFiles(run.path)

        def screened(how: "Screen") -> "tuple[RunConfig, ParticleSet]":
            data, kept = screen_data(config.data, particles, files, how)
            return replace(config, data=data), kept

        with joined(self) as (team, device), stop_on_signals() as should_stop:
            start = self._start(run, config, particles)

            def work(chosen: "tuple[RunConfig, ParticleSet]") -> None:
                config, particles = chosen
                if load is None:
                    # It looks at images, of which bad ones are left out by now.
                    warn_of_foreign_poses(particles, config.data.files.poses)
                storage = storage_of(config.training, run)
                training_plan(config, particles, run.path, device, storage).announce("training")
                linear = None
                if start.checkpoint is None and isinstance(self, LinearStartOptions):
                    config, linear = self.linear_start(config, particles, device, storage, team)
                if train(config, particles, run, start, device, should_stop, team, linear):
                    self.judge(config, particles, run, device, team)

            if start.is_same_run and is_over(config, start, run) and self.is_to_judge(run):
                self.judge(config, particles, run, device, team)
            else:
                require_epochs_left(config, start, run)
                run_excluding_bad_images(screened, work, self._screening(run), files)
            # Processes that write nothing open the run once it is written.
            team.wait()
        return open_run(run.path)

    def is_to_judge(self, run: "RunDirectory") -> bool:  # noqa: ARG002
        """True if particles of the finished run are still to be judged."""
        return False

    def judge(
        self,
        config: "RunConfig",
        particles: "ParticleSet",
        run: "RunDirectory",
        device: "torch.device",
        team: "Team",
    ) -> None:
        """Judge the particles of the finished run; models without latents of images do not."""

    def _start(
        self, run: "RunDirectory", config: "RunConfig", particles: "ParticleSet"
    ) -> "ResumePoint":
        """Starting point of the run, before its images are read and anything is written."""
        from cryodrgn.preflight.rows import tell_of_missing_ctf
        from cryodrgn.training.start import require_fitting, resolve_resume

        load = self._beginning()
        in_words = partial(differences_in_options, self)
        start = resolve_resume(run, config, load, in_words, overwrite=self.overwrite)
        require_fitting(config, start, partial(differences_in_options, self, within="model."))
        self._require_particles(run, particles)
        if load is None:
            tell_of_missing_ctf(particles)
        return start

    def _first_epoch(self, load: "Load") -> int:
        """Number of the first epoch in the names of files; a run goes on as it began."""
        from cryodrgn.io.run_config import load_run_config
        from cryodrgn.rundir import RunDirectory

        config = RunDirectory(self.outdir).config_yaml
        if load is None or self.overwrite or not config.is_file():
            return compat.first_number()
        return compat.first_epoch_of(load_run_config(config))

    def _beginning(self) -> "Load":
        """Weights to begin with: those of the run itself, of a file, or none.

        Raises:
            ConfigError: The file is in the folder that is to be emptied.
        """
        if self.load is None or self.load == "latest":
            return self.load
        load = Path(self.load)
        if self.overwrite and _is_in(load, self.outdir):
            msg = (
                f"`overwrite` replaces the run in {self.outdir}, of which `load` {load} is a "
                "part; leave out `overwrite` to go on with that run, or choose another folder "
                "for one that begins with its weights"
            )
            raise ConfigError(msg)
        return load

    def _data(self) -> "DataConfig":
        if self.particles is None:
            msg = "the particles are missing; only `load` latest goes without them"
            raise ConfigError(msg)
        data = data_config(self, self.particles)
        return replace(data, files=replace(data.files, found_in=self._known_folders()))

    def _known_folders(self) -> tuple[Path, ...]:
        """Folders in which the run that goes on found its stacks."""
        from cryodrgn.io.run_config import load_run_config, stack_folders_of
        from cryodrgn.rundir import RunDirectory

        config = RunDirectory(self.outdir).config_yaml
        is_another = self.load is None or self.datadir is not None or self.overwrite
        if is_another or self.particles is None or not config.is_file():
            return ()
        return stack_folders_of(load_run_config(config), self.particles)

    @property
    def _resumes_alone(self) -> bool:
        """True if a run goes on by what it recorded, without a command line of its own.

        Beside what may change, such a command line names the folder, and perhaps the particles
        of the run.
        """
        from cryodrgn.rundir import RunDirectory
        from cryodrgn.training.start import recorded_config

        if self.load != "latest" or self.particles is None:
            return self.load == "latest"
        config = None if self.overwrite else recorded_config(RunDirectory(self.outdir))
        is_whole = not isinstance(self, LatentOptions) or self.has_latent_dim
        if config is None or (is_whole and self._fixed_settings(config)):
            return False
        known = config.data.files.particles
        return known == self.particles.resolve() or not known.exists()

    def _fixed_settings(self, recorded: "RunConfig") -> list[str]:
        """Settings that were given, and cannot be changed once a run has begun.

        Files that are gone may be named anew.
        """
        declared = options_of(type(self))
        fixed = {n for n in self.given - OF_THE_CALL if declared[n][1].resumes_as is None}
        return sorted(fixed - self._named_anew(recorded).keys())

    def _named_anew(self, recorded: "RunConfig") -> dict[str, Path]:
        """Files that were given in place of recorded ones that are gone, by setting."""
        from cryodrgn.io.recorded_files import MOVABLE

        found = {}
        for name in MOVABLE.keys() & self.given:
            path = getattr(recorded.data.files, MOVABLE[name])
            if path is not None and not path.exists() and isinstance(getattr(self, name), Path):
                found[name] = getattr(self, name).resolve()
        return found

    def _begun(self, run: "RunDirectory") -> "tuple[RunConfig, ParticleSet]":
        """The run, recorded or described by the settings, and its particles."""
        from cryodrgn.training.pose_search import require_first_poses

        config = self._recorded(run) if self._resumes_alone else None
        goes_on = self._goes_on(run) if self.load == "latest" and config is None else None
        if goes_on is not None and self.particles is not None:
            require_recorded_particles(self, goes_on, self.particles, run.path)
        particles = self._data().open() if config is None else config.data.open()
        if config is None:
            config = self._described(particles)
            chosen = self._without_images_left_out(run, config.data, particles)
            if chosen is not config.data:
                config, particles = replace(config, data=chosen), chosen.open()
        require_first_poses(particles, config.training.search)
        return replace(config, data=config.data.with_places(particles)), particles

    def _require_particles(self, run: "RunDirectory", particles: "ParticleSet") -> None:
        """Refuse to go on with other particles than the run began with.

        Raises:
            ConfigError: Their file has changed, or another one took its place.
        """
        from cryodrgn.io.recorded_files import require_particles_of_run
        from cryodrgn.io.run_config import load_run_config

        if self._goes_on(run) is None:
            return
        count = len(particles)
        begun = load_run_config(run.config_yaml)["training"].get("num_particles", count)
        if begun != count:
            msg = (
                f"{run.path} was begun with {begun} particles, but its files hold {count} now; "
                "put back those that it began with, or begin in another folder"
            )
            raise ConfigError(msg)
        remedy = "; put them back as they were, or begin in another folder"
        require_particles_of_run(run.path, particles, remedy)

    def _goes_on(self, run: "RunDirectory") -> "RunConfig | None":
        """The record of the run that goes on; None if a new one begins."""
        from cryodrgn.training.start import recorded_config

        load = self._beginning()
        is_there = load == "latest" or (isinstance(load, Path) and _is_in(load, run.path))
        return recorded_config(run) if is_there and not self.overwrite else None

    def _screening(self, run: "RunDirectory") -> "Screen":
        """The images to look at for bad ones, which a run left out when it began."""
        return self.screen if self._goes_on(run) is None else "none"

    def _without_images_left_out(
        self, run: "RunDirectory", data: "DataConfig", particles: "ParticleSet"
    ) -> "DataConfig":
        """The images as given, without those that the run left out when it began.

        Other particles than those it began with stay as they are, and are refused.
        """
        import numpy as np

        from cryodrgn.io.selection_files import load_indices
        from cryodrgn.preflight.screening import read_screened
        from cryodrgn.rundir import ScreeningFiles

        recorded, files = self._goes_on(run), ScreeningFiles(run.path)
        kept = None if recorded is None else recorded.data.files.indices
        if kept is None or kept != files.kept.resolve() or not files.table.is_file():
            return data
        left_out = np.isin(particles.original_rows, read_screened(files.table))
        rows = load_indices(kept)
        if not np.array_equal(particles.original_rows[~left_out], rows):
            return data
        return replace(data, files=replace(data.files, indices=kept))

    def _described(self, particles: "ParticleSet") -> "RunConfig":
        """The run that the settings describe."""
        from cryodrgn.training.run_config import RunConfig

        draws = isinstance(self, RandomTiltOptions) and self.random_tilts
        if draws and particles.offsets is None:
            msg = (
                f"`random_tilts` is for tilt series, but {particles.source} has one image of "
                "every particle; leave it out"
            )
            raise ConfigError(msg)
        described = RunConfig(
            data=self._data(),
            model=self.model(particles),
            training=self.optimisation(),
        )
        if isinstance(self, LinearStartOptions):
            return self.with_contrasts_of_start(described)
        return described

    def _recorded(self, run: "RunDirectory") -> "RunConfig":
        """The settings of the run in a folder, with the few that may be changed.

        Raises:
            ConfigError: There is no run, or a setting was given that cannot be changed.
        """
        from cryodrgn.io.recorded_files import MOVABLE, files_as_recorded, require_recorded
        from cryodrgn.training.start import recorded_config

        config = recorded_config(run)
        if config is None:
            msg = (
                f"{run.path} holds no run to resume; give the folder of a run with `outdir`, "
                "or leave out `load` to begin one"
            )
            raise ConfigError(msg)
        require_own_command(self, config, run.path)
        if fixed := given_otherwise(self, config, self._fixed_settings(config)):
            msg = (
                f"`load` latest takes its settings from {run.config_yaml}; leave out "
                f"{', '.join(fixed)}, or choose another folder to train with other settings"
            )
            raise ConfigError(msg)
        resumable = {
            name: said.resumes_as for name, (_, said) in options_of(type(self)).items()
        }
        changes = {
            target: getattr(self, name)
            for name, target in resumable.items()
            if target is not None and name in self.given
        }
        changes = self._allowed(changes, config, run)
        config = replace(config, training=replace(config.training, **changes))
        # What has moved since the run began.
        named_anew = self._named_anew(config).items()
        moved: dict[str, Any] = {MOVABLE[name]: path for name, path in named_anew}
        if self.datadir is not None:
            moved |= {"datadir": self.datadir, "found_in": ()}
        files = files_as_recorded(replace(config.data.files, **moved), run.config_yaml)
        for name in ("mask", "focus_mask", "consensus"):
            path = getattr(config.training, name)
            if path is not None:
                require_recorded(path, name.replace("_", " "), run.config_yaml)
        return replace(config, data=replace(config.data, files=files))

    def _allowed(
        self, changes: dict[str, Any], config: "RunConfig", run: "RunDirectory"
    ) -> dict[str, Any]:
        """Changes to a recorded run, with those that need its other settings."""
        if config.training.cache_dir is not None and "cache_dir" not in changes:
            # A folder may come from a colleague, and must not say where files are written.
            changes["cache_dir"] = None
            logger.info(
                "`cache_dir` was %s; give it again to use it", config.training.cache_dir
            )
        if HELD_OUT_STOP in changes:
            held_out = config.training.held_out
            if held_out is None:
                msg = (
                    f"{run.path} keeps no particles out, so nothing tells when it has converged"
                )
                raise ConfigError(msg)
            changes["held_out"] = replace(held_out, stop=changes.pop(HELD_OUT_STOP))
        return changes


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().parent == folder.resolve()


def _log_every_interval() -> None:
    from cryodrgn.io.log import log_from

    log_from(logging.DEBUG)
