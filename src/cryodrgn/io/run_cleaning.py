"""Deletion of the checkpoints of a training run that nothing depends on."""

from dataclasses import dataclass
from pathlib import Path

from cryodrgn.errors import ConfigError
from cryodrgn.rundir import RunDirectory


@dataclass(frozen=True, kw_only=True, slots=True)
class CleaningPlan:
    """Files of one run that cleaning deletes, and those it keeps.

    Attributes:
        run: The run.
        files: Files to delete.
    """

    run: RunDirectory
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes that the deletion frees."""
        return sum(path.stat().st_size for path in self.files)

    def delete(self) -> None:
        """Delete the files."""
        for path in self.files:
            path.unlink()


def plan_cleaning(folder: Path, interval: int) -> CleaningPlan:
    """Choose the checkpoints of a run that may go.

    Kept are the epochs divisible by the interval, those that have been analysed
    (``analyze.E``), the files of the finished run, and while the run is not finished its last
    epoch.

    Args:
        folder: The run's output directory.
        interval: Every how many epochs the files are kept.

    Raises:
        ConfigError: The interval is not positive.
    """
    if interval < 1:
        msg = f"`interval` must be at least 1, got {interval}"
        raise ConfigError(msg)
    run = RunDirectory(folder)
    epochs = run.epochs()
    last = set() if run.weights().exists() else set(epochs[-1:])
    kept = last.union(run.analysed_epochs())
    gone = [epoch for epoch in epochs if epoch % interval and epoch not in kept]
    names = [file for epoch in gone for file, _ in run.results(epoch)]
    return CleaningPlan(run=run, files=tuple(path for path in names if path.is_file()))
