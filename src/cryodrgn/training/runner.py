"""A training run from its settings to its files."""

import logging
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

import cryodrgn
from cryodrgn import compat
from cryodrgn.devices import describe_device, dtype_name
from cryodrgn.errors import InputFileError, OutputFileError
from cryodrgn.io.atomic import atomic_path, make_folder
from cryodrgn.io.checkpoints import on_host, save_checkpoint
from cryodrgn.io.cryodrgn_pickle import save_poses
from cryodrgn.io.log import log_to_file
from cryodrgn.io.mrc import write_volume
from cryodrgn.io.run_config import save_run_config
from cryodrgn.models.build import build_model, load_named_weights, named_weights
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.particle_record import ParticleRecord
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.assembly import Assembly, build_training
from cryodrgn.training.cost import FirstSteps, RateInWords
from cryodrgn.training.events import (
    EpochFinished,
    Event,
    HeldOutEvaluated,
    Listeners,
    ModelsCompared,
    ResultsWritten,
    RunBegun,
    RunFinished,
    RunStopped,
    added_listeners,
)
from cryodrgn.training.linear_start import LinearStart
from cryodrgn.training.loop import Position, RunningMean, Trainer
from cryodrgn.training.monitor import HeldOutEvaluator
from cryodrgn.training.optimizers import averaged, divide_rates, take_over
from cryodrgn.training.pose_search import PoseSearch, with_first_poses
from cryodrgn.training.run_config import RunConfig
from cryodrgn.training.run_log import (
    EventsFile,
    HeldOutTable,
    MetricsFile,
    RunLog,
)
from cryodrgn.training.start import EPOCHS_SETTLING, ResumePoint, warn_of_fixed_poses
from cryodrgn.training.unseen import require_unseen
from cryodrgn.training.warm_start import Targets, teach_encoder
from cryodrgn.training.writing import Writer

logger = logging.getLogger(__name__)

# By how much steps become shorter once training has converged.
SETTLING = 5


class _Stopped(Exception):  # noqa: N818 (it is no error)
    """Training was asked to stop and has written a checkpoint."""


def train(
    config: RunConfig,
    particles: ParticleSet,
    run: RunDirectory,
    start: ResumePoint,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
    team: Team = ALONE,
    linear: LinearStart | None = None,
) -> bool:
    """Train a model on images with known poses, or find them along with it.

    Args:
        config: Settings of the run.
        particles: The images, with poses unless they are searched.
        run: Folder for everything the run writes. Files of an earlier run are replaced, unless
            the run goes on.
        start: Where the run begins, see :func:`cryodrgn.training.start.resolve_resume`.
        device: Where to compute.
        should_stop: Asked after every batch; once it says so, the run writes a checkpoint and
            ends.
        team: Processes that train together; the first of them writes the files, and tells
            those who are :func:`~cryodrgn.training.events.listening`.
        linear: The linear model that an untrained network begins with; None for none.

    Returns:
        Whether the run is complete.

    Raises:
        CryodrgnError: The settings or the data cannot be used, or training diverges.
    """
    particles.require_pixel_size()
    particles = with_first_poses(particles, config.training.search)
    # Everything that a user's mistake can stop comes before the first file.
    require_unseen(config, start, particles)
    parts = build_training(config, particles, run, device, start, team, linear)
    session = TrainingRun(config, particles, run, parts, should_stop, team)
    session.begin(start)
    team.wait()
    if not team.is_writer:
        return session.run()
    make_folder(run.path)
    if not start.is_same_run:
        for path in run.written_files():
            path.unlink()
    with log_to_file(run.log):
        session.report_to_files()
        session.tell_beginning(start, device)
        warn_of_fixed_poses(config)
        save_run_config(run, session.record())
        session.save_masks()
        return session.run()


