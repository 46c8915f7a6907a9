"""``cryodrgn parse_ctf_star``."""

import argparse
import math
from pathlib import Path

from cryodrgn.cli.options import (
    add_box_size,
    add_ctf_picture,
    add_pickle_output,
    add_pixel_size,
    require_ending,
    write_ctf,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("star", type=Path, help="RELION .star file")
    add_pixel_size(parser)
    add_box_size(parser)
    add_pickle_output(parser, "Output CTF parameters (.pkl)")
    add_ctf_picture(parser)
    group = parser.add_argument_group("Values that replace those of the file")
    group.add_argument("--kv", type=float, help="Accelerating voltage (kV)")
    group.add_argument("--cs", type=float, help="Spherical aberration (mm)")
    group.add_argument("-w", type=float, help="Amplitude contrast ratio")
    group.add_argument("--ps", type=float, help="Phase shift (deg)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.relion import RelionParticles

    require_ending(args.output, (".pkl",), "-o")
    given = {
        "voltage_kv": args.kv,
        "spherical_aberration_mm": args.cs,
        "amplitude_contrast": args.w,
        "phase_shift": None if args.ps is None else math.radians(args.ps),
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    write_ctf(RelionParticles(args.star, overrides), args)
