"""``cryodrgn_utils project3d``."""

import argparse
import logging
import math
from pathlib import Path

from cryodrgn.cli.tool_options import (
    add_input,
    add_output,
    add_picture,
    add_seed,
    draw_stack,
    require_mrc,
)

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Volume (.mrc)", "mrc")
    add_output(parser, "Output stack (.mrcs)")
    parser.add_argument("--out-pose", type=Path, metavar="PKL", help="Output poses (.pkl)")
    add_picture(parser)
    parser.add_argument("-N", dest="count", type=int, help="Number of random projections")
    parser.add_argument(
        "-b",
        dest="batch_size",
        type=int,
        default=100,
        help="Images made at once (default: %(default)s)",
    )
    parser.add_argument(
        "--t-extent",
        type=float,
        default=5.0,
        help="Largest shift along x and y in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--grid",
        type=int,
        metavar="LEVEL",
        help="All rotations of a grid: 72 at level 0, eight times as many at each further one",
    )
    parser.add_argument(
        "--tilt",
        type=float,
        metavar="DEG",
        help="Turn the stage about x before the exposure; --out-pose keeps the untilted poses",
    )
    add_seed(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="Say the first poses")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import numpy as np

    from cryodrgn.geometry.rotations import rotation_about_x
    from cryodrgn.io.legacy_pickle import save_poses
    from cryodrgn.io.mrc import read_volume
    from cryodrgn.simulation.projections import (
        ProjectionSettings,
        chosen_rotations,
        write_projections,
    )

    require_mrc(args.output)
    volume, pixel_size = read_volume(args.mrc)
    settings = ProjectionSettings(
        rotations=chosen_rotations(args.count, args.grid, args.seed),
        shift_extent_px=args.t_extent,
        tilt=None if args.tilt is None else rotation_about_x(math.radians(args.tilt)),
        batch_size=args.batch_size,
        seed=args.seed,
    )
    poses = write_projections(volume, settings, args.output, pixel_size)
    if args.out_pose is not None:
        save_poses(args.out_pose, poses, np.array([len(volume) * (pixel_size or 1.0)]))
    draw_stack(args.output, args.out_png)
    if args.verbose:
        logger.info("first rotation:\n%s", poses.rotations[0])
    logger.info("wrote %d projections to %s", len(poses), args.output)
