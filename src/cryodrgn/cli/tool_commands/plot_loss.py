"""``cryodrgn_utils plot_loss``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.tool_options import add_drawing

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("logs", type=Path, nargs="+", help="Logs of training runs (run.log)")
    add_drawing(parser, "loss.png")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.plots import plot_learning_curves, save_figure
    from cryodrgn.io.learning_curve import read_log

    curves = {str(path): read_log(path) for path in args.logs}
    for name, losses in curves.items():
        logger.info("%s: %d epochs, last loss %g", name, len(losses), losses[-1])
    save_figure(plot_learning_curves(curves), args.output)
    logger.info("wrote %s", args.output)
