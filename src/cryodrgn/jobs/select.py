"""Choice of particles by clusters, coordinates, density, lists, pixel size, or chance."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError
from cryodrgn.given_arrays import PathOrArray
from cryodrgn.jobs.feature_selection import FeatureOptions
from cryodrgn.jobs.options import PICKLE_ENDINGS, output_flags, require_ending
from cryodrgn.particles.options import ParticleOptions, TableOptions
from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Check,
    Job,
    SeedOptions,
    Settings,
    at_least,
    each,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from cryodrgn.analysis.selection import Candidates

logger = logging.getLogger(__name__)

# Relative difference up to which a pixel size that was typed is one that a file gives.
TYPED_TOLERANCE = 1e-3
KNOWN = "Properties of the particles"
CRITERIA = "Criteria, all of which a particle must meet"
INTERVAL = Check(
    words="an axis, from 0, and two numbers, the lower first",
    holds=lambda three: three[0] >= 0 and three[1] <= three[2],
)


@settings
class KnownOptions(Settings):
    """Coordinates, clusters and origin of the particles."""

    workdir: Path | None = positional(
        nargs="?",
        metavar="run",
        help="Training run whose latents are used (optional)",
    )
    output: Path = option(
        *output_flags("pkl"),
        metavar="PKL",
        help="Indices (.pkl) of the chosen particles, as rows of the original particle file",
    )
    coordinates: PathOrArray | None = option(
        "--coordinates",
        default=None,
        group=KNOWN,
        help="Coordinates, such as z.pkl or umap.pkl",
    )
    principal_components: bool = option(
        "--pc",
        default=False,
        group=KNOWN,
        help="Take principal components of the coordinates in place of the coordinates",
    )
    labels: PathOrArray | None = option(
        "--labels", default=None, group=KNOWN, help="Clusters (labels.pkl)"
    )
    indices: PathOrArray | None = option(
        "--ind",
        default=None,
        group=KNOWN,
        help="Indices by which the particles were filtered before (default: as in the run)",
    )
    num_original: int | None = option(
        "--num-original",
        default=None,
        group=KNOWN,
        metavar="N",
        check=at_least(1),
        help="Particles in the original file",
    )
    particles: Path | None = option(
        "--particles",
        default=None,
        group=KNOWN,
        metavar="FILE",
        help="The original file (.mrcs, .star, .cs, or .txt), for --pixel-size; with "
        "--feature, the run's particles in another place",
    )
    ctf: Path | None = same_as(TableOptions, "ctf", default=None, group=KNOWN)
    datadir: Path | None = same_as(ParticleOptions, "datadir", default=None, group=KNOWN)

    def table_of_coordinates(self) -> "np.ndarray | None":
        """Coordinates of the particles, if any are given."""
        from cryodrgn.analysis.pca import principal_components
        from cryodrgn.io.cryodrgn_pickle import load_latents
        from cryodrgn.rundir import RunDirectory

        path = self.coordinates
        if path is None and self.workdir is not None:
            path = RunDirectory(self.workdir).latents()
        if path is None:
            return None
        table = load_latents(path)
        if not self.principal_components:
            return table
        return principal_components(table).project(table)

    def table_of_pixel_sizes(self) -> "np.ndarray | None":
        """Å/px of every particle of the original file, if it is given."""
        from cryodrgn.io.particle_files import ParticleFiles, open_particles

        if self.particles is None:
            return None
        files = ParticleFiles(particles=self.particles, ctf=self.ctf, datadir=self.datadir)
        return open_particles(files).first_images.pixel_sizes_in_files

    def _given_files(self) -> dict[str, Path]:
        """Particles and what belongs to them, where particles are given."""
        given = {"particles": self.particles, "ctf": self.ctf, "datadir": self.datadir}
        if self.particles is None:
            return {}
        return {name: path for name, path in given.items() if path is not None}

    def parent(self) -> PathOrArray | None:
        """Rows by which the particles had been filtered before, if they had been."""
        from cryodrgn.io.run_config import parent_indices

        if self.indices is None and self.workdir is not None:
            return parent_indices(self.workdir)
        return self.indices


@settings
class Select(FeatureOptions, KnownOptions, Job["np.ndarray"]):
    """Choose particles by cluster, latent, density, lists, or at random."""

    clusters: tuple[int, ...] | None = option(
        "--clusters",
        default=None,
        group=CRITERIA,
        check=each(at_least(0)),
        help="In one of these clusters of --labels",
    )
    boxes: tuple[tuple[float, float, float], ...] = option(
        "--box",
        default=(),
        group=CRITERIA,
        parse=float,
        nargs=3,
        is_repeated=True,
        metavar=("AXIS", "LOW", "HIGH"),
        check=each(INTERVAL),
        help="Coordinate AXIS (from 0) between LOW and HIGH; may be repeated",
    )
    pixel_size: float | None = option(
        "--pixel-size",
        default=None,
        group=CRITERIA,
        metavar="Å",
        unit="Å/px",
        check=POSITIVE,
        help="Images of this pixel size in --particles (or its --ctf), as written in the "
        "message of a command",
    )
    outliers: float | None = option(
        "--outliers",
        default=None,
        group=CRITERIA,
        metavar="SD",
        check=NOT_NEGATIVE,
        help="Choose outliers: particles farther from the origin of the coordinates than the "
        "mean, by more than SD standard deviations",
    )
    all_of: tuple[PathOrArray, ...] = option(
        "--all-of",
        default=(),
        group=CRITERIA,
        metavar="PKL",
        help="In every one of these index files",
    )
    any_of: tuple[PathOrArray, ...] = option(
        "--any-of",
        default=(),
        group=CRITERIA,
        metavar="PKL",
        help="In at least one of these index files",
    )
    none_of: tuple[PathOrArray, ...] = option(
        "--none-of",
        default=(),
        group=CRITERIA,
        metavar="PKL",
        help="In none of these index files",
    )
    saved: str | None = option(
        "--from",
        default=None,
        group=CRITERIA,
        metavar="NAME",
        help="In this selection, saved on the run's page (RUN/selections/NAME.pkl)",
    )
    invert: bool = option(
        "--invert",
        default=False,
        group=CRITERIA,
        help="Choose the particles that do not meet the criteria above",
    )
    near: tuple[float, ...] | None = option(
        "--near",
        default=None,
        group=CRITERIA,
        metavar="Z",
        help="Nearest to this point; see --count",
    )
    near_particle: int | None = option(
        "--near-particle",
        default=None,
        group=CRITERIA,
        metavar="ROW",
        check=at_least(0),
        help="Nearest to this particle, a row of the original file; see --count",
    )
    random: bool = option(
        "--random", default=False, group=CRITERIA, help="At random; see --count"
    )
    count: int = option(
        "--count",
        default=100,
        group=CRITERIA,
        check=at_least(1),
        help="Number of particles for --near, --near-particle and --random",
    )
    seed: int = same_as(SeedOptions, "seed", group=CRITERIA)

    def run(self) -> "np.ndarray":
        """Choose the particles and write their rows, which are returned.

        Raises:
            CryodrgnError: There is no criterion, one lacks what it asks for, or nothing is
                chosen.
        """
        from cryodrgn.io.cryodrgn_pickle import load_labels, save_pickles
        from cryodrgn.particles.selection import check_indices

        require_ending(self.output, PICKLE_ENDINGS, "output")
        self._require_criterion()
        self._warn_of_noise()
        coordinates, pixel_sizes = self.table_of_coordinates(), self.table_of_pixel_sizes()
        labels = None if self.labels is None else load_labels(self.labels)
        parent, num_original = self.parent(), self.num_original
        if num_original is None and pixel_sizes is not None:
            num_original = len(pixel_sizes)
        tables = [table for table in (coordinates, labels) if table is not None]
        if num_original is None and parent is None and tables:
            num_original = len(tables[0])
        candidates = self._candidates(parent, num_original)
        whole = len(candidates)
        if self.pixel_size is not None:
            table = _required(pixel_sizes, "pixel_size", "particles")
            candidates = self._of_pixel_size(candidates, table)
        if self.clusters is not None:
            table = _required(labels, "clusters", "labels")
            candidates = candidates.in_clusters(table, self.clusters)
        candidates = self._by_coordinates(candidates, coordinates)
        candidates = self._on_lists(candidates, num_original)
        if self.feature is not None:
            rows = self.with_feature(self.workdir, self.output, self._given_files())
            candidates = candidates.among(rows)
        if self.invert:
            candidates = candidates.inverted()
        chosen = self._some(candidates, coordinates).chosen
        check_indices(chosen, int(chosen.max(initial=0)) + 1, source="the selection", of="it")
        save_pickles(self.output, [chosen])
        logger.info("chose %d of %d particles: wrote %s", len(chosen), whole, self.output)
        return chosen

    def _require_criterion(self) -> None:
        """Refuse to write all particles as if they had been chosen."""
        for name in ("absent", "probability"):
            changed = self.absent if name == "absent" else name in self.given
            if changed and self.feature is None:
                msg = f"`{name}` chooses particles by a density; say which with `feature`"
                raise ConfigError(msg)
        given = {
            "clusters": self.clusters is not None,
            "boxes": bool(self.boxes),
            "pixel_size": self.pixel_size is not None,
            "outliers": self.outliers is not None,
            "feature": self.feature is not None,
            "all_of": bool(self.all_of),
            "any_of": bool(self.any_of),
            "none_of": bool(self.none_of),
            "saved": self.saved is not None,
            "near": self.near is not None,
            "near_particle": self.near_particle is not None,
            "random": self.random,
        }
        if not any(given.values()):
            names = ", ".join(f"`{name}`" for name in given)
            msg = f"without a criterion all particles would be chosen; give one of {names}"
            raise ConfigError(msg)

    def _warn_of_noise(self) -> None:
        """Repeat that a run found no heterogeneity where its latents choose."""
        from cryodrgn.linear.latents import run_latents
        from cryodrgn.rundir import RunDirectory

        points = (self.outliers, self.near, self.near_particle)
        is_by_latents = bool(self.boxes) or any(point is not None for point in points)
        if self.workdir is not None and self.coordinates is None and is_by_latents:
            latents = run_latents(RunDirectory(self.workdir))
            latents.warn_of_noise("particles are chosen by noise")

    def _by_coordinates(
        self, candidates: "Candidates", coordinates: "np.ndarray | None"
    ) -> "Candidates":
        """Those within the boxes and beyond the typical length."""
        for axis, low, high in self.boxes:
            table = _required(coordinates, "boxes", "coordinates")
            candidates = candidates.in_box(table, int(axis), low, high)
        if self.outliers is not None:
            table = _required(coordinates, "outliers", "coordinates")
            candidates = candidates.beyond(table, self.outliers)
        return candidates

    def _of_pixel_size(
        self, candidates: "Candidates", pixel_sizes: "np.ndarray"
    ) -> "Candidates":
        """Those whose images have the pixel size that is asked for."""
        import numpy as np

        from cryodrgn.particles.pixel_sizes import in_words, rows_by_pixel_size
        from cryodrgn.particles.selection import check_indices

        check_indices(
            candidates.rows, len(pixel_sizes), source="the selection", of=str(self.particles)
        )
        wanted = self.pixel_size or 0.0
        groups = rows_by_pixel_size(pixel_sizes)
        distances = [abs(float(pixel_sizes[rows[0]]) / wanted - 1) for rows in groups]
        nearest = int(np.argmin(distances))
        # Sizes are shown with six digits, which may be all that the user has of them.
        if distances[nearest] > TYPED_TOLERANCE:
            found = in_words(pixel_sizes, groups)
            msg = f"{self.particles} has no images of `pixel_size` {wanted:g}, but {found}"
            raise ConfigError(msg)
        return candidates.keep(np.isin(candidates.rows, groups[nearest]))

    def _candidates(self, parent: PathOrArray | None, num_original: int | None) -> "Candidates":
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
        lists = [*self.all_of, *self._saved(), *self.any_of, *self.none_of]
        if not lists or self.invert:
            msg = "say how many particles there are to choose from: `num_original` or `indices`"
            raise ConfigError(msg)
        return Candidates.all_of(np.unique(np.concatenate(_rows_on(lists, None))))

    def _on_lists(self, candidates: "Candidates", num_original: int | None) -> "Candidates":
        """Those that the index files admit."""
        import numpy as np

        known = num_original, candidates.rows
        for rows in _rows_on([*self.all_of, *self._saved()], *known):
            candidates = candidates.among(rows)
        if self.any_of:
            candidates = candidates.among(np.concatenate(_rows_on(self.any_of, *known)))
        for rows in _rows_on(self.none_of, *known):
            candidates = candidates.keep(~np.isin(candidates.rows, rows))
        return candidates

    def _saved(self) -> list[Path]:
        """The selection that was saved on the page of the run."""
        from cryodrgn.rundir import RunDirectory

        if self.saved is None:
            return []
        if self.workdir is None:
            msg = "`saved` names a selection of a run; give the run's folder"
            raise ConfigError(msg)
        files = RunDirectory(self.workdir)
        path = files.selection(self.saved)
        if not path.is_file():
            there = sorted(one.stem for one in RunDirectory.selection.existing(files))
            found = f"there is {', '.join(there)}" if there else "none has been saved"
            msg = f"{self.workdir} has no selection {self.saved!r}; {found}"
            raise ConfigError(msg)
        return [path]

    def _some(self, candidates: "Candidates", coordinates: "np.ndarray | None") -> "Candidates":
        """The number of particles asked for, by nearness or by chance."""
        import numpy as np

        from cryodrgn.particles.selection import positions_in

        if self.near is not None and self.near_particle is not None:
            msg = "give the point in one way: `near` or `near_particle`"
            raise ConfigError(msg)
        point = None if self.near is None else np.array(self.near)
        if self.near_particle is not None:
            row = np.array([self.near_particle])
            place = positions_in(row, candidates.rows, source="the selection")[0]
            point = _required(coordinates, "near_particle", "coordinates")[place]
        if point is not None:
            table = _required(coordinates, "near", "coordinates")
            candidates = candidates.nearest(table, point, self.count)
        return candidates.sampled(self.count, self.seed) if self.random else candidates


def _rows_on(
    paths: "Sequence[PathOrArray]",
    num_original: int | None,
    candidates: "np.ndarray | None" = None,
) -> "list[np.ndarray]":
    """The rows of the original file that selection files name.

    Args:
        paths: The files.
        num_original: Number of particles of the original file, if it is known.
        candidates: Rows of it among which they choose.
    """
    from cryodrgn.io.selection_files import load_selection

    found = []
    for path in paths:
        selection = load_selection(path)
        # Masks must be of the same particles, however many these are.
        num_original = selection.mask_length if num_original is None else num_original
        if num_original is not None:
            selection.require_length(num_original, "the original file")
        if candidates is not None:
            selection.require_rows(candidates)
        found.append(selection.indices)
    return found


def _required(table: "np.ndarray | None", criterion: str, setting: str) -> "np.ndarray":
    if table is None:
        msg = f"`{criterion}` needs `{setting}`"
        raise ConfigError(msg)
    return table


select = function_of(Select)
