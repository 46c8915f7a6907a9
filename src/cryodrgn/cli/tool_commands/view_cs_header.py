"""``cryodrgn_utils view_cs_header``."""

import argparse
import logging

from cryodrgn.cli.tool_options import add_input

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "cryoSPARC table (.cs)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.cryosparc_tables import describe_table, read_table

    logger.info("\n".join(describe_table(read_table(args.input))))
