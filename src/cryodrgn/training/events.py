"""Events of runs, and those who are told of them.

A run of training, of ``train_linear`` or of ``run`` tells listeners of what happens in it: its
log, its tables, the file ``events.jsonl`` (see :mod:`cryodrgn.training.run_log`), and what a
program adds with :func:`listening`. Only the process that writes the files of a run tells
anybody.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cryodrgn.errors import ConfigError
from cryodrgn.training.epoch_records import EpochRecord
from cryodrgn.training.model_choice import ModelChoice

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happens in a run.

    Epochs count from 0; those of a linear run are its passes through images. An event with
    ``epoch`` but no ``images`` is of a whole epoch.
    """

    def values(self) -> dict[str, Any]:
        """Everything that the event says, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunBegun(Event):
    """A run begins, or goes on.

    Attributes:
        folder: Where it writes.
        images: Images seen before, in all epochs; 0 for a new run.
        epochs_done: Epochs that are complete.
        num_epochs: Epochs that the run is to have.
        images_per_epoch: Images that one epoch looks at.
        saved_epochs: Epochs whose weights the folder holds.
        begins_with: File with the weights; None for freshly drawn ones.
        command: Words of the command line.
        version: Of the program.
        device: Where it computes, in words.
        num_processes: Processes that train together.
        norm: Offset and scale of the images.
        network_dtype: Number type of the networks' matrix products.
    """

    folder: Path
    images: int
    epochs_done: int
    num_epochs: int
    images_per_epoch: int
    saved_epochs: tuple[int, ...]
    begins_with: Path | None
    command: tuple[str, ...]
    version: str
    device: str
    num_processes: int
    norm: tuple[float, float]
    network_dtype: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FitBegun(Event):
    """A fit of the linear model begins; how many passes it takes, the images tell.

    Attributes:
        folder: Where it writes.
        num_particles: Particles that are embedded.
        num_components: Components that are looked for.
        radius: Radius in Fourier pixels up to which images are compared.
        command: Words of the command line.
        version: Of the program.
        device: Where it computes, in words.
        num_processes: Processes that fit together.
        norm: Offset and scale of the images.
    """

    folder: Path
    num_particles: int
    num_components: int
    radius: int
    command: tuple[str, ...]
    version: str
    device: str
    num_processes: int
    norm: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepBegun(Event):
    """A step of a whole run (``run``) begins; what it trains tells events of its own.

    Attributes:
        folder: Where the whole run writes.
        step: Name of the step.
        steps: Names of all steps, in order.
        command: The step as a command line.
        seconds: Expected duration.
        seconds_after: Expected duration of all steps after it.
    """

    folder: Path
    step: str
    steps: tuple[str, ...]
    command: str
    seconds: float
    seconds_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFinished(Event):
    """A step of a whole run is complete, or has failed.

    Attributes:
        step: Name of the step.
        seconds: Duration.
        error: Why it failed; None if it is complete.
    """

    step: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportWritten(Event):
    """A whole run has come to its end.

    Attributes:
        verdict: What it found, in words.
        report: The page.
    """

    verdict: str
    report: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class StepsTaken(Event):
    """Averages over the images since the event before; one row of ``metrics.csv``.

    Attributes:
        epoch: Number of the epoch, from 0.
        images: Images seen since the start of the run.
        reconstruction: Mean squared error per value.
        kl: KL divergence.
        total: What is minimised.
        beta: Weight of the KL divergence, or its target.
        learning_rate: Of the network.
        skipped: Batches skipped so far because they were not finite.
        seconds: Duration since the start or the last continuation of the run.
    """

    epoch: int
    images: int
    reconstruction: float
    kl: float
    total: float
    beta: float
    learning_rate: float
    skipped: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochFinished(Event):
    """A pass through all images is complete.

    Attributes:
        epoch: Its number, from 0.
        reconstruction: Mean squared error per value.
        kl: KL divergence; None for a model without an encoder.
        total: What is minimised.
        seconds: Duration of the pass, or of its part since the run went on.
    """

    epoch: int
    reconstruction: float
    kl: float | None
    total: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutEvaluated(Event):
    """Particles kept out of training have been looked at after an epoch.

    Attributes:
        records: Evaluation of the held-out particles after every epoch up to this one.
        verdict: The state of the run in words.
    """

    records: tuple[EpochRecord, ...]
    verdict: str

    @property
    def latest(self) -> EpochRecord:
        """Evaluation of the held-out particles after this epoch."""
        return self.records[-1]

    def values(self) -> dict[str, Any]:
        """The numbers of this epoch over all shells, and the verdict."""
        said = {"converged": self.latest.converged, "verdict": self.verdict}
        return self.latest.totals() | said


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsCompared(Event):
    """Held-out particles have judged a network against the linear model that it began with.

    Attributes:
        epoch: Number of the last epoch, from 0.
        choice: What they say.
    """

    epoch: int
    choice: ModelChoice

    def values(self) -> dict[str, Any]:
        """The numbers, and the sentence."""
        choice = self.choice
        return {
            "epoch": self.epoch,
            "gain": choice.gain,
            "error": choice.error,
            "num_particles": choice.num_particles,
            "verdict": choice.in_words,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultsWritten(Event):
    """Weights, and what belongs to them, are in the folder of the run.

    Attributes:
        epoch: Number of the epoch whose results they are, from 0.
        is_final: Whether they are those of the finished run, whose files have no number.
        weights: Weights and all that is needed to go on.
        latents: Latents of all particles; None if there are none.
        poses: Poses of all particles; None where they are not refined.
        volume: The volume of a model without an encoder; None with one.
    """

    epoch: int
    is_final: bool
    weights: Path
    latents: Path | None
    poses: Path | None
    volume: Path | None

    def values(self) -> dict[str, Any]:
        """Files by their names in the folder, which may be moved."""
        values = Event.values(self)
        return {n: v.name if isinstance(v, Path) else v for n, v in values.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFinished(Event):
    """A run has come to its end.

    Attributes:
        epoch: Number of its last epoch, from 0.
        seconds: Duration since the start or the last continuation of the run.
    """

    epoch: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStopped(Event):
    """A run has stopped before its end.

    Attributes:
        images: Images seen since the start of the run.
        error: Why it cannot go on; None if it was asked to stop, and has written a checkpoint.
    """

    images: int
    error: str | None


@runtime_checkable
class Listener(Protocol):
    """Somebody who is told of what happens in a run."""

    def tell(self, event: Event) -> None:
        """Take note of an event. The run waits for it, so that it should not take long."""
        ...


class Listeners:
    """All who are told of one run, in order.

    An error of one of the program's own, such as a full disk, is one of the run. One of the
    others is named in the log, and that listener is told no more.

    Args:
        own: Those of the program.
        others: Those that were added.
    """

    def __init__(self, own: Sequence[Listener] = (), others: Sequence[Listener] = ()) -> None:
        self._own, self._others = own, others

    def tell(self, event: Event) -> None:
        """Tell all of them.

        Raises:
            OutputFileError: A file of the run cannot be written.
        """
        for listener in self._own:
            listener.tell(event)
        for listener in self._others:
            try:
                listener.tell(event)
            except Exception as error:  # noqa: BLE001 (whatever goes wrong there)
                self._others = [other for other in self._others if other is not listener]
                logger.warning(
                    "the listener %s failed at %s and is told no more of this run: %s: %s",
                    type(listener).__name__,
                    type(event).__name__,
                    type(error).__name__,
                    error,
                )


_added: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


def added_listeners() -> tuple[Listener, ...]:
    """Those who are told of runs that begin now, see :func:`listening`."""
    return _added.get()


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """While it lasts, runs tell these listeners, too, of what happens in them.

    Runs of training, of ``train_linear``, and of ``run``, which also tells of its steps.

    A listener has a method ``tell(event)``; the events are the classes of
    :mod:`cryodrgn.training.events`. If it fails, the log says so once, and training goes on
    without it.

    Raises:
        ConfigError: One of them has no method ``tell``.
    """
    for listener in listeners:
        if isinstance(listener, type) or not isinstance(listener, Listener):
            msg = f"a listener is an object with a method tell(event), got {listener!r}"
            raise ConfigError(msg)
    token = _added.set((*_added.get(), *listeners))
    try:
        yield
    finally:
        _added.reset(token)
