"""``cryodrgn_utils select_clusters``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import add_output

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("labels", type=Path, help="Cluster of every particle (labels.pkl)")
    parser.add_argument(
        "--sel", type=int, nargs="+", required=True, help="Clusters to keep, as numbered there"
    )
    parser.add_argument(
        "--parent-ind",
        type=Path,
        help="Rows (.pkl, .npy or .txt) of the labelled particles in the original file, if "
        "they had been filtered",
    )
    parser.add_argument(
        "--N-orig",
        dest="num_original",
        type=int,
        help="Number of particles in the original file, to check --parent-ind against",
    )
    add_output(parser, "Chosen indices into the original file (.pkl)", kind="pkl")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.legacy_pickle import load_labels, save_pickles
    from cryodrgn.io.selection_files import load_selection
    from cryodrgn.particles.selection import rows_with_labels, to_original_rows

    require_ending(args.output, (".pkl",), "-o")
    labels = load_labels(args.labels)
    parent = None
    if args.parent_ind is not None:
        selection = load_selection(args.parent_ind)
        if args.num_original is not None:
            selection.require_length(args.num_original, "the original file")
        parent = selection.indices
    chosen = to_original_rows(
        rows_with_labels(labels, args.sel),
        len(labels),
        parent,
        num_original=args.num_original,
        source=str(args.parent_ind),
    )
    save_pickles(args.output, [chosen])
    logger.info("wrote %d of %d indices to %s", len(chosen), len(labels), args.output)
