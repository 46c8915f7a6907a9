"""``cryodrgn_utils plot_z_pca``."""

import argparse
import logging

from cryodrgn.cli.tool_options import add_drawing, add_latents, read_latents

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_latents(parser)
    add_drawing(parser, "z_pca.png")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.latent_plots import plot_marginals
    from cryodrgn.analysis.pca import PLANE, plane_of
    from cryodrgn.analysis.plots import save_figure

    figure = plot_marginals(plane_of(read_latents(args)), PLANE)
    save_figure(figure, args.output)
    logger.info("wrote %s", args.output)
