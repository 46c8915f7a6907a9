"""``cryodrgn export``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.options import output_names, require_ending

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "particles",
        type=Path,
        help="Original particle file of RELION (.star) or cryoSPARC (.cs)",
    )
    parser.add_argument(
        "--ind",
        type=Path,
        required=True,
        help="Chosen particles (.pkl, .npy or .txt), as rows of the original file",
    )
    parser.add_argument(
        *output_names("star"),
        dest="output",
        type=Path,
        required=True,
        help="File to write, of the same type; a .cs gets its .csg and passthrough beside it",
    )
    parser.add_argument(
        "--passthrough",
        type=Path,
        nargs="+",
        metavar="CS",
        help="Passthrough files (.cs) of the particles (default: those beside the original)",
    )
    group = parser.add_argument_group("Columns to add")
    group.add_argument("--labels", type=Path, help="Cluster of every particle (labels.pkl)")
    group.add_argument("--latents", type=Path, help="Latents of every particle (z.pkl)")
    group.add_argument(
        "--table-ind",
        type=Path,
        metavar="PKL",
        help="Indices by which the particles of these tables had been filtered",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.export import export_particles
    from cryodrgn.io.legacy_pickle import load_labels, load_latents
    from cryodrgn.io.selection_files import load_selection

    require_ending(args.output, (".star", ".cs"), "-o")
    if args.passthrough is not None and args.output.suffix != ".cs":
        logger.warning("--passthrough has no effect: a .star file has none")
    selection = load_selection(args.ind)
    rows = selection.indices
    columns = {}
    if args.labels is not None:
        columns["cluster"] = _for_rows(args, load_labels(args.labels), rows, args.labels)
    if args.latents is not None:
        columns["latent"] = _for_rows(args, load_latents(args.latents), rows, args.latents)
    paths = export_particles(
        args.particles, selection, args.output, columns=columns, passthrough=args.passthrough
    )
    names = ", ".join(str(path) for path in paths)
    logger.info("wrote %d particles to %s", len(rows), names)
    if args.output.suffix == ".cs":
        logger.info("in cryoSPARC, run Import Result Group on %s", paths[-1])


def _for_rows(
    args: argparse.Namespace, table: "np.ndarray", rows: "np.ndarray", path: Path
) -> "np.ndarray":
    """The rows of a table that belong to original rows."""
    import numpy as np

    from cryodrgn.io.selection_files import load_indices
    from cryodrgn.particles.selection import check_indices, positions_in

    if args.table_ind is None:
        return table[check_indices(rows, len(table), source=str(args.ind), of=str(path))]
    parent = load_indices(args.table_ind)
    places = positions_in(rows, parent, source=str(args.table_ind))
    limit = np.int64(len(table))
    return table[check_indices(places, int(limit), source=str(args.table_ind), of=str(path))]
