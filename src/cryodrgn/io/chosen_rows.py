"""Rows of a particle file that are chosen, and the rows of its tables that go with them."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.io.selection_files import load_selection
from cryodrgn.particles.particle_set import rows_in_ranges
from cryodrgn.particles.tilt_series import TiltImages

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChosenRows:
    """Rows taken from a file of ``whole`` particles.

    Attributes:
        rows: Their numbers, in the order wanted.
        whole: Number of rows of the file.
        source: The file, for messages.
    """

    rows: Int[np.ndarray, " rows"]
    whole: int
    source: str

    @classmethod
    def read(cls, indices: Path | None, whole: int, source: str) -> "ChosenRows":
        """Rows that a file selects; all of them without one."""
        rows = np.arange(whole)
        if indices is not None:
            rows = load_selection(indices).rows_of(whole, source)
        return cls(rows=rows, whole=whole, source=source)

    def of_table(self, length: int, source: Path) -> Int[np.ndarray, " rows"]:
        """The rows to take from a table of ``length`` rows that goes with the particles."""
        if length == self.whole:
            self._say_order_of(source)
            return self.rows
        if length == len(self.rows):
            logger.info("%s has one row per selected particle: taken as it is", source)
            return np.arange(length)
        msg = (
            f"{self.source} lists {self.whole} particles, but {source} has {length} rows; "
            "both must come from the same particle file"
        )
        raise ShapeMismatchError(msg)

    def _say_order_of(self, table: Path) -> None:
        """Warn where a table may be in the order of the file, or in that of the chosen rows."""
        if len(self.rows) == self.whole and (self.rows != np.arange(self.whole)).any():
            logger.warning(
                "`indices` take as many rows as %s has, in another order: the rows of %s are "
                "taken to be in the order of that file; if they are in the order of `indices`, "
                "as in the pose.pkl of a run with these, every particle gets the row of "
                "another: give a file that lists the particles in their order, without "
                "`indices`",
                self.source,
                table,
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChosenImages(ChosenRows):
    """Images of particles taken from a file of tilt series, particle after particle.

    Attributes:
        particles: Numbers of the particles.
        best: Rows of those of the images that are used, where only the best ones are.
    """

    particles: Int[np.ndarray, " particles"]
    best: Int[np.ndarray, " best"]

    @classmethod
    def of_series(
        cls, indices: Path | None, series: TiltImages, source: str, num_best: int | None
    ) -> "ChosenImages":
        """Images of the particles that a file selects; of all particles without one."""
        particles = np.arange(len(series.names))
        if indices is not None:
            chosen = load_selection(indices)
            particles = chosen.rows_of(len(particles), f"the tilt series of {source}")
        stops = np.cumsum(series.counts)
        places = rows_in_ranges((stops - series.counts)[particles], stops[particles])
        rows = series.order[places]
        is_best = slice(None) if num_best is None else series.ranks[rows] < num_best
        return cls(
            rows=rows,
            whole=len(series),
            source=source,
            particles=particles,
            best=rows[is_best],
        )

    def of_table(self, length: int, source: Path) -> Int[np.ndarray, " rows"]:
        """The rows to take from a table of ``length`` rows, which are in the file's order.

        From a table of the best images alone the others, which are not used, get any row.
        """
        if length == self.whole:
            return self.rows
        for listed, words in ((self.rows, "selected image"), (self.best, "image in use")):
            if length == len(listed):
                logger.info("%s has one row per %s: taken as it is", source, words)
                places = np.searchsorted(np.unique(listed), self.rows)
                return places.clip(max=length - 1)
        msg = (
            f"{self.source} lists {self.whole} images of tilt series, of which "
            f"{len(self.best)} are used, but {source} has {length} rows; give a table with a "
            "row for every image, or the `indices` and `num_tilts` of the run that wrote it"
        )
        raise ShapeMismatchError(msg)
