"""``cryodrgn_utils invert_contrast``."""

import argparse
import logging

from cryodrgn.cli.tool_options import add_input, add_output, beside

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Volume or stack (.mrc, .mrcs)")
    add_output(parser, "Output file (default: INPUT_inverted.mrc)", required=False)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.mrc_edit import rewrite_map

    output = args.output or beside(args.input, "inverted")
    rewrite_map(args.input, output, negate=True)
    logger.info("wrote %s", output)
