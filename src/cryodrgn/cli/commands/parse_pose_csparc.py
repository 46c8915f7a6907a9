"""``cryodrgn parse_pose_csparc``."""

import argparse
from pathlib import Path

from cryodrgn.cli.options import add_pickle_output, add_pixel_size, require_ending


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
    parser.add_argument(
        "-D",
        dest="box_size",
        type=int,
        metavar="D",
        help="Box size of the reconstruction in pixels, before any downsampling: that of the "
        "refinement; needed only where the file does not say it (older jobs)",
    )
    add_pixel_size(parser)
    add_pickle_output(parser, "Output poses (.pkl)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.cryosparc import CryosparcParticles
    from cryodrgn.io.metadata import require_box_size
    from cryodrgn.io.parse import parse_poses

    require_ending(args.output, (".pkl",), "-o")
    require_box_size(args.box_size)
    particles = CryosparcParticles(
        args.input,
        alignments="alignments_class_0" if args.abinit else "alignments3D",
        shift_scale=2.0 if args.hetrefine else 1.0,
        refined_box_size=args.box_size,
    )
    of_images = particles.box_size()
    box_size = args.box_size if of_images is None else of_images
    parse_poses(particles, args.output, box_size, args.pixel_size)
