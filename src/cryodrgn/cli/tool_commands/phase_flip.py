"""``cryodrgn_utils phase_flip``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import add_datadir
from cryodrgn.cli.tool_options import add_input, add_output, require_mrc

logger = logging.getLogger(__name__)

SPLIT = (
    "choose those of one with cryodrgn select --particles FILE --ctf PKL --pixel-size Å, and "
    "make a stack and a table of them with filter_mrcs and filter_pkl"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Particles (.mrcs, .star, .cs, or .txt)", "mrcs")
    parser.add_argument("ctf_params", type=Path, help="CTF parameters (.pkl)")
    add_datadir(parser)
    add_output(parser, "Output stack (.mrcs)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.data.stack_changes import change_stack, phase_flip, require_row_each
    from cryodrgn.io.legacy_pickle import load_ctf
    from cryodrgn.io.particle_files import open_stack
    from cryodrgn.particles.pixel_sizes import common_pixel_size

    require_mrc(args.output)
    images, _ = open_stack(args.mrcs, args.datadir)
    ctf, side_lengths = load_ctf(args.ctf_params)
    require_row_each(len(ctf), images, args.ctf_params, args.mrcs)
    pixel_sizes = side_lengths / images.box_size
    pixel_size = common_pixel_size(pixel_sizes, str(args.ctf_params), SPLIT)
    change_stack(images, args.output, phase_flip(ctf, pixel_sizes), pixel_size)
    logger.info("wrote %d phase-flipped images to %s", len(images), args.output)
