"""``cryodrgn_utils plot_z2``."""

import argparse
import logging

from cryodrgn.cli.tool_options import add_drawing, add_latents, read_latents, require_dimensions

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_latents(parser)
    add_drawing(parser, "z2.png")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.latent_plots import plot_marginals
    from cryodrgn.analysis.plots import save_figure

    latents = read_latents(args)
    require_dimensions(latents, 2, args.z)
    figure = plot_marginals(latents, ("z1", "z2"))
    save_figure(figure, args.output)
    logger.info("wrote %s", args.output)