class TrainingRun:
    """One run of the program on a training run."""

    def __init__(
        self,
        config: RunConfig,
        particles: ParticleSet,
        run: RunDirectory,
        parts: Assembly,
        should_stop: Callable[[], bool],
        team: Team,
    ) -> None:
        self._team = team
        self._config = config
        self._particles = particles
        self._run = run
        self._parts = parts
        self._should_stop = should_stop
        self._is_under_way = False
        self._trainer = Trainer(
            parts.objective,
            parts.optimizer,
            parts.particles,
            config.training,
            parts.refined,
            team,
        )
        self._monitor = None
        model = parts.objective.model
        if config.training.held_out is not None:
            self._monitor = HeldOutEvaluator(
                model,
                parts.particles,
                particles.first_images.require_poses().rotations[:, 2],
                particles.numbers,
                config.training.seed,
                parts.dtype,
                team,
            )
        self._rate_in_words = RateInWords(
            config.model,
            parts.particles.device,
            parts.dtype,
            parts.particles.images_per_particle,
        )
        total = config.training.num_epochs * parts.particles.num_visited
        self._first_steps = FirstSteps(total, self._rate_in_words)
        # In processes that write no files nobody listens.
        self._listeners = Listeners()
        self._last_checkpoint = time.monotonic()
        self._writer = Writer(is_beside=parts.particles.device.type != "cpu")

    def begin(self, start: ResumePoint) -> None:
        """Take over what the run begins with.

        Raises:
            InputFileError: The weights do not fit the model.
        """
        self._is_under_way = start.is_under_way
        if start.checkpoint is None:
            return
        model, optimizer = self._parts.objective.model, self._parts.optimizer
        try:
            load_named_weights(model, start.moving_weights)
            moments = start.checkpoint["optimizer_state_dict"]
            take_over(optimizer, moments, is_same_run=start.is_same_run)
        except InputFileError as error:
            msg = f"{start.source} does not fit the model of this run: {error}"
            raise InputFileError(msg) from error
        except (RuntimeError, ValueError, KeyError) as error:
            msg = f"the state of the optimiser in {start.source} does not fit this run: {error}"
            raise InputFileError(msg) from error
        if start.is_same_run:
            self._trainer.load_state_dict(start.checkpoint["run_state"])
            if self._monitor is not None:
                self._monitor.load_state_dict(start.checkpoint["run_state"]["held_out"])
            if self._parts.noise is not None:
                self._parts.noise.load_state_dict(start.checkpoint["run_state"]["noise"])
            return
        self._trainer.begin_at(Position(epoch=start.epochs_done))

    def save_masks(self) -> None:
        """Write the masks' product and the density outside, which the run and others read."""
        pixel_size = self._particles.require_pixel_size()
        if self._parts.masks.decoded is not None:
            write_volume(self._run.linear.mask, self._parts.masks.decoded.numpy(), pixel_size)
        if self._parts.fixed is not None:
            write_volume(self._run.outside, self._parts.fixed.volume.numpy(), pixel_size)

    def report_to_files(self) -> None:
        """From now on tell the files of the run, and whoever else listens, what happens."""
        run, trainer = self._run, self._trainer
        files = (
            RunLog(),
            MetricsFile(run.metrics, trainer.images_seen),
            HeldOutTable(run.convergence),
            EventsFile(run.events, trainer.images_seen, trainer.position.epoch),
        )
        self._listeners = Listeners(files, added_listeners())
        trainer.report_to(self._tell)

    def tell_beginning(self, start: ResumePoint, device: torch.device) -> None:
        """Say what begins, and with what."""
        begun = RunBegun(
            folder=self._run.path,
            images=self._trainer.images_seen,
            epochs_done=start.epochs_done,
            num_epochs=self._config.training.num_epochs,
            images_per_epoch=self._parts.particles.num_visited,
            saved_epochs=tuple(self._run.epochs()),
            begins_with=start.source,
            command=tuple(sys.argv),
            version=cryodrgn.__version__,
            device=describe_device(device),
            num_processes=self._team.size,
            norm=self._parts.norm,
            network_dtype=dtype_name(self._parts.dtype),
        )
        self._tell(begun)

    def _tell(self, event: Event) -> None:
        self._listeners.tell(event)

    def record(self) -> dict[str, Any]:
        """The run's config file."""
        mapping = self._config.to_mapping(
            self._parts.norm,
            self._particles.images.sampling,
            {
                "pixel_size": self._particles.require_pixel_size(),
                **ParticleRecord.of(self._particles).to_mapping(),
                "network_dtype": dtype_name(self._parts.dtype),
                "compat": compat.of_first_epoch(self._run.first_epoch),
            },
        )
        return mapping | {"version": cryodrgn.__version__, "cmd": list(sys.argv)}

    def run(self) -> bool:
        """Train what is left; whether that came to its end."""
        try:
            self._run_epochs()
        except _Stopped:
            self._tell(RunStopped(images=self._trainer.images_seen, error=None))
            return False
        except BaseException as error:
            reason = str(error) or type(error).__name__
            # The reason may be that files cannot be written.
            with suppress(OutputFileError):
                self._tell(RunStopped(images=self._trainer.images_seen, error=reason))
            raise
        finally:
            self._writer.close()
        return True

    def _run_epochs(self) -> None:
        """Train, and write what belongs to every epoch and to the end."""
        training, parts = self._config.training, self._parts
        count = parts.particles.num_visited
        trainer, started = self._trainer, time.monotonic()
        done = trainer.images_seen
        if parts.first_latents is not None and done == 0:
            self._warm_up(parts.first_latents)
        if self._parts.search is not None:
            self._find_first_poses(self._parts.search)
        with Progress(
            training.num_epochs * count,
            "training",
            initial=done,
            describe_rate=self._rate_in_words,
        ) as progress:
            while trainer.position.epoch < training.num_epochs and not self._must_stop:
                epoch, epoch_started = trainer.position.epoch, time.monotonic()
                if self._parts.search is not None:
                    self._search_poses(self._parts.search, trainer.position)
                if parts.noise is not None and epoch and not trainer.position.batch:
                    parts.noise.estimate()
                average = trainer.train_epoch(progress, self._after_step)
                self._tell_epoch(epoch, average, time.monotonic() - epoch_started)
                self._look_at_held_out(epoch)
                if epoch % training.checkpoint_interval == 0:
                    self._save(epoch)
        last = trainer.position.epoch - 1
        with averaged(parts.optimizer):
            choice = None if self._monitor is None else self._monitor.choice()
        if choice is not None:
            self._tell(ModelsCompared(epoch=last, choice=choice))
        self._finish(last)
        self._tell(RunFinished(epoch=last, seconds=time.monotonic() - started))

    @property
    def _must_stop(self) -> bool:
        held_out = self._config.training.held_out
        if self._monitor is None or held_out is None or not held_out.stop:
            return False
        return self._team.any(self._monitor.epochs_converged > EPOCHS_SETTLING)

    def _look_at_held_out(self, epoch: int) -> None:
        """Evaluate the held-out particles, and log the verdict."""
        if self._monitor is None:
            return
        curriculum = self._config.training.curriculum
        all_compared = curriculum is None or epoch >= curriculum.num_epochs
        with averaged(self._parts.optimizer):
            self._monitor.look(epoch, may_converge=all_compared)
        records, verdict = self._monitor.records, self._monitor.verdict
        self._tell(HeldOutEvaluated(records=records, verdict=verdict))
        held_out = self._config.training.held_out
        if held_out is not None and held_out.stop and self._monitor.epochs_converged == 1:
            # Steps of the length with which weights come near their optimum keep them about it.
            divide_rates(self._parts.optimizer, SETTLING)
            logger.info(
                "%d more epochs at a learning rate of %g let the weights settle",
                EPOCHS_SETTLING,
                self._parts.optimizer.param_groups[0]["lr"],
            )

    def _warm_up(self, targets: Targets) -> None:
        """Teach the encoder latents that are known."""
        model, warm = self._parts.objective.model, self._config.training.warm_start
        assert warm is not None
        divergence = teach_encoder(
            model,
            self._parts.particles,
            targets,
            epochs=warm.epochs,
            seed=self._config.training.seed,
            team=self._team,
        )
        logger.info(
            "the encoder has learnt the latents of %s to a divergence of %.4f per dimension",
            warm.latents,
            divergence,
        )
        self._trainer.begin_at(self._trainer.position)

    def _find_first_poses(self, search: PoseSearch) -> None:
        """Poses to begin with, unless the run goes on or was given some."""
        assert self._config.training.search is not None
        if self._is_under_way:
            return
        if not self._config.training.search.takes_given:
            if self._trainer.position.epoch:
                search.search(self._trainer.position.epoch, self._after_step)
            else:
                search.start(self._after_step)
        self._trainer.begin_at(self._trainer.position)

    def _search_poses(self, search: PoseSearch, position: Position) -> None:
        """Find the poses with which an epoch begins, unless it has begun before."""
        if position.batch:
            search.go_on(position.epoch)
            return
        search.before_epoch(position.epoch, self._after_step)
        self._begin_anew(position.epoch)
        self._trainer.begin_at(position)

    def _begin_anew(self, epoch: int) -> None:
        """Draw new weights, or forget the optimiser's moments, where the settings say so."""
        training, parts = self._config.training, self._parts
        assert training.search is not None
        resets_model = training.search.resets_model_in(epoch, training.num_epochs)
        if resets_model:
            fresh = build_model(self._config.model, training.seed + epoch)
            parts.objective.model.load_state_dict(fresh.state_dict())
            logger.info("all weights are drawn anew")
        if resets_model or training.search.resets_optimizer_in(epoch):
            parts.optimizer.state.clear()

    def _after_step(self) -> None:
        """Write a checkpoint if one is due, and stop if that is wanted."""
        stop = self._team.any(self._should_stop())
        self._first_steps.count(self._trainer.images_seen)
        self._writer.look()
        minutes = self._config.training.checkpoint_minutes
        elapsed = time.monotonic() - self._last_checkpoint
        if self._team.is_writer and (stop or (minutes is not None and elapsed > 60 * minutes)):
            save = partial(save_checkpoint, self._run.checkpoint, self._checkpoint())
            self._writer.write(save, lambda: None)
            self._last_checkpoint = time.monotonic()
        if stop:
            self._writer.finish()
            raise _Stopped

    def _checkpoint(self) -> dict[str, Any]:
        """Weights under the names of cryoDRGN, and all that is needed to go on exactly."""
        model, state = self._parts.objective.model, self._trainer.state_dict()
        state |= {"settings": self._config.settings()}
        with averaged(self._parts.optimizer) as is_averaged:
            weights = named_weights(model)
        if is_averaged:
            state["moving"] = named_weights(model)
        content = {
            "epoch": state["position"]["epoch"] - 1,
            "model_state_dict": weights,
            "optimizer_state_dict": self._parts.optimizer.state_dict(),
            "run_state": state,
        }
        if self._monitor is not None:
            content["run_state"]["held_out"] = self._monitor.state_dict()
        if self._parts.noise is not None:
            content["run_state"]["noise"] = self._parts.noise.state_dict()
        if self._config.model.encoder is None:
            content["norm"] = list(self._parts.norm)
        return on_host(content) if self._writer.is_beside else content

    def _save(self, number: int | None) -> None:
        """Results first, so that weights never stand without them."""
        with averaged(self._parts.optimizer):
            self._parts.objective.write_results(self._run, number, self._parts.particles)
        if not self._team.is_writer:
            return
        training = self._config.training
        poses, epoch = training.poses, self._trainer.position.epoch
        if poses is not None and (training.search or epoch > poses.pretrain):
            images, order = self._particles.images, self._particles.order_in_tables
            sides = images.side_lengths_in_files[order]
            found = self._parts.moved_poses().select(order)
            save_poses(self._run.poses(number), found, sides)
        content = self._checkpoint()

        def save() -> None:
            save_checkpoint(self._run.weights(number), content)
            self._run.checkpoint.unlink(missing_ok=True)

        self._writer.write(save, partial(self._tell_results, number, epoch - 1))
        self._last_checkpoint = time.monotonic()

    def _finish(self, last: int) -> None:
        """Write the files without a number: those of the last epoch."""
        if self._parts.noise is not None:
            with averaged(self._parts.optimizer):
                self._parts.noise.write_contrasts(self._run.linear.contrasts)
        if last % self._config.training.checkpoint_interval:
            self._save(None)
            self._writer.finish()
            return
        self._writer.finish()
        if not self._team.is_writer:
            return
        for numbered, plain in self._run.results(last):
            if numbered.exists():
                with atomic_path(plain) as copy:
                    shutil.copyfile(numbered, copy)
        self._tell_results(None, last)

    def _tell_epoch(self, epoch: int, average: RunningMean, seconds: float) -> None:
        has_encoder = self._config.model.encoder is not None
        done = EpochFinished(
            epoch=epoch,
            reconstruction=average.reconstruction,
            kl=average.kl if has_encoder else None,
            total=average.total,
            seconds=seconds,
        )
        self._tell(done)

    def _tell_results(self, number: int | None, epoch: int) -> None:
        """Name the files that an epoch, or the finished run, has left."""

        def if_there(path: Path) -> Path | None:
            return path if path.exists() else None

        written = ResultsWritten(
            epoch=epoch,
            is_final=number is None,
            weights=self._run.weights(number),
            latents=if_there(self._run.latents(number)),
            poses=if_there(self._run.poses(number)),
            volume=if_there(self._run.reconstruction(number)),
        )
        self._tell(written)
