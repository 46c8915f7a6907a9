"""``cryodrgn_utils translate_mrcs``, in 0.2.0 ``translate_stack.py``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import add_datadir
from cryodrgn.cli.tool_options import (
    add_input,
    add_output,
    add_picture,
    draw_stack,
    require_mrc,
)

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Particles (.mrcs, .star, .cs, or .txt)", "mrcs")
    parser.add_argument(
        "trans", type=Path, help="Shifts (x, y) as fractions of the box, or poses (.pkl)"
    )
    parser.add_argument(
        "--tscale",
        type=float,
        default=1.0,
        help="Factor on the shifts; -1 undoes them (default: %(default)s)",
    )
    add_datadir(parser)
    add_output(parser, "Output stack (.mrcs)")
    add_picture(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.data.stack_changes import change_stack, require_row_each, translate
    from cryodrgn.io.legacy_pickle import load_shifts
    from cryodrgn.io.particle_files import open_stack

    require_mrc(args.output)
    images, pixel_size = open_stack(args.mrcs, args.datadir)
    fractions = load_shifts(args.trans)
    require_row_each(len(fractions), images, args.trans, args.mrcs)
    pixels = args.tscale * images.box_size * fractions
    change_stack(images, args.output, translate(pixels), pixel_size)
    draw_stack(args.output, args.out_png)
    logger.info("wrote %d shifted images to %s", len(images), args.output)
