"""``cryodrgn parse_ctf_csparc``."""

import argparse
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
    parser.add_argument("cs", type=Path, help="cryoSPARC .cs file")
    add_pixel_size(parser)
    add_box_size(parser)
    add_pickle_output(parser, "Output CTF parameters (.pkl)")
    add_ctf_picture(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.cryosparc import CryosparcParticles

    require_ending(args.output, (".pkl",), "-o")
    write_ctf(CryosparcParticles(args.cs), args)
