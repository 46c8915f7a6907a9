"""``cryodrgn_utils filter_star``."""

import argparse
import logging

from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import add_indices, add_input, add_output

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "RELION file (.star)")
    add_indices(parser)
    parser.add_argument(
        "--et",
        action="store_true",
        help="Indices count particles of a tilt series (rlnGroupName, in order of appearance), "
        "of which all tilts are kept",
    )
    parser.add_argument(
        "-m",
        "--micrograph-files",
        dest="by_micrograph",
        action="store_true",
        help="Write one file per micrograph into the folder -o",
    )
    add_output(parser, "Output (.star), or folder with -m", kind="star")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.selection_files import load_selection
    from cryodrgn.io.star_rows import StarRows
    from cryodrgn.io.star_selection import rows_of_particles, write_by_micrograph

    if not args.by_micrograph:
        require_ending(args.output, (".star",), "-o")
    star, selection = StarRows.read(args.input), load_selection(args.ind)
    if args.et:
        rows = rows_of_particles(args.input, selection)
    else:
        rows = selection.rows_of(len(star.rows), str(args.input))
    if args.by_micrograph:
        paths = write_by_micrograph(star, rows, args.output)
        logger.info("wrote %d rows to %d files in %s", len(rows), len(paths), args.output)
        return
    star.write(args.output, rows)
    logger.info("wrote %d of %d rows to %s", len(rows), len(star.rows), args.output)
