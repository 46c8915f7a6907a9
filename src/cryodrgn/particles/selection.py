"""Lists of particle indices: checked, combined, and led back to the original file."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Int

from cryodrgn.errors import ShapeMismatchError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """A choice of particles, not yet of a table that it is known to belong to.

    Attributes:
        indices: Row numbers from 0, in their order and with their repetitions.
        source: Where they come from, for messages.
        mask_length: Number of particles that the selection was made of, where it was given as
            one boolean per particle.
    """

    indices: Int[np.ndarray, " rows"]
    source: str
    mask_length: int | None = None

    @classmethod
    def of(cls, rows: "np.ndarray | Selection") -> "Selection":
        """A selection as it is, or one of some rows."""
        return rows if isinstance(rows, Selection) else cls(indices=rows, source="the index")

    @classmethod
    def of_mask(cls, mask: Bool[np.ndarray, " particles"], *, source: str) -> Self:
        """The particles whose boolean is true, in ascending order."""
        return cls(indices=np.flatnonzero(mask), source=source, mask_length=len(mask))

    def require_length(self, count: int, of: str) -> None:
        """Refuse a mask of another number of particles.

        Raises:
            ShapeMismatchError: It has another length.
        """
        if self.mask_length is not None and self.mask_length != count:
            msg = (
                f"{self.source} holds {self.mask_length} booleans, but {of} has {count} "
                "particles; a boolean array must have one for each"
            )
            raise ShapeMismatchError(msg)

    def require_rows(self, rows: Int[np.ndarray, " particles"]) -> None:
        """Refuse a mask that has no boolean for some rows of the original file.

        Raises:
            ShapeMismatchError: It is shorter than that file, as one of filtered particles is.
        """
        last = int(rows.max(initial=-1))
        if self.mask_length is not None and last >= self.mask_length:
            msg = (
                f"{self.source} holds {self.mask_length} booleans, but the particles to choose "
                f"from are rows up to {last} of the original file; a boolean array must have "
                "one for each particle of that file, filtered or not"
            )
            raise ShapeMismatchError(msg)

    def rows_of(self, count: int, of: str) -> Int[np.ndarray, " rows"]:
        """The rows to take from a table; if some are taken more than once, the log says so.

        Args:
            count: Number of rows of the table.
            of: The table, for messages.

        Raises:
            ShapeMismatchError: The selection is empty, or does not belong to a table of that
                length.
        """
        self.require_length(count, of)
        rows = check_indices(self.indices, count, source=self.source, of=of)
        different = np.unique(rows)
        # Row numbers that look like a mask would take the first two particles over and over.
        if 2 < len(rows) == count and self.mask_length is None and different.max() < 2:
            msg = (
                f"{self.source} holds only the numbers 0 and 1, one for each of the {count} "
                f"particles of {of}; if it is a mask, save it as booleans: mask.astype(bool)"
            )
            raise ShapeMismatchError(msg)
        # Far fewer values than particles, one for each: clusters, not a sample with repeats.
        if len(rows) == count and self.mask_length is None and len(different) <= count // 5:
            msg = (
                f"{self.source} holds one number for each of the {count} particles of {of}, "
                f"but only {len(different)} different ones, as cluster labels do; choose "
                "particles by labels with cryodrgn select"
            )
            raise ShapeMismatchError(msg)
        if len(different) < len(rows):
            logger.warning(
                "%s selects some particles more than once: it has %d entries for %d different "
                "particles, and each is used as often as it is named",
                self.source,
                len(rows),
                len(different),
            )
        return rows


def check_indices(
    indices: Int[np.ndarray, " rows"], count: int, *, source: str, of: str
) -> Int[np.ndarray, " rows"]:
    """Indices as an array, after checking that each points at one of ``count`` rows.

    Order and repetitions are kept.

    Args:
        indices: Row numbers from 0.
        count: Number of rows they point into.
        source: Where the indices come from, for messages.
        of: What they point into, for messages.

    Raises:
        ShapeMismatchError: There are none, or one lies outside 0 … count − 1.
    """
    if len(indices) == 0:
        msg = f"{source} selects no particles"
        raise ShapeMismatchError(msg)
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= count:
        found = low if low < 0 else high
        msg = f"{source} holds index {found}, but {of} has {count} particles (0 to {count - 1})"
        raise ShapeMismatchError(msg)
    return indices


def complement(rows: Int[np.ndarray, " rows"], count: int) -> Int[np.ndarray, " others"]:
    """Those of ``count`` rows that are not among some rows, in order."""
    return np.setdiff1d(np.arange(count), rows)


def random_subset(count: int, size: int, seed: int) -> Int[np.ndarray, " rows"]:
    """Rows drawn without replacement, in order.

    The generator is numpy's old one, so that the numbers are those of cryoDRGN's
    ``select_random`` with the same seed.

    Args:
        count: Number of rows to draw from.
        size: Number of rows to draw.
        seed: Of the draw.

    Raises:
        ShapeMismatchError: There are not that many.
    """
    if not 0 < size <= count:
        msg = f"{size} particles cannot be chosen out of {count}"
        raise ShapeMismatchError(msg)
    generator = np.random.RandomState(seed)
    return np.sort(generator.choice(count, size, replace=False))


def rows_with_labels(
    labels: Int[np.ndarray, " particles"], wanted: Sequence[int], first: int = 0
) -> Int[np.ndarray, " rows"]:
    """Rows that carry one of some labels.

    Args:
        labels: Label of each row, from 0.
        wanted: The labels, counted from ``first``.
        first: What label 0 is called.

    Raises:
        ShapeMismatchError: A label does not occur.
    """
    numbers = labels + first
    missing = sorted(set(wanted) - set(numbers.tolist()))
    if missing:
        msg = (
            f"no particle is in cluster {missing[0]}; the labels run from {numbers.min()} to "
            f"{numbers.max()}"
        )
        raise ShapeMismatchError(msg)
    return np.flatnonzero(np.isin(numbers, wanted))


def to_original_rows(
    rows: Int[np.ndarray, " rows"],
    num_rows: int,
    parent: Int[np.ndarray, " filtered"] | None,
    *,
    num_original: int | None = None,
    source: str = "the index",
) -> Int[np.ndarray, " rows"]:
    """Rows of the original file that belong to rows of a table of filtered particles.

    Args:
        rows: Rows of the table.
        num_rows: Number of rows of the table.
        parent: Original row of every row of the table; None where nothing was filtered.
        num_original: Number of particles in the original file, if it is known.
        source: Where ``parent`` comes from, for messages.

    Raises:
        ShapeMismatchError: The table has not as many rows as there are filtered particles, or
            these point beyond the original file.
    """
    if parent is None:
        if num_original is not None and num_original != num_rows:
            msg = (
                f"the table has {num_rows} rows, but the original file {num_original}; give "
                "the indices by which it was filtered"
            )
            raise ShapeMismatchError(msg)
        return rows
    if len(parent) != num_rows:
        msg = f"{source} selects {len(parent)} particles, but the table has {num_rows} rows"
        raise ShapeMismatchError(msg)
    if num_original is not None:
        check_indices(parent, num_original, source=source, of="the original file")
    return parent[rows]


def positions_in(
    rows: Int[np.ndarray, " rows"], parent: Int[np.ndarray, " filtered"], *, source: str
) -> Int[np.ndarray, " rows"]:
    """Positions of original rows in a table of filtered particles; inverse of the above.

    Args:
        rows: Rows of the original file.
        parent: Original row of every row of the table.
        source: The table, for messages.

    Raises:
        ShapeMismatchError: The table lacks one of them.
    """
    order = np.argsort(parent, kind="stable")
    places = order[np.searchsorted(parent, rows, sorter=order).clip(0, len(parent) - 1)]
    lost = parent[places] != rows
    if lost.any():
        msg = f"{source} has no row for particle {rows[lost][0]} of the original file"
        raise ShapeMismatchError(msg)
    return places
