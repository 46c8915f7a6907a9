"""``cryodrgn direct_traversal``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import add_anchors, read_anchors

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("zfile", type=Path, help="Latents of all particles (z.pkl)")
    add_anchors(parser)
    parser.add_argument(
        "-n",
        type=int,
        default=6,
        help="Points from anchor to anchor, both included (default: %(default)s)",
    )
    parser.add_argument("--loop", action="store_true", help="Return to the first anchor")
    parser.add_argument(
        "-o",
        "--outtxt",
        type=Path,
        metavar="TXT",
        help="Text file for the z-values, for eval_vol --zfile (default: print only)",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.trajectories import direct_path
    from cryodrgn.io.latent_text import save_latent_text
    from cryodrgn.io.legacy_pickle import load_latents

    latents = load_latents(args.zfile)
    anchors = read_anchors(args.anchors, len(latents))
    points = direct_path(latents[anchors], args.n, closed=args.loop)
    if args.outtxt is None:
        for point in points:
            logger.info("%s", " ".join(f"{value:.8f}" for value in point))
        return
    save_latent_text(args.outtxt, points)
    logger.info("wrote %d z-values to %s", len(points), args.outtxt)
