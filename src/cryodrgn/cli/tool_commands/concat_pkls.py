"""``cryodrgn_utils concat_pkls``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import add_output

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "input", type=Path, nargs="+", help="Pickles of the same kind, in the order wanted"
    )
    add_output(parser, "Output (.pkl)", kind="pkl")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.pickle_rows import concatenate_pickles

    require_ending(args.output, (".pkl",), "-o")
    counts = concatenate_pickles(args.input, args.output)
    logger.info(
        "wrote %s = %d rows to %s", " + ".join(map(str, counts)), sum(counts), args.output
    )
