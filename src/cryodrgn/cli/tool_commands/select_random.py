"""``cryodrgn_utils select_random``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import add_output, add_seed
from cryodrgn.errors import ConfigError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("N", type=int, help="Number of particles to choose from")
    add_output(parser, "Chosen indices (.pkl)", kind="pkl")
    parser.add_argument("-n", dest="count", type=int, help="Number to choose")
    parser.add_argument("--frac", type=float, help="Fraction to choose")
    parser.add_argument("-s", dest="inverse", type=Path, help="Indices not chosen (.pkl)")
    add_seed(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.legacy_pickle import save_pickles
    from cryodrgn.particles.selection import complement, random_subset

    require_ending(args.output, (".pkl",), "-o")
    if (args.count is None) == (args.frac is None):
        msg = "say how many particles to choose in one way: -n or --frac"
        raise ConfigError(msg)
    count = round(args.frac * args.N) if args.count is None else args.count
    chosen = random_subset(args.N, count, args.seed)
    save_pickles(args.output, [chosen])
    logger.info("wrote %d of %d indices to %s", len(chosen), args.N, args.output)
    if args.inverse is not None:
        save_pickles(args.inverse, [complement(chosen, args.N)])
