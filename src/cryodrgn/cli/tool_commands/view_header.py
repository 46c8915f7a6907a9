"""``cryodrgn_utils view_header``."""

import argparse
import logging

from cryodrgn.cli.tool_options import add_input

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Volume or stack (.mrc, .mrcs)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.mrc_edit import describe_header

    logger.info("\n".join(describe_header(args.input)))
