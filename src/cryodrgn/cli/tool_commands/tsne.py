"""``cryodrgn_utils tsne``."""

import argparse

from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import (
    add_latents,
    add_output,
    add_seed,
    add_show,
    read_latents,
    save_map,
)


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
    add_show(parser)
    add_output(parser, "Places on the map (.pkl)", kind="pkl")
    add_seed(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.embedding import tsne_embedding

    require_ending(args.output, (".pkl",), "-o")
    places = tsne_embedding(read_latents(args), args.perplexity, args.seed)
    save_map(args, places, ("t-SNE 1", "t-SNE 2"))
