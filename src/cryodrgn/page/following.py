"""A run under way, as the page follows it: losses, rate, time left, verdict, epochs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from cryodrgn.io.learning_curve import load_epoch_losses
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.epoch_records import read_records, verdict_of

# Points of a curve that a screen can show.
MOST_STEPS = 2000
# A run that has said nothing for so many times the time between its last rows has stopped.
SILENCES = 10
LEAST_SILENCE = 120.0

# Events with which a run begins: of a network, of a linear model.
BEGINNINGS = frozenset({"RunBegun", "FitBegun"})

Events = Sequence[Mapping[str, Any]]


def stamp(files: RunDirectory) -> str:
    """A mark that changes when the run has written something.

    Only the states of two files and the names in the folder are looked at, so that asking for
    it every second takes nothing from a training on the same machine.

    Raises:
        OSError: The folder is gone.
    """
    parts = [str(os.stat(files.path).st_mtime_ns)]  # noqa: PTH116 (its error is wanted)
    for path in (files.events, files.metrics):
        try:
            known = path.stat()
        except FileNotFoundError:
            parts.append("-")
        else:
            parts.append(f"{known.st_size}.{known.st_mtime_ns}")
    return "_".join(parts)


def progress_of(files: RunDirectory, events: Events) -> dict[str, Any]:
    """Progress of a run, as far as its files tell.

    Args:
        files: Names of its files.
        events: What it has told.

    Raises:
        CryodrgnError: A file of the run cannot be read.
    """
    records = read_records(files.convergence)
    found: dict[str, Any] = {
        "epochs": files.latent_epochs(),
        "weights": files.epochs(),
        "finished": files.weights().is_file(),
        "state": "finished" if files.weights().is_file() else "unknown",
        "verdict": verdict_of(records) if records else "",
        "held_out": [record.totals() for record in records],
    }
    if not events:
        losses = load_epoch_losses(files).tolist()
        curve = [{"epoch": n, "total": value} for n, value in enumerate(losses)]
        return found | {"losses": curve, "steps": []}
    return found | _told(events)


def _told(events: Events) -> dict[str, Any]:
    """Progress in the words of the run's events."""
    begun = next((e for e in reversed(events) if e["event"] in BEGINNINGS), {})
    finished = _all(events, "EpochFinished")
    steps = _all(events, "StepsTaken")
    last = events[-1]
    every = -(-len(steps) // MOST_STEPS)
    found = {
        "losses": [_kept(e, ("epoch", "total", "reconstruction", "kl")) for e in finished],
        "steps": [_kept(e, ("images", "total", "epoch")) for e in steps[::every]]
        if steps
        else [],
        "num_epochs": begun.get("num_epochs"),
        "device": begun.get("device"),
        "images_per_epoch": begun.get("images_per_epoch"),
        "told": last.get("time"),
    }
    verdicts = _all(events, "HeldOutEvaluated")
    if verdicts:
        found["verdict"] = verdicts[-1].get("verdict")
    rate = _rate(begun, steps)
    if last["event"] == "RunFinished":
        return found | {"state": "finished", "rate": rate}
    if last["event"] == "RunStopped":
        reason = last.get("error")
        return found | {"state": "stopped", "rate": rate, "reason": reason}
    state = "silent" if _is_silent(events) else "running"
    left = _seconds_left(begun, steps, rate)
    return found | {"state": state, "rate": rate, "seconds_left": left}


def _all(events: Events, name: str) -> list[Mapping[str, Any]]:
    return [event for event in events if event["event"] == name]


def _kept(event: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: event.get(name) for name in names}


def _rate(begun: Mapping[str, Any], steps: Events) -> float | None:
    """Images per second over the last rows."""
    recent = [e for e in steps[-20:] if _are_numbers([e.get("seconds"), e.get("images")])]
    if not recent:
        return None
    # The time of a run that went on counts from there.
    first: Mapping[str, Any] = {"images": begun.get("images", 0), "seconds": 0.0}
    if len(recent) > 1 and recent[0]["seconds"] < recent[-1]["seconds"]:
        first = recent[0]
    seconds = recent[-1]["seconds"] - first["seconds"]
    images = recent[-1]["images"] - (first["images"] or 0)
    return images / seconds if seconds > 0 and images > 0 else None


def _seconds_left(begun: Mapping[str, Any], steps: Events, rate: float | None) -> float | None:
    wanted = (begun.get("num_epochs"), begun.get("images_per_epoch"))
    if rate is None or not _are_numbers(wanted) or not steps:
        return None
    done = steps[-1].get("images")
    if not _are_numbers([done]):
        return None
    return max(wanted[0] * wanted[1] - done, 0) / rate  # type: ignore[operator]


def _is_silent(events: Events) -> bool:
    """True if a run has said nothing for much longer than it usually does."""
    times = [_time(event) for event in events[-10:]]
    known = [time for time in times if time is not None]
    if not known:
        return True
    usual = max((b - a for a, b in pairwise(known)), default=0.0)
    now = datetime.now(UTC).timestamp()
    return now - known[-1] > max(SILENCES * usual, LEAST_SILENCE)


def _time(event: Mapping[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(event["time"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def _are_numbers(values: Iterable[object]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
