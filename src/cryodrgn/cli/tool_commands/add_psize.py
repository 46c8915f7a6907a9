"""``cryodrgn_utils add_psize``."""

import argparse
import logging

from cryodrgn.cli.tool_options import add_input, add_output, beside

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Volume or stack (.mrc, .mrcs)")
    parser.add_argument(
        "--Apix",
        "--apix",
        dest="pixel_size",
        type=float,
        default=1.0,
        help="Angstroms per pixel (default: %(default)s)",
    )
    parser.add_argument("--flip", action="store_true", help="Flip handedness by reversing z")
    parser.add_argument("--invert", action="store_true", help="Invert contrast")
    add_output(parser, "Output file (default: INPUT_psize.mrc)", required=False)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.mrc_edit import rewrite_map

    output = args.output or beside(args.input, "psize")
    rewrite_map(
        args.input, output, pixel_size=args.pixel_size, reverse=args.flip, negate=args.invert
    )
    logger.info("wrote %s (%g Å/px)", output, args.pixel_size)
