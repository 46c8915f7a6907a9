"""``cryodrgn conformational_density``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import read_anchors
from cryodrgn.errors import ConfigError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("workdir", type=Path, help="Folder of a run")
    parser.add_argument(
        "epoch", type=int, nargs="?", help="Epoch of the latents (default: the last)"
    )
    parser.add_argument("-o", "--outdir", type=Path, required=True, help="Output folder")
    parser.add_argument(
        "--dims",
        type=int,
        default=2,
        metavar="N",
        help="The first N dimensions of the latent, at most 4 (default: %(default)s)",
    )
    parser.add_argument(
        "--anchors",
        nargs=2,
        metavar="A",
        help="Two particles to be joined by a path of high density",
    )
    parser.add_argument(
        "--bootstraps",
        type=int,
        default=20,
        metavar="N",
        help="Bootstrap samples for the bands (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.density import (
        conformational_density,
        density_path,
        lifted,
        write_density,
    )
    from cryodrgn.analysis.density_plots import plot_density
    from cryodrgn.analysis.plots import save_figure
    from cryodrgn.io.latent_text import save_latent_text
    from cryodrgn.linear.latents import run_latents
    from cryodrgn.lineardir import DensityFiles
    from cryodrgn.rundir import RunDirectory

    latents = run_latents(RunDirectory(args.workdir), args.epoch)
    anchors = None if args.anchors is None else read_anchors(args.anchors, len(latents.mean))
    if not 1 <= args.dims <= latents.mean.shape[1] or args.bootstraps < 2:
        msg = (
            f"--dims must lie between 1 and the {latents.mean.shape[1]} of the latent, and "
            f"--bootstraps be at least 2, got {args.dims} and {args.bootstraps}"
        )
        raise ConfigError(msg)
    columns, kept, doubt = latents.mean[:, : args.dims], slice(args.dims), latents.covariances
    density = conformational_density(
        columns,
        None if doubt is None else doubt[:, kept, kept],
        num_bootstraps=args.bootstraps,
        seed=args.seed,
    )
    files, path = DensityFiles(args.outdir), None
    write_density(files.table, density)
    if anchors is not None:
        path = density_path(density, *columns[anchors])
        points = lifted(path, latents.mean, columns, density.smoothing)
        save_latent_text(files.path_text, points)
        logger.info("wrote %d z-values along the path to %s", len(points), files.path_text)
    save_figure(plot_density(density, path), files.figure)
    logger.info("wrote the density to %s", args.outdir)
