"""Reports of a run: listeners that write what it tells into files of its folder.

``run.log`` is for people and parsers, ``metrics.csv`` for plots, ``convergence.csv`` has the
held-out evaluation, and ``events.jsonl`` everything, for a program that follows the run.
"""

import csv
import json
import logging
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from cryodrgn.counts import counted
from cryodrgn.errors import InputFileError, OutputFileError
from cryodrgn.io.atomic import atomic_path, why_not_written
from cryodrgn.io.text import read_text
from cryodrgn.training.epoch_records import write_records
from cryodrgn.training.events import (
    EpochFinished,
    Event,
    HeldOutEvaluated,
    ModelsCompared,
    RunBegun,
    RunFinished,
    RunStopped,
    StepsTaken,
)

logger = logging.getLogger(__name__)

# By so many bytes before its end a file is known again.
TAIL_BYTES = 64


class RunLog:
    """Logs what happens in a run, in the lines that parsers of learning curves look for."""

    def __init__(self) -> None:
        self._num_epochs = 0

    def tell(self, event: Event) -> None:
        """Log an event."""
        match event:
            case RunBegun():
                self._num_epochs = event.num_epochs
                _log_beginning(event)
            case StepsTaken():
                _log_steps(event, self._num_epochs)
            case EpochFinished():
                _log_epoch(event)
            case HeldOutEvaluated():
                _log_held_out(event)
            case ModelsCompared():
                logger.info("# held out: %s", event.choice.in_words)
            case RunStopped(error=None):
                logger.info("stopped as asked; go on with `load` latest")
            case RunFinished():
                logger.info("finished in %s", _clock(event.seconds))
            case _:
                pass


def _log_beginning(begun: RunBegun) -> None:
    logger.info("%s", " ".join(begun.command))
    logger.info("cryodrgn %s on %s", begun.version, begun.device)
    if begun.num_processes > 1:
        logger.info("trained by %d processes", begun.num_processes)
    logger.info("images are normalized by (x - %g) / %g", *begun.norm)
    logger.info("matrix products in %s", begun.network_dtype)
    if begun.begins_with is not None:
        logger.info(
            "begins with %s, %s done", begun.begins_with, counted(begun.epochs_done, "epoch")
        )


def _log_steps(taken: StepsTaken, num_epochs: int) -> None:
    logger.debug(
        "# [Train Epoch: %d/%d] [%d images] gen loss=%.6f, kld=%.6f, beta=%.6f, loss=%.6f",
        taken.epoch + 1,
        num_epochs,
        taken.images,
        taken.reconstruction,
        taken.kl,
        taken.beta,
        taken.total,
    )


def _log_epoch(done: EpochFinished) -> None:
    """The line that parsers of learning curves look for; it counts epochs from 1."""
    if done.kl is None:
        losses = f"loss = {done.total:.6f}"
    else:
        losses = (
            f"gen loss = {done.reconstruction:.6f}, KLD = {done.kl:.6f}, "
            f"total loss = {done.total:.6f}"
        )
    logger.info(
        "# =====> Epoch: %d Average %s; Finished in %s",
        done.epoch + 1,
        losses,
        _clock(done.seconds),
    )


def _log_held_out(evaluated: HeldOutEvaluated) -> None:
    found = evaluated.latest
    logger.info(
        "# held out: error %.6f, %.4f of the power explained%s",
        found.error,
        found.explained,
        "" if found.map_change is None else f", maps changed by {found.map_change:.3f}",
    )
    logger.info("# held out: %s", evaluated.verdict)


class MetricsFile:
    """Appends rows to ``metrics.csv``.

    Args:
        path: The file.
        images_seen: Rows beyond this many images are dropped: they are of steps that a run
            that was interrupted took after its last checkpoint, and will take again.
    """

    def __init__(self, path: Path, images_seen: int = 0) -> None:
        self._path = path
        names = [item.name for item in fields(StepsTaken)]
        kept = [",".join(row) for row in _complete_rows(path, len(names), images_seen)]
        with atomic_path(path) as partial:
            partial.write_text("\n".join([",".join(names), *kept]) + "\n")

    def tell(self, event: Event) -> None:
        """Write one row, if steps were taken."""
        if isinstance(event, StepsTaken):
            row = ",".join(f"{value:.8g}" for value in event.values().values())
            _append_line(self._path, row)


