"""``cryodrgn_utils run_umap``."""

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
    add_show(parser)
    add_output(parser, "Places on the map (.pkl)", kind="pkl")
    add_seed(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.embedding import umap_embedding

    require_ending(args.output, (".pkl",), "-o")
    places = umap_embedding(read_latents(args), args.seed)
    save_map(args, places, ("UMAP 1", "UMAP 2"))
