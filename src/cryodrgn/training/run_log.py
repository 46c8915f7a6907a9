"""What a run reports: ``run.log`` for people and parsers, ``metrics.csv`` for plots."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cryodrgn.errors import OutputFileError


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """One row of ``metrics.csv``: averages over the images since the row before.

    Attributes:
        epoch: Number of the epoch, from 0.
        images: Images seen since the start of the run.
        reconstruction: Mean squared error per value.
        kl: KL divergence.
        total: What is minimised.
        beta: Weight of the KL divergence.
        seconds: Duration of the run so far.
    """

    epoch: int
    images: int
    reconstruction: float
    kl: float
    total: float
    beta: float
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
        path: The file; its header is written if it is new.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            path.write_text(",".join(item.name for item in fields(Metrics)) + "\n")

    def append(self, metrics: Metrics) -> None:
        """Write one row."""
        row = ",".join(f"{value:.8g}" for value in asdict(metrics).values())
        with self._path.open("a") as file:
            file.write(row + "\n")
