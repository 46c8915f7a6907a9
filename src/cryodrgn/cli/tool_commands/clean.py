"""``cryodrgn_utils clean``."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    from cryodrgn.io.run_cleaning import CleaningPlan

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "outglobs", type=Path, nargs="*", help="Training runs (default: the working directory)"
    )
    parser.add_argument(
        "-n",
        "--every-n-epochs",
        dest="interval",
        type=int,
        default=5,
        help="Keep the files of epochs divisible by this, and of analysed ones "
        "(default: %(default)s)",
    )
    parser.add_argument("-f", "--force", action="store_true", help="Delete without asking")
    parser.add_argument("-v", "--verbose", action="store_true", help="Name every file")
    parser.add_argument("-d", "--dry-run", action="store_true", help="Delete nothing")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.run_cleaning import plan_cleaning

    folders = args.outglobs or [Path()]
    plans = {folder: plan_cleaning(folder, args.interval) for folder in folders}
    if not (args.force or args.dry_run):
        _require_answers([plan for plan in plans.values() if plan.files])
    for folder, plan in plans.items():
        if args.verbose:
            for path in plan.files:
                logger.info("%s", path)
        count = f"{len(plan.files)} files ({plan.size / 1e6:.1f} MB)"
        if not plan.files:
            logger.info("%s: nothing to delete", folder)
        elif args.dry_run:
            logger.info("%s: would delete %s", folder, count)
        elif args.force or _agreed(plan, count):
            plan.delete()
            logger.info("%s: deleted %s", folder, count)


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
            "so nothing was; delete them with -f, or see which they are with -d -v"
        )
        raise ConfigError(msg)


def _agreed(plan: "CleaningPlan", count: str) -> bool:
    return input(f"delete {count} of {plan.run.path}? [y/N] ").strip().lower() in {"y", "yes"}
