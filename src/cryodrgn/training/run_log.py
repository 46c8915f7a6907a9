"""Log files of a training run: ``run.log`` as text, ``metrics.csv`` as a table."""

import csv
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cryodrgn.errors import OutputFileError
from cryodrgn.io.atomic import atomic_path, why_not_written
from cryodrgn.io.text import read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """One row of ``metrics.csv``: averages over the images since the row before.

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


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Copy what the program logs to a file, each line with date and time."""
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise OutputFileError(why_not_written(path, error)) from error
    handler.setFormatter(
        logging.Formatter("%(asctime)s     %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    )
    package = logging.getLogger("cryodrgn")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        # What is still to be written may not fit on the disk, either.
        with suppress(OSError):
            handler.close()


class _LogFile(logging.FileHandler):
    """A log whose disk may be full, which is then the user's to know."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        path = Path(self.baseFilename)
        raise OutputFileError(why_not_written(path, error)) from error


class MetricsFile:
    """Appends rows to ``metrics.csv``.

    Args:
        path: The file.
        images_seen: Rows beyond this many images are dropped: they are of steps that a run
            that was interrupted took after its last checkpoint, and will take again.
    """

    def __init__(self, path: Path, images_seen: int = 0) -> None:
        self._path = path
        names = [item.name for item in fields(Metrics)]
        kept = [",".join(row) for row in _complete_rows(path, len(names), images_seen)]
        with atomic_path(path) as partial:
            partial.write_text("\n".join([",".join(names), *kept]) + "\n")

    def append(self, metrics: Metrics) -> None:
        """Write one row."""
        row = ",".join(f"{value:.8g}" for value in asdict(metrics).values())
        try:
            with self._path.open("a") as file:
                file.write(row + "\n")
        except OSError as error:
            raise OutputFileError(why_not_written(self._path, error)) from error


def _complete_rows(path: Path, num_columns: int, images_seen: int) -> list[list[str]]:
    """Rows of an earlier part of the run; a kill may have torn the last one."""
    if not path.exists():
        return []
    lines = csv.reader(read_text(path, may_be_empty=True).splitlines())
    rows = [row for row in lines if len(row) == num_columns]
    return [row for row in rows[1:] if row[1].isdigit() and int(row[1]) <= images_seen]
