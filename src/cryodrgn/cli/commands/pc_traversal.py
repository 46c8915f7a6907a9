"""``cryodrgn pc_traversal``, in the documentation of 0.2.0 also ``get_z_pcs.py``."""

import argparse
import logging
from pathlib import Path

logger = logging.getLogger(__name__)

RADIUS = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("z", type=Path, help="Latents of all particles (z.pkl)")
    parser.add_argument(
        "--dim",
        "--pc",
        type=int,
        nargs="+",
        metavar="PC",
        help="Principal components, counted from 1 (default: all)",
    )
    parser.add_argument(
        "-n", type=int, default=10, help="Points along a component (default: %(default)s)"
    )
    parser.add_argument(
        "--lim",
        type=float,
        nargs=2,
        default=(5.0, 95.0),
        metavar=("LO", "HI"),
        help="Begin and end, as percentiles from 0 to 100 (default: 5 95)",
    )
    parser.add_argument(
        "--use-percentile-spacing",
        action="store_true",
        help="Space the points equally in percentiles, not in coordinates",
    )
    parser.add_argument(
        "-o",
        "--outdir",
        type=Path,
        metavar="DIR",
        help="Folder for pc1.txt, pc2.txt …, for eval_vol --zfile (default: print only)",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.pca import principal_components
    from cryodrgn.analysis.trajectories import component_path, count_within
    from cryodrgn.analysisdir import component_text
    from cryodrgn.io.latent_text import save_latent_text
    from cryodrgn.io.legacy_pickle import load_latents

    latents = load_latents(args.z)
    components = principal_components(latents)
    numbers = args.dim or range(1, len(components) + 1)
    paths = {
        number: component_path(
            latents,
            components,
            number,
            args.n,
            limits=tuple(args.lim),
            by_percentile=args.use_percentile_spacing,
        )
        for number in numbers
    }
    for number, path in paths.items():
        first, last = path.coordinates[[0, -1]]
        counts = count_within(latents, path.points, RADIUS)
        logger.info("PC %d from %.5f to %.5f", number, first, last)
        logger.info("particles within %g of each point: %s", RADIUS, _in_a_row(counts))
        if args.outdir is None:
            logger.info("%s", "\n".join(_in_a_row(point) for point in path.points))
        else:
            save_latent_text(component_text(args.outdir, number), path.points)
    if args.outdir is not None:
        logger.info("wrote the z-values to %s", args.outdir)


def _in_a_row(values: object) -> str:
    return " ".join(f"{value:g}" for value in values)  # type: ignore[attr-defined]
