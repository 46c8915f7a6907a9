"""Chosen particles back into the files of the program they came from."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.errors import ConfigError
from cryodrgn.given_arrays import PathOrArray
from cryodrgn.jobs.options import output_flags, require_ending
from cryodrgn.jobs.tilt_options import TiltSeriesOptions
from cryodrgn.settings import Job, function_of, option, positional, same_as, settings

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.particles.selection import Selection

logger = logging.getLogger(__name__)

COLUMNS = "Columns to add"
EXPANDED = "Particles expanded by symmetry"


@settings
class Export(Job[list[Path]]):
    """Write chosen particles back as a RELION .star or a cryoSPARC result group."""

    particles: Path = positional(
        help="Original particle file of RELION (.star) or cryoSPARC (.cs)"
    )
    indices: PathOrArray = option(
        "--ind",
        kw_only=False,
        help="Chosen particles (.pkl, .npy or .txt), as rows of the original file; of tilt "
        "series, particles in the order of their first rows, of which all images are written",
    )
    output: Path = option(
        *output_flags("star"),
        kw_only=False,
        metavar="OUTPUT",
        help="File to write, of the same type; a .cs gets its .csg and passthrough beside it",
    )
    single_images: bool = same_as(TiltSeriesOptions, "single_images", default=False, group=None)
    passthrough: tuple[Path, ...] | None = option(
        "--passthrough",
        default=None,
        metavar="CS",
        help="Passthrough files (.cs) of the particles (default: those beside the original)",
    )
    labels: PathOrArray | None = option(
        "--labels",
        default=None,
        group=COLUMNS,
        help="Cluster of every particle (labels.pkl)",
    )
    latents: PathOrArray | None = option(
        "--latents", default=None, group=COLUMNS, help="Latents of every particle (z.pkl)"
    )
    scores: Path | None = option(
        "--scores",
        default=None,
        group=COLUMNS,
        metavar="CSV",
        help="Scores of every particle (scores.csv of a run): contrast, misfit, junk",
    )
    table_indices: PathOrArray | None = option(
        "--table-ind",
        default=None,
        group=COLUMNS,
        metavar="PKL",
        help="Indices by which the particles of labels and latents were filtered (default: as "
        "in the run in whose folder they lie); scores list their rows themselves",
    )

    chosen_from: Path | None = option(
        "--chosen-from",
        default=None,
        metavar="STAR",
        help="The file whose particles --ind chooses, if it is another one: of images that "
        "WarpTools or M exported, their optimisation_set.star; they are found in the file that "
        "is exported (M's list, a list of RELION) by name, or by tilt series and coordinates",
    )
    expanded: Path | None = option(
        "--expanded",
        default=None,
        group=EXPANDED,
        metavar="FILE",
        help="The expanded file (.star or .cs) whose rows --ind chooses; the particles whose "
        "copies are chosen are written",
    )
    copies: Literal["majority", "any", "all"] = option(
        "--copies",
        default="majority",
        group=EXPANDED,
        help="Write particles of which more than half of the copies, any, or all are chosen",
    )

    def run(self) -> list[Path]:
        """Write the particles; returns the files.

        Raises:
            CryodrgnError: The selection, the tables or the original cannot be used.
        """
        from cryodrgn.io.cryodrgn_pickle import load_labels, load_latents
        from cryodrgn.io.export import export_particles
        from cryodrgn.io.score_source import require_scores_of
        from cryodrgn.io.score_table import scores_for
        from cryodrgn.io.selection_files import load_selection

        require_ending(self.output, (".star", ".cs"), "output")
        if self.passthrough is not None and self.output.suffix != ".cs":
            logger.warning("`passthrough` has no effect: a .star file has none")
        selection = load_selection(self.indices)
        if self.expanded is not None:
            selection = self._collapsed(selection)
        exported = selection
        if self.chosen_from is not None:
            selection, exported = self._found(selection)
        rows = selection.indices
        columns = {}
        if self.labels is not None:
            columns["cluster"] = self._for_rows(load_labels(self.labels), rows, self.labels)
        if self.latents is not None:
            columns["latent"] = self._for_rows(load_latents(self.latents), rows, self.latents)
        if self.scores is not None:
            source = self.chosen_from or self.particles
            require_scores_of(self.scores, source, single_images=self.single_images)
            columns |= scores_for(self.scores, rows)
        paths = export_particles(
            self.particles,
            exported,
            self.output,
            columns=columns,
            passthrough=None if self.passthrough is None else list(self.passthrough),
            single_images=self.single_images,
        )
        logger.info("wrote %d particles to %s", len(rows), ", ".join(map(str, paths)))
        if self.output.suffix == ".cs":
            logger.info("in cryoSPARC, run Import Result Group on %s", paths[-1])
        return list(paths)

    def _found(self, chosen: "Selection") -> tuple["Selection", "Selection"]:
        """Chosen particles that the exported file lists, and their numbers there.

        Raises:
            ConfigError: It lists none of them, or other options do not go with that.
        """
        from cryodrgn.io.m_particle_lists import rows_in_list
        from cryodrgn.particles.selection import Selection

        assert self.chosen_from is not None
        if self.expanded is not None or self.single_images or self.particles.suffix != ".star":
            msg = (
                f"`chosen_from` {self.chosen_from} leads particles of tilt series to rows "
                "of another .star file; it goes neither with `expanded` nor with "
                "`single_images` nor with .cs files"
            )
            raise ConfigError(msg)
        numbers = rows_in_list(self.particles, self.chosen_from)
        rows = chosen.rows_of(len(numbers), str(self.chosen_from))
        is_there = numbers[rows] >= 0
        if not is_there.any():
            msg = f"{self.particles} lists none of the particles that {self.indices} chooses"
            raise ConfigError(msg)
        if not is_there.all():
            logger.warning(
                "%s lists %d of the %d chosen particles; the first that it lacks is particle "
                "%d of %s",
                self.particles,
                is_there.sum(),
                len(rows),
                rows[~is_there][0],
                self.chosen_from,
            )
        source = str(self.indices)
        return (
            Selection(indices=rows[is_there], source=source),
            Selection(indices=numbers[rows[is_there]], source=source),
        )

    def _collapsed(self, chosen: "Selection") -> "Selection":
        """Original particles that a selection of their copies stands for.

        Raises:
            ConfigError: Columns of copies are to be added, or no particle is left.
        """
        from cryodrgn.io.expansion import rows_of_originals
        from cryodrgn.particles.expansion import original_rows
        from cryodrgn.particles.selection import Selection

        assert self.expanded is not None
        if not (self.labels is self.latents is self.scores is None):
            msg = (
                "`expanded` writes one row for all copies of a particle, but `labels`, "
                "`latents` and `scores` have one for each copy; leave them out"
            )
            raise ConfigError(msg)
        originals = rows_of_originals(self.expanded, self.particles)
        chosen_rows = chosen.rows_of(len(originals), str(self.expanded))
        rows = original_rows(chosen_rows, originals, self.copies)
        words = {"majority": "more than half", "any": "any", "all": "all"}[self.copies]
        if len(rows) == 0:
            msg = (
                f"{self.indices} chooses {words} of the copies of no particle of "
                f"{self.particles}; take another rule with `copies`"
            )
            raise ConfigError(msg)
        logger.info(
            "%d rows of %s stand for %d particles, of which %s of the copies are chosen",
            len(chosen_rows),
            self.expanded,
            len(rows),
            words,
        )
        return Selection(indices=rows, source=str(self.indices))

    def _for_rows(
        self, table: "np.ndarray", rows: "np.ndarray", path: PathOrArray
    ) -> "np.ndarray":
        """The rows of a table that belong to original rows.

        Raises:
            ShapeMismatchError: The table is of other particles, or lacks one of them.
        """
        from cryodrgn.io.export import number_of_particles
        from cryodrgn.io.selection_files import load_indices
        from cryodrgn.io.table_rows import rows_of_table
        from cryodrgn.particles.selection import positions_in, to_original_rows

        source = self.chosen_from or self.particles
        if self.table_indices is not None:
            own, named = load_indices(self.table_indices), str(self.table_indices)
            to_original_rows(rows[:0], len(table), own, source=named)
        else:
            count = number_of_particles(source, single_images=self.single_images)
            own, named = rows_of_table(path, len(table), count, of=str(source)), str(path)
        return table[positions_in(rows, own, source=named)]


export = function_of(Export)
