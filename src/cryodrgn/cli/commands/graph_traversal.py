"""``cryodrgn graph_traversal``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import add_anchors, read_anchors
from cryodrgn.errors import ConfigError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", type=Path, help="Latents of all particles (z.pkl)")
    add_anchors(parser)
    parser.add_argument(
        "--max-neighbors",
        type=int,
        default=10,
        help="Neighbours of a particle, at most, itself included (default: %(default)s)",
    )
    parser.add_argument(
        "--avg-neighbors",
        type=float,
        default=5.0,
        help="Neighbours of a particle, on average (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=20_000,
        help="Particles whose neighbours are looked up at a time (default: %(default)s)",
    )
    parser.add_argument("--max-images", type=int, metavar="N", help="Use the first N particles")
    parser.add_argument(
        "-o",
        "--outind",
        type=Path,
        default=Path("z-path-indices.txt"),
        metavar="TXT",
        help="Text file for the particles on the path (default: %(default)s)",
    )
    parser.add_argument(
        "--out-z",
        "--outtxt",
        type=Path,
        default=Path("z-path.txt"),
        metavar="TXT",
        help="Text file for their z-values, for eval_vol --zfile (default: %(default)s)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="Say every z-value")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.trajectories import graph_path
    from cryodrgn.io.latent_text import save_index_text, save_latent_text
    from cryodrgn.io.legacy_pickle import load_latents

    if args.batch_size < 1 or (args.max_images is not None and args.max_images < 1):
        msg = "--batch-size and --max-images must be at least 1"
        raise ConfigError(msg)
    latents = load_latents(args.data)[: args.max_images]
    anchors = read_anchors(args.anchors, len(latents))
    path = graph_path(
        latents,
        anchors,
        max_neighbours=args.max_neighbors,
        average_neighbours=args.avg_neighbors,
        block=args.batch_size,
    )
    logger.info("edges are shorter than %.4g", path.longest_edge)
    for leg, start, end in zip(path.legs, anchors, anchors[1:], strict=False):
        if len(leg.nodes) == 0:
            msg = (
                f"no path leads from particle {start} to {end} over edges shorter than "
                f"{path.longest_edge:.4g}; try a larger --avg-neighbors and --max-neighbors"
            )
            raise ConfigError(msg)
        logger.info(
            "%d to %d: %d particles, length %.4g, straight distance %.4g",
            *(start, end, len(leg.nodes), leg.length, leg.distance),
        )
    logger.info("path: %s", " ".join(map(str, path.nodes)))
    if args.verbose:
        for point in latents[path.nodes]:
            logger.info("%s", " ".join(f"{value:g}" for value in point))
    save_index_text(args.outind, path.nodes)
    save_latent_text(args.out_z, latents[path.nodes])
    logger.info("wrote %s and %s", args.outind, args.out_z)
