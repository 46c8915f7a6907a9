"""Reports of a linear run to its log, its tables, and those who listen."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cryodrgn.errors import OutputFileError
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.events import (
    EpochFinished,
    Event,
    FitBegun,
    Listeners,
    ResultsWritten,
    RunFinished,
    RunStopped,
    StepsTaken,
    added_listeners,
)
from cryodrgn.training.run_log import EventsFile, MetricsFile

logger = logging.getLogger(__name__)


class FitLog:
    """Logs a linear run, its passes in the lines that parsers of learning curves look for."""

    def tell(self, event: Event) -> None:
        """Log an event."""
        match event:
            case FitBegun():
                logger.info("%s", " ".join(event.command))
                logger.info("cryodrgn %s on %s", event.version, event.device)
                if event.num_processes > 1:
                    logger.info("fitted by %d processes", event.num_processes)
            case EpochFinished():
                logger.info(
                    "# =====> Epoch: %d Average gen loss = %.6f, KLD = %.6f, total loss = "
                    "%.6f; Finished in %.1f s",
                    event.epoch + 1,
                    event.reconstruction,
                    event.kl,
                    event.total,
                    event.seconds,
                )


class Reporter:
    """Tells of the passes of a linear run.

    Args:
        listeners: Who is told.
    """

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._count, self._images = 0, 0
        self._started = self._last = time.monotonic()

    @property
    def images(self) -> int:
        """Images seen so far, in all passes."""
        return self._images

    def report(self, reconstruction: float, kl: float, num_images: int) -> None:
        """Tell of a pass over some images: an iteration, or the embedding at the end."""
        self._images += num_images
        now = time.monotonic()
        self._listeners.tell(
            StepsTaken(
                epoch=self._count,
                images=self._images,
                reconstruction=reconstruction,
                kl=kl,
                total=reconstruction,
                beta=1.0,
                learning_rate=0.0,
                skipped=0,
                seconds=now - self._started,
            )
        )
        self._listeners.tell(
            EpochFinished(
                epoch=self._count,
                reconstruction=reconstruction,
                kl=kl,
                total=reconstruction,
                seconds=now - self._last,
            )
        )
        self._count, self._last = self._count + 1, now

    def tell_results(self, run: RunDirectory) -> None:
        """Tell that the results are written."""
        poses = run.poses()
        self._listeners.tell(
            ResultsWritten(
                epoch=self._count - 1,
                is_final=True,
                weights=run.weights(),
                latents=run.latents(),
                poses=poses if poses.is_file() else None,
                volume=run.linear.mean,
            )
        )

    def finish(self) -> None:
        """Tell that the run has come to its end."""
        seconds = time.monotonic() - self._started
        self._listeners.tell(RunFinished(epoch=self._count - 1, seconds=seconds))


@contextmanager
def reporting(run: RunDirectory, begun: FitBegun) -> Iterator[Reporter]:
    """While it lasts, a linear run is reported: its beginning, its passes, and its end.

    Args:
        run: Its folder.
        begun: What begins.
    """
    own = (FitLog(), MetricsFile(run.metrics), EventsFile(run.events))
    listeners = Listeners(own, added_listeners())
    reporter = Reporter(listeners)
    listeners.tell(begun)
    try:
        yield reporter
    except BaseException as error:
        reason = str(error) or type(error).__name__
        # The reason may be that files cannot be written.
        with suppress(OutputFileError):
            listeners.tell(RunStopped(images=reporter.images, error=reason))
        raise
    reporter.finish()
