"""Files of training runs: logs drawn, settings shown, checkpoints deleted."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.jobs.tool_options import PictureOutput, save_picture
from cryodrgn.settings import (
    Job,
    at_least,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.io.run_cleaning import CleaningPlan

logger = logging.getLogger(__name__)


@settings
class PlotLoss(PictureOutput, Job["dict[str, np.ndarray]"]):
    """Plot the learning curves of training runs."""

    logs: tuple[Path, ...] = positional(help="Logs of training runs (run.log)")
    output: Path = same_as(PictureOutput, "output", default=Path("loss.png"))

    def run(self) -> "dict[str, np.ndarray]":
        """Draw the curves; returns the loss of every epoch, by log."""
        from cryodrgn.analysis.plots import plot_learning_curves
        from cryodrgn.io.learning_curve import read_log

        curves = {str(path): read_log(path) for path in self.logs}
        for name, losses in curves.items():
            logger.info("%s: %s, last loss %g", name, counted(len(losses), "epoch"), losses[-1])
        save_picture(plot_learning_curves(curves), self.output)
        return curves


@settings
class Clean(Job["dict[Path, CleaningPlan]"]):
    """Delete the checkpoints of a training run that are not needed any more."""

    workdirs: tuple[Path, ...] = positional(
        default=(),
        nargs="*",
        metavar="outglobs",
        help="Training runs",
        default_words="the working directory",
    )
    interval: int = option(
        "-n",
        "--every-n-epochs",
        default=5,
        check=at_least(1),
        help="Keep the files of epochs divisible by this, and of analysed ones",
    )
    force: bool = option("-f", "--force", default=False, help="Delete without asking")
    verbose: bool = option("-v", "--verbose", default=False, help="Name every file")
    dry_run: bool = option("-d", "--dry-run", default=False, help="Delete nothing")

    def run(self) -> "dict[Path, CleaningPlan]":
        """Delete the files, asking first; returns which there were, by run.

        Raises:
            ConfigError: A folder is not there, or there is nobody to ask.
        """
        from cryodrgn.io.run_cleaning import plan_cleaning

        folders = _matching(self.workdirs or (Path(),))
        plans = {folder: plan_cleaning(folder, self.interval) for folder in folders}
        if not (self.force or self.dry_run):
            _require_answers([plan for plan in plans.values() if plan.files])
        for folder, plan in plans.items():
            if self.verbose:
                for path in plan.files:
                    logger.info("%s", path)
            count = f"{len(plan.files)} files ({plan.size / 1e6:.1f} MB)"
            if not plan.files:
                logger.info("%s: nothing to delete", folder)
            elif self.dry_run:
                logger.info("%s: would delete %s", folder, count)
            elif self.force or _agreed(plan, count):
                plan.delete()
                logger.info("%s: deleted %s", folder, count)
        return plans


def _matching(patterns: Sequence[Path]) -> list[Path]:
    """Folders that are named, or that match a pattern as shells expand it.

    Raises:
        ConfigError: There are none.
    """
    folders: list[Path] = []
    for pattern in patterns:
        root = Path(pattern.anchor)
        found = [pattern]
        if not pattern.exists():
            found = sorted(root.glob(str(pattern.relative_to(root))))
        if not found:
            msg = f"{pattern} does not exist; give the folder of a run"
            raise ConfigError(msg)
        folders += found
    return list(dict.fromkeys(folders))


def _require_answers(plans: "list[CleaningPlan]") -> None:
    """Refuse to go on where files would be deleted and nobody can be asked.

    Raises:
        ConfigError: There is no terminal.
    """
    if plans and not sys.stdin.isatty():
        count = sum(len(plan.files) for plan in plans)
        folders = ", ".join(str(plan.run.path) for plan in plans)
        msg = (
            f"{count} files of {folders} could be deleted, but there is no terminal to ask on, "
            "so nothing was; delete them with `force`, or see which they are with `dry_run` "
            "`verbose`"
        )
        raise ConfigError(msg)


def _agreed(plan: "CleaningPlan", count: str) -> bool:
    return input(f"delete {count} of {plan.run.path}? [y/N] ").strip().lower() in {"y", "yes"}


@settings
class ViewConfig(Job["dict[str, Any]"]):
    """Show the settings of a training run."""

    config: Path = positional(
        metavar="config", help="config.yaml or config.pkl of a run, or the run's folder"
    )

    def run(self) -> "dict[str, Any]":
        """Log the settings; returns them."""
        from cryodrgn.io.run_config import find_run_config, load_run_config
        from cryodrgn.io.text import yaml_text
        from cryodrgn.rundir import RunDirectory

        path = self.config
        if path.is_dir():
            path = find_run_config(RunDirectory(path).weights())
        found = load_run_config(path)
        logger.info("%s", yaml_text(_plain(found)))
        return found


def _plain(value: Any) -> Any:
    """A value of a type that YAML knows, without numbers and arrays of numpy."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


plot_loss = function_of(PlotLoss)
view_config = function_of(ViewConfig)
clean = function_of(Clean)
