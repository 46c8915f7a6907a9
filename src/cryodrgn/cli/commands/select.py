"""``cryodrgn select``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.options import add_ctf, add_datadir, output_names, require_ending
from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.analysis.selection import Candidates

logger = logging.getLogger(__name__)

# Relative difference up to which a pixel size that was typed is one that a file gives.
TYPED_TOLERANCE = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "run", type=Path, nargs="?", help="Training run whose latents are looked at (optional)"
    )
    parser.add_argument(
        *output_names("pkl"),
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
    group.add_argument(
        "--particles",
        type=Path,
        metavar="FILE",
        help="The original file (.mrcs, .star, .cs, or .txt), for --pixel-size",
    )
    add_ctf(group)
    add_datadir(group)
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
        "--pixel-size",
        type=float,
        metavar="Å",
        help="Images of this pixel size in --particles (or its --ctf), as a command named it",
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
    pixel_sizes = _pixel_sizes(args)
    tables = [table for table in (coordinates, labels) if table is not None]
    parent = _parent(args)
    num_original = args.num_original
    if num_original is None and pixel_sizes is not None:
        num_original = len(pixel_sizes)
    if num_original is None and parent is None and tables:
        num_original = len(tables[0])
    candidates = _candidates(args, parent, num_original)
    whole = len(candidates)
    if args.pixel_size is not None:
        table = _required(pixel_sizes, "--particles")
        candidates = _of_pixel_size(candidates, table, args)
    if args.clusters is not None:
        candidates = candidates.in_clusters(_required(labels, "--labels"), args.clusters)
    for axis, low, high in args.box or []:
        table = _required(coordinates, "--coordinates")
        candidates = candidates.in_box(table, int(axis), low, high)
    if args.outliers is not None:
        table = _required(coordinates, "--coordinates")
        candidates = candidates.beyond(table, args.outliers)
    candidates = _on_lists(args, candidates, num_original)
    if args.invert:
        candidates = candidates.inverted()
    candidates = _some(args, candidates, coordinates)
    chosen = candidates.chosen
    check_indices(chosen, int(chosen.max(initial=0)) + 1, source="the selection", of="it")
    save_pickles(args.output, [chosen])
    logger.info("chose %d of %d particles: wrote %s", len(chosen), whole, args.output)


def _pixel_sizes(args: argparse.Namespace) -> "np.ndarray | None":
    """Å/px of every particle of the original file, if it is given."""
    from cryodrgn.io.particle_files import ParticleFiles, open_particles

    if args.particles is None:
        return None
    files = ParticleFiles(particles=args.particles, ctf=args.ctf, datadir=args.datadir)
    return open_particles(files).first_images.pixel_sizes


def _of_pixel_size(
    candidates: "Candidates", pixel_sizes: "np.ndarray", args: argparse.Namespace
) -> "Candidates":
    """Those whose images have the pixel size that is asked for."""
    import numpy as np

    from cryodrgn.particles.pixel_sizes import in_words, rows_by_pixel_size
    from cryodrgn.particles.selection import check_indices

    check_indices(
        candidates.rows, len(pixel_sizes), source="the selection", of=str(args.particles)
    )
    groups = rows_by_pixel_size(pixel_sizes)
    distances = [abs(float(pixel_sizes[rows[0]]) / args.pixel_size - 1) for rows in groups]
    nearest = int(np.argmin(distances))
    # Sizes are shown with six digits, which may be all that the user has of them.
    if distances[nearest] > TYPED_TOLERANCE:
        found = in_words(pixel_sizes, groups)
        msg = f"{args.particles} has no images of --pixel-size {args.pixel_size:g}, but {found}"
        raise ConfigError(msg)
    return candidates.keep(np.isin(candidates.rows, groups[nearest]))


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


def _parent(args: argparse.Namespace) -> Path | None:
    """The file by which the particles had been filtered before, if they had been."""
    from cryodrgn.io.run_config import parent_indices

    if args.ind is None and args.run is not None:
        return parent_indices(args.run)
    return args.ind


def _candidates(
    args: argparse.Namespace, parent: Path | None, num_original: int | None
) -> "Candidates":
    """All particles that could be chosen, under their rows of the original file."""
    import numpy as np

    from cryodrgn.analysis.selection import Candidates
    from cryodrgn.particles.selection import check_indices

    if parent is not None:
        (rows,) = _rows_on([parent], num_original)
        if num_original is not None:
            check_indices(rows, num_original, source=str(parent), of="the original file")
        return Candidates.all_of(rows)
    if num_original is not None:
        return Candidates.all_of(np.arange(num_original))
    lists = [*(args.all_of or []), *(args.any_of or []), *(args.none_of or [])]
    if not lists or args.invert:
        msg = "say how many particles there are to choose from: --num-original or --ind"
        raise ConfigError(msg)
    return Candidates.all_of(np.unique(np.concatenate(_rows_on(lists, None))))


def _on_lists(
    args: argparse.Namespace, candidates: "Candidates", num_original: int | None
) -> "Candidates":
    """Those that the index files admit."""
    import numpy as np

    for rows in _rows_on(args.all_of, num_original):
        candidates = candidates.among(rows)
    if args.any_of:
        candidates = candidates.among(np.concatenate(_rows_on(args.any_of, num_original)))
    for rows in _rows_on(args.none_of, num_original):
        candidates = candidates.keep(~np.isin(candidates.rows, rows))
    return candidates


def _rows_on(paths: list[Path] | None, num_original: int | None) -> "list[np.ndarray]":
    """The rows of the original file that selection files name."""
    from cryodrgn.io.selection_files import load_selection

    found = []
    for path in paths or []:
        selection = load_selection(path)
        # Masks must be of the same particles, however many these are.
        num_original = selection.mask_length if num_original is None else num_original
        if num_original is not None:
            selection.require_length(num_original, "the original file")
        found.append(selection.indices)
    return found


def _some(
    args: argparse.Namespace, candidates: "Candidates", coordinates: "np.ndarray | None"
) -> "Candidates":
    """The number of particles asked for, by nearness or by chance."""
    import numpy as np

    from cryodrgn.particles.selection import positions_in

    if args.near is not None and args.near_particle is not None:
        msg = "give the point in one way: --near or --near-particle"
        raise ConfigError(msg)
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
