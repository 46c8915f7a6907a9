"""``cryodrgn_utils filter_pkl``."""

import argparse
import logging

from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import add_indices, add_input, add_output
from cryodrgn.errors import ConfigError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Poses, CTF parameters, latents, or other arrays (.pkl)")
    add_indices(parser, required=False)
    parser.add_argument("--first", type=int, metavar="N", help="Keep the first N rows")
    add_output(parser, "Output (.pkl)", kind="pkl")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import numpy as np

    from cryodrgn.io.pickle_rows import filter_pickle
    from cryodrgn.io.selection_files import load_selection
    from cryodrgn.particles.selection import Selection

    require_ending(args.output, (".pkl",), "-o")
    if (args.ind is None) == (args.first is None):
        msg = "say which rows to keep in one way: --ind or --first"
        raise ConfigError(msg)
    if args.ind is None:
        selection = Selection(indices=np.arange(args.first), source=f"--first {args.first}")
    else:
        selection = load_selection(args.ind)
    count = filter_pickle(args.input, selection, args.output)
    logger.info("wrote %d of %d rows to %s", len(selection.indices), count, args.output)
