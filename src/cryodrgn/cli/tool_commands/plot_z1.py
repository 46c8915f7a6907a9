"""``cryodrgn_utils plot_z1``."""

import argparse
import logging

from cryodrgn.cli.tool_options import add_drawing, add_latents, read_latents, require_dimensions

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_latents(parser)
    add_drawing(parser, "z1.png")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import numpy as np

    from cryodrgn.analysis.latent_plots import plot_histogram
    from cryodrgn.analysis.plots import save_figure

    latents = read_latents(args)
    require_dimensions(latents, 1, args.z)
    figure = plot_histogram(latents[:, 0], np.zeros(0, np.float32))
    save_figure(figure, args.output)
    logger.info("wrote %s", args.output)
