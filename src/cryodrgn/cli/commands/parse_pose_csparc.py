"""``cryodrgn parse_pose_csparc``."""

import argparse
from pathlib import Path

from cryodrgn.cli.options import add_box_size, add_pickle_output, require_ending


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("input", type=Path, help="cryoSPARC .cs file")
    parser.add_argument(
        "--abinit",
        action="store_true",
        help="Flag if results are from ab-initio reconstruction",
    )
    parser.add_argument(
        "--hetrefine",
        action="store_true",
        help="Flag if results are from a heterogeneous refinement at half the box size: "
        "shifts are doubled, unless the file gives the pixel size they refer to",
    )
    add_box_size(parser)
    add_pickle_output(parser, "Output poses (.pkl)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.cryosparc import CryosparcParticles
    from cryodrgn.io.parse import parse_poses

    require_ending(args.output, (".pkl",), "-o")
    particles = CryosparcParticles(
        args.input,
        alignments="alignments_class_0" if args.abinit else "alignments3D",
        shift_scale=2.0 if args.hetrefine else 1.0,
    )
    parse_poses(particles, args.output, args.box_size)
