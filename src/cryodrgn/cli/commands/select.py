"""``cryodrgn select``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.options import require_ending
from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.analysis.selection import Candidates

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "run", type=Path, nargs="?", help="Training run whose latents are looked at (optional)"
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        required=True,
        metavar="PKL",
        help="Indices (.pkl) of the chosen particles, as rows of the original particle file",
    )
    group = parser.add_argument_group("What is known of the particles")
    group.add_argument(
        "--coordinates", type=Path, help="Coordinates, such as z.pkl or umap.pkl"
    )
    group.add_argument(
        "--pc", action="store_true", help="Use the principal components of the coordinates"
    )
    group.add_argument("--labels", type=Path, help="Clusters (labels.pkl)")
    group.add_argument(
        "--ind",
        type=Path,
        help="Indices by which the particles had been filtered before (default: as in the run)",
    )
    group.add_argument(
        "--num-original", type=int, metavar="N", help="Particles in the original file"
    )
    _add_criteria(parser.add_argument_group("Criteria, all of which a particle must meet"))


def _add_criteria(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--clusters", type=int, nargs="+", help="In one of these clusters of --labels"
    )
    group.add_argument(
        "--box",
        nargs=3,
        type=float,
        action="append",
        metavar=("AXIS", "LOW", "HIGH"),
        help="Coordinate AXIS (from 0) between LOW and HIGH; may be repeated",
    )
    group.add_argument(
        "--outliers",
        type=float,
        metavar="SD",
        help="Length of the coordinates more than SD standard deviations above the mean",
    )
    for name, text in (
        ("all-of", "In every one of these index files"),
        ("any-of", "In at least one of these index files"),
        ("none-of", "In none of these index files"),
    ):
        group.add_argument(f"--{name}", type=Path, nargs="+", metavar="PKL", help=text)
    group.add_argument("--invert", action="store_true", help="Take those that fail so far")
    group.add_argument(
        "--near", type=float, nargs="+", metavar="Z", help="Nearest to this point; see --count"
    )
    group.add_argument(
        "--near-particle",
        type=int,
        metavar="ROW",
        help="Nearest to this particle, a row of the original file; see --count",
    )
    group.add_argument("--random", action="store_true", help="At random; see --count")
    group.add_argument(
        "--count", type=int, default=100, help="How many of them (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=0, help="Random seed (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.legacy_pickle import load_labels, save_pickles
    from cryodrgn.particles.selection import check_indices

    require_ending(args.output, (".pkl",), "-o")
    coordinates = _coordinates(args)
    labels = None if args.labels is None else load_labels(args.labels)
    candidates = _candidates(args, [t for t in (coordinates, labels) if t is not None])
    whole = len(candidates)
    if args.clusters is not None:
        candidates = candidates.in_clusters(_required(labels, "--labels"), args.clusters)
    for axis, low, high in args.box or []:
        table = _required(coordinates, "--coordinates")
        candidates = candidates.in_box(table, int(axis), low, high)
    if args.outliers is not None:
        table = _required(coordinates, "--coordinates")
        candidates = candidates.beyond(table, args.outliers)
    candidates = _on_lists(args, candidates)
    if args.invert:
        candidates = candidates.inverted()
    candidates = _some(args, candidates, coordinates)
    chosen = candidates.chosen
    check_indices(chosen, int(chosen.max(initial=0)) + 1, source="the selection", of="it")
    save_pickles(args.output, [chosen])
    logger.info("chose %d of %d particles: wrote %s", len(chosen), whole, args.output)


def _coordinates(args: argparse.Namespace) -> "np.ndarray | None":
    """Coordinates of the particles, if any are given."""
    from cryodrgn.analysis.pca import principal_components
    from cryodrgn.io.legacy_pickle import load_latents
    from cryodrgn.rundir import RunDirectory

    path = args.coordinates
    if path is None and args.run is not None:
        path = RunDirectory(args.run).latents()
    if path is None:
        return None
    table = load_latents(path)
    return principal_components(table).project(table) if args.pc else table


def _candidates(args: argparse.Namespace, tables: "list[np.ndarray]") -> "Candidates":
    """All particles that could be chosen, under their rows of the original file."""
    import numpy as np

    from cryodrgn.analysis.selection import Candidates
    from cryodrgn.io.legacy_pickle import load_indices
    from cryodrgn.io.run_config import parent_indices
    from cryodrgn.particles.selection import check_indices

    path = args.ind
    if path is None and args.run is not None:
        path = parent_indices(args.run)
    if path is not None:
        rows = load_indices(path)
        if args.num_original is not None:
            check_indices(rows, args.num_original, source=str(path), of="the original file")
        return Candidates.all_of(rows)
    if args.num_original is not None:
        return Candidates.all_of(np.arange(args.num_original))
    if tables:
        return Candidates.all_of(np.arange(len(tables[0])))
    lists = [*(args.all_of or []), *(args.any_of or []), *(args.none_of or [])]
    if not lists or args.invert:
        msg = "say how many particles there are to choose from: --num-original or --ind"
        raise ConfigError(msg)
    return Candidates.all_of(np.unique(np.concatenate([load_indices(p) for p in lists])))


def _on_lists(args: argparse.Namespace, candidates: "Candidates") -> "Candidates":
    """Those that the index files admit."""
    import numpy as np

    from cryodrgn.io.legacy_pickle import load_indices

    for path in args.all_of or []:
        candidates = candidates.among(load_indices(path))
    if args.any_of:
        lists = [load_indices(path) for path in args.any_of]
        candidates = candidates.among(np.concatenate(lists))
    for path in args.none_of or []:
        candidates = candidates.keep(~np.isin(candidates.rows, load_indices(path)))
    return candidates


def _some(
    args: argparse.Namespace, candidates: "Candidates", coordinates: "np.ndarray | None"
) -> "Candidates":
    """The number of particles asked for, by nearness or by chance."""
    import numpy as np

    from cryodrgn.particles.selection import positions_in

    point = None if args.near is None else np.array(args.near)
    if args.near_particle is not None:
        row = np.array([args.near_particle])
        place = positions_in(row, candidates.rows, source="the selection")[0]
        point = _required(coordinates, "--coordinates")[place]
    if point is not None:
        table = _required(coordinates, "--coordinates")
        candidates = candidates.nearest(table, point, args.count)
    return candidates.sampled(args.count, args.seed) if args.random else candidates


def _required(table: "np.ndarray | None", option: str) -> "np.ndarray":
    if table is None:
        msg = f"this criterion needs {option}"
        raise ConfigError(msg)
    return table
