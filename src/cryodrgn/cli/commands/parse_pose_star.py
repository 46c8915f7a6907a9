"""``cryodrgn parse_pose_star``."""

import argparse
from pathlib import Path

from cryodrgn.cli.options import add_box_size, add_pickle_output, add_pixel_size, require_ending


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("input", type=Path, help="RELION .star file")
    add_box_size(parser)
    add_pixel_size(parser)
    add_pickle_output(parser, "Output poses (.pkl)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.parse import parse_poses
    from cryodrgn.io.relion import RelionParticles

    require_ending(args.output, (".pkl",), "-o")
    parse_poses(RelionParticles(args.input), args.output, args.box_size, args.pixel_size)
