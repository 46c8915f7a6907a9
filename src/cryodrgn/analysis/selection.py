"""Choice of particles by what is known of them: cluster, place in the latent space, chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.particles.selection import random_subset, rows_with_labels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """Particles of which some are still in the running.

    Attributes:
        rows: Row of each particle in the original file.
        kept: Whether it meets all criteria so far.
    """

    rows: Int[np.ndarray, " particles"]
    kept: Bool[np.ndarray, " particles"]

    @classmethod
    def all_of(cls, rows: Int[np.ndarray, " particles"]) -> Self:
        """All particles, before any criterion."""
        return cls(rows=rows, kept=np.ones(len(rows), dtype=bool))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def chosen(self) -> Int[np.ndarray, " rows"]:
        """Original rows of those that meet all criteria."""
        return self.rows[self.kept]

    def keep(self, criterion: Bool[np.ndarray, " particles"]) -> Self:
        """Those that also meet a criterion."""
        return replace(self, kept=self.kept & criterion)

    def inverted(self) -> Self:
        """Those that fail."""
        return replace(self, kept=~self.kept)

    def in_clusters(self, labels: Int[np.ndarray, " particles"], wanted: Sequence[int]) -> Self:
        """Those in some clusters."""
        self._require_row_each(labels, "labels")
        criterion = np.zeros(len(self), dtype=bool)
        criterion[rows_with_labels(labels, wanted)] = True
        return self.keep(criterion)

    def among(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """Those on a list of original rows."""
        return self.keep(np.isin(self.rows, rows))

    def in_box(
        self,
        coordinates: Float[np.ndarray, "particles axes"],
        axis: int,
        low: float,
        high: float,
    ) -> Self:
        """Those whose coordinate lies between two values, both included.

        Args:
            coordinates: Coordinates of the particles.
            axis: Number of the coordinate, from 0.
            low: Smallest value.
            high: Largest value.

        Raises:
            ConfigError: There is no such axis.
        """
        self._require_row_each(coordinates, "coordinates")
        if not 0 <= axis < coordinates.shape[1]:
            msg = (
                f"axis {axis} of `boxes` does not exist; there are {coordinates.shape[1]}, "
                "from 0"
            )
            raise ConfigError(msg)
        values = coordinates[:, axis]
        return self.keep((values >= low) & (values <= high))

    def beyond(
        self, coordinates: Float[np.ndarray, "particles axes"], deviations: float
    ) -> Self:
        """Outliers, those far from the middle, see :func:`outlier_scores`."""
        self._require_row_each(coordinates, "coordinates")
        return self.keep(outlier_scores(coordinates) > deviations)

    def nearest(
        self,
        coordinates: Float[np.ndarray, "particles axes"],
        point: Float[np.ndarray, " axes"],
        count: int,
    ) -> Self:
        """The ``count`` particles still in the running that lie nearest to a point.

        Raises:
            ConfigError: The point has another dimension, or there are not that many left.
        """
        self._require_row_each(coordinates, "coordinates")
        if len(point) != coordinates.shape[1]:
            msg = (
                f"the point has {counted(len(point), 'coordinate')}, but the latents of the "
                f"particles have {counted(coordinates.shape[1], 'dimension')}"
            )
            raise ConfigError(msg)
        self._require_left(count)
        distance = np.linalg.norm(coordinates - point, axis=1)
        order = np.argsort(np.where(self.kept, distance, np.inf), kind="stable")
        criterion = np.zeros(len(self), dtype=bool)
        criterion[order[:count]] = True
        return self.keep(criterion)

    def sampled(self, count: int, seed: int) -> Self:
        """A random choice, of the same number, of the particles not yet excluded."""
        self._require_left(count)
        criterion = np.zeros(len(self), dtype=bool)
        left = np.flatnonzero(self.kept)
        criterion[left[random_subset(len(left), count, seed)]] = True
        return self.keep(criterion)

    def _require_left(self, count: int) -> None:
        left = int(self.kept.sum())
        if not 0 < count <= left:
            msg = f"{count} particles cannot be chosen out of the {left} that are left"
            raise ConfigError(msg)

    def _require_row_each(self, table: np.ndarray, name: str) -> None:
        if len(table) != len(self):
            msg = (
                f"the {name} have {len(table)} rows, but there are {len(self)} particles; if "
                "they were filtered, give the indices by which with `indices`"
            )
            raise ShapeMismatchError(msg)


def outlier_scores(
    coordinates: Float[np.ndarray, "particles axes"],
) -> Float[np.ndarray, " particles"]:
    """Standard scores of the lengths of the particles' latent coordinates.

    The score is (‖z‖ − mean) / standard deviation over all particles; in a latent space with a
    normal prior, junk tends to have long z.
    """
    lengths = np.linalg.norm(coordinates, axis=1)
    spread = lengths.std()
    return (lengths - lengths.mean()) / spread if spread > 0 else np.zeros_like(lengths)