class HeldOutTable:
    """Writes the held-out evaluation of all epochs.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, event: Event) -> None:
        """Write the table anew, if it has grown."""
        if isinstance(event, HeldOutEvaluated):
            write_records(self._path, event.records)


class EventsFile:
    """Appends events to ``events.jsonl``: one JSON object per line, with the time in UTC.

    Whoever follows the file opens it by its name again when a run goes on, as ``tail -F``
    does, and reads up to the last end of a line.

    Args:
        path: The file.
        images_seen: Events beyond this many images are dropped, as rows of ``metrics.csv``.
        epochs_done: So are those of epochs from this one on.
    """

    def __init__(self, path: Path, images_seen: int = 0, epochs_done: int = 0) -> None:
        self._path = path
        kept = [
            line + "\n"
            for line, event in _complete_events(path)
            if _is_before(event, images_seen, epochs_done)
        ]
        with atomic_path(path) as partial:
            partial.write_text("".join(kept))

    def tell(self, event: Event) -> None:
        """Write one line."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        said = {"event": type(event).__name__, "time": time} | event.values()
        finite = {name: _finite(value) for name, value in said.items()}
        _append_line(self._path, json.dumps(finite, default=os.fspath, allow_nan=False))


def read_events(path: Path) -> list[dict[str, Any]]:
    """Events of a run, each with its name as ``event`` and its ``time``; none without a file.

    A last line that is still being written is left out, and so is what is no event.

    Raises:
        InputFileError: The file cannot be read.
    """
    return [event for _, event in _complete_events(path)]


class GrowingEvents:
    """Events of a run under way, of which only new lines are read.

    Args:
        path: The file of events.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._file: tuple[int, int] | None = None
        self._events: list[dict[str, Any]] = []
        self._end, self._last = 0, b""

    def read(self) -> list[dict[str, Any]]:
        """All events so far, as :func:`read_events` returns them.

        Raises:
            InputFileError: The file cannot be read.
        """
        with self._lock:
            try:
                with self._path.open("rb") as file:
                    self._read_new(file)
            except FileNotFoundError:
                self._forget()
            except OSError as error:
                msg = f"{self._path} cannot be read: {error.strerror}"
                raise InputFileError(msg) from error
            return list(self._events)

    def _read_new(self, file: BinaryIO) -> None:
        known = os.fstat(file.fileno())
        # A run that goes on puts another file in this one's place.
        file.seek(max(self._end - len(self._last), 0))
        is_same = self._file == (known.st_dev, known.st_ino)
        if not is_same or file.read(len(self._last)) != self._last:
            self._forget()
            file.seek(0)
        self._file = (known.st_dev, known.st_ino)
        lines, ended, _ = file.read().rpartition(b"\n")
        if not ended:
            return
        self._events += [e for _, e in _events_of(lines.decode(errors="replace").split("\n"))]
        self._end += len(lines) + 1
        self._last = (self._last + lines + ended)[-TAIL_BYTES:]


def model_choice_in_words(path: Path) -> str:
    """The latest sentence on a network and the linear model that it began with.

    Args:
        path: The file of events of a run.

    Returns:
        The sentence; empty where no held-out particles have judged.
    """
    said = [event for event in read_events(path) if event["event"] == ModelsCompared.__name__]
    return str(said[-1].get("verdict", "")) if said else ""


def _complete_events(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Complete lines of an earlier part of the run, each with its content."""
    if not path.exists():
        return []
    *lines, _ = read_text(path, may_be_empty=True).split("\n")
    return list(_events_of(lines))


def _events_of(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines that are events, each with its content."""
    for line in lines:
        try:
            content = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and isinstance(content.get("event"), str):
            yield line, content


def _refuse(constant: str) -> NoReturn:
    msg = f"{constant} is no JSON"
    raise ValueError(msg)


def _is_before(event: Mapping[str, Any], images_seen: int, epochs_done: int) -> bool:
    """Decide whether an event belongs to the part of a run that is not done again."""
    images, epoch = event.get("images"), event.get("epoch")
    if isinstance(images, int):
        return images <= images_seen
    return isinstance(epoch, int) and epoch < epochs_done


def _finite(value: object) -> object:
    """JSON knows no infinity, and nothing that is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _append_line(path: Path, line: str) -> None:
    try:
        with path.open("a") as file:
            file.write(line + "\n")
    except OSError as error:
        raise OutputFileError(why_not_written(path, error)) from error


def _complete_rows(path: Path, num_columns: int, images_seen: int) -> list[list[str]]:
    """Rows of an earlier part of the run; a kill may have torn the last one."""
    if not path.exists():
        return []
    lines = csv.reader(read_text(path, may_be_empty=True).splitlines())
    rows = [row for row in lines if len(row) == num_columns]
    return [row for row in rows[1:] if row[1].isdigit() and int(row[1]) <= images_seen]


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
