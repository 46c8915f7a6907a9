"""``cryodrgn_utils plot_z_pca``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.tool_options import add_latents, read_latents

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_latents(parser)
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        default=Path("z_pca.png"),
        help="Output picture (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.latent_plots import plot_marginals
    from cryodrgn.analysis.pca import PLANE, plane_of
    from cryodrgn.analysis.plots import save_figure

    figure = plot_marginals(plane_of(read_latents(args)), PLANE)
    save_figure(figure, args.output)
    logger.info("wrote %s", args.output)
