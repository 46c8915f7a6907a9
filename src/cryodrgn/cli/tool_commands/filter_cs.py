"""``cryodrgn_utils filter_cs``, once also ``write_cs``."""

import argparse
import logging

from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import add_indices, add_input, add_output

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "cryoSPARC particles (.cs)", "particles")
    add_indices(parser)
    add_output(parser, "Output (.cs); export writes .csg and passthrough, too", kind="cs")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.cryosparc_tables import read_table, write_table
    from cryodrgn.io.selection_files import load_selection

    require_ending(args.output, (".cs",), "-o")
    table = read_table(args.particles)
    rows = load_selection(args.ind).rows_of(len(table), str(args.particles))
    write_table(args.output, table[rows])
    logger.info("wrote %d of %d rows to %s", len(rows), len(table), args.output)
