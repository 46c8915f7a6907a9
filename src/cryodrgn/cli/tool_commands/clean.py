"""``cryodrgn_utils clean``."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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

    for folder in args.outglobs or [Path()]:
        plan = plan_cleaning(folder, args.interval)
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


def _agreed(plan: "CleaningPlan", count: str) -> bool:
    """Ask; where nobody can answer, nothing is deleted."""
    if not sys.stdin.isatty():
        logger.warning("%s: %s could be deleted; say so with -f", plan.run.path, count)
        return False
    return input(f"delete {count} of {plan.run.path}? [y/N] ").strip().lower() in {"y", "yes"}
