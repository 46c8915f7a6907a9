"""What a run reports: ``run.log`` for people and parsers, ``metrics.csv`` for plots."""

import csv
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cryodrgn.errors import OutputFileError
from cryodrgn.io.atomic import atomic_path


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
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        raise OutputFileError(msg) from error
    handler.setFormatter(
        logging.Formatter("%(asctime)s     %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    )
    package = logging.getLogger("cryodrgn")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()


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
        with self._path.open("a") as file:
            file.write(row + "\n")


def _complete_rows(path: Path, num_columns: int, images_seen: int) -> list[list[str]]:
    """Rows of an earlier part of the run; a kill may have torn the last one."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == num_columns]
    return [row for row in rows[1:] if row[1].isdigit() and int(row[1]) <= images_seen]
