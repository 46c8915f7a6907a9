"""``cryodrgn_utils filter_mrcs``."""

import argparse
import logging

from cryodrgn.cli.options import add_datadir
from cryodrgn.cli.tool_options import add_indices, add_input, add_output, require_mrc

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Particles (.mrcs, .star, .cs, or .txt)")
    add_indices(parser)
    add_datadir(parser)
    add_output(parser, "Output stack (default: INPUT_filtered.mrcs)", required=False)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.data.stack_changes import change_stack
    from cryodrgn.io.particle_files import open_stack
    from cryodrgn.io.selection_files import load_selection

    output = args.output or args.input.with_name(f"{args.input.stem}_filtered.mrcs")
    require_mrc(output)
    images, pixel_size = open_stack(args.input, args.datadir, as_they_are=True)
    rows = load_selection(args.ind).rows_of(len(images), str(args.input))
    change_stack(images.select(rows), output, None, pixel_size)
    logger.info("wrote %d of %d images to %s", len(rows), len(images), output)
