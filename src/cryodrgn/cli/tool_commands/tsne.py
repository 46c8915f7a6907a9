"""``cryodrgn_utils tsne``."""

import argparse
import logging

from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import add_latents, add_output, add_seed, read_latents

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_latents(parser)
    parser.add_argument(
        "-p",
        "--perplexity",
        type=float,
        default=1000.0,
        help="Neighbours that count, about (default: %(default)g, or a third of the particles)",
    )
    parser.add_argument(
        "--show", action="store_true", help="Also draw the map, as a picture beside the output"
    )
    add_output(parser, "Places on the map (.pkl)")
    add_seed(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.embedding import tsne_embedding
    from cryodrgn.io.legacy_pickle import save_pickles

    require_ending(args.output, (".pkl",), "-o")
    places = tsne_embedding(read_latents(args), args.perplexity, args.seed)
    save_pickles(args.output, [places])
    logger.info("wrote %d places to %s", len(places), args.output)
    if args.show:
        from cryodrgn.analysis.latent_plots import plot_marginals
        from cryodrgn.analysis.plots import save_figure

        picture = args.output.with_suffix(".png")
        save_figure(plot_marginals(places, ("t-SNE 1", "t-SNE 2")), picture)
        logger.info("wrote %s", picture)
