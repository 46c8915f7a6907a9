"""``cryodrgn_utils view_mrcs``, in 0.2.0 ``view_stack.py``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import add_datadir
from cryodrgn.cli.tool_options import add_indices, add_input, add_output, draw_images

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Particles (.mrcs, .star, .cs, or .txt)")
    add_output(parser, "Picture (default: INPUT.png)", kind="-png", required=False)
    add_datadir(parser)
    add_indices(parser, required=False)
    parser.add_argument("--invert", action="store_true", help="Invert contrast")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import numpy as np

    from cryodrgn.io.particle_files import open_stack
    from cryodrgn.io.selection_files import load_selection

    images, pixel_size = open_stack(args.input, args.datadir, as_they_are=True)
    size = "pixel size unknown" if pixel_size is None else f"{pixel_size:g} Å/px"
    logger.info("%d images of %d px, %s", len(images), images.box_size, size)
    rows = np.arange(len(images))
    if args.ind is not None:
        rows = load_selection(args.ind).rows_of(len(images), str(args.input))
    output = args.output or Path(args.input.name).with_suffix(".png")
    draw_images(images.select(rows), output, negate=args.invert)
    logger.info("wrote %s", output)
