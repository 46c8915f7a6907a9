"""The columns of a cryoSPARC table that hold poses, of one class or of several.

A refinement writes ``alignments3D/*``. A job of several classes writes either a group of
columns for each (``alignments_class_0/*``, ``alignments_class_1/*``, …) or arrays with an entry
for each (``alignments3D_multi/*``), and the probability of each class (``class_posterior``).
"""

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError, MetadataError

logger = logging.getLogger(__name__)

SINGLE, MULTI = "alignments3D", "alignments3D_multi"
CLASS = re.compile(r"alignments_class_(\d+)")
JOB = "homogeneous, non-uniform, heterogeneous or ab-initio refinement"


@dataclass(frozen=True, kw_only=True)
class WantedPoses:
    """Choice among the poses that a file may hold.

    Attributes:
        of_classes: Poses of classes, even if those of a refinement are there, too.
        class_number: The class whose poses all particles take; None takes that of each
            particle's highest posterior probability.
    """

    of_classes: bool = False
    class_number: int | None = None

    def is_met_by(self, table: np.ndarray) -> bool:
        """True if a table holds the poses wanted, of a class or of a refinement."""
        return bool(self._found(table))

    def _found(self, table: np.ndarray) -> list[str]:
        """Groups of columns with the poses wanted: a refinement's, or those of all classes."""
        names = [name for name in table.dtype.names or () if name.endswith("/pose")]
        groups = [name.removesuffix("/pose") for name in names]
        of_classes = [group for group in groups if CLASS.fullmatch(group)] or [
            group for group in groups if group == MULTI
        ]
        if self.of_classes or self.class_number is not None:
            return of_classes
        return [SINGLE] if SINGLE in groups else of_classes

    def read(self, table: np.ndarray, path: Path) -> "PoseColumns | None":
        """The poses of a table; None if it holds none.

        Args:
            table: With the columns of its passthrough tables.
            path: Its file, for messages.

        Raises:
            MetadataError: A column is missing or has another shape than poses have.
            ConfigError: The class is not there, or nothing says which one is meant.
        """
        groups = self._found(table)
        if not groups:
            return None
        if groups == [SINGLE]:
            return _of_one(table, SINGLE, path)
        if groups == [MULTI]:
            classes = _of_arrays(table, path)
        else:
            numbers = sorted((int(group.rpartition("_")[2]), group) for group in groups)
            classes = {number: _of_one(table, group, path) for number, group in numbers}
        return self._of_classes(classes, path)

    def _of_classes(self, classes: "dict[int, PoseColumns]", path: Path) -> "PoseColumns":
        if self.class_number is not None:
            if self.class_number not in classes:
                msg = (
                    f"{path} has poses of class {_listed(classes)}, none of class "
                    f"{self.class_number}"
                )
                raise ConfigError(msg)
            return classes[self.class_number]
        if len(classes) == 1:
            (number,) = classes
            logger.info("%s: poses are those of class %d, the only one", path, number)
            return classes[number]
        best = _most_probable(classes, path)
        counts = np.bincount(best, minlength=len(classes))
        logger.info(
            "%s: every particle has the pose of its most probable class (%s)",
            path,
            ", ".join(
                f"class {number}: {count} particles"
                for number, count in zip(classes, counts, strict=True)
            ),
        )
        return _chosen(list(classes.values()), best)


@dataclass(frozen=True, kw_only=True)
class PoseColumns:
    """Poses as the file holds them.

    Attributes:
        group: Columns they come from, for messages.
        vectors: Rotation vectors in radians.
        shifts: In pixels of the refinement.
        pixel_sizes: Å/px of the refinement, if the file says.
        posterior: Probability of the class, if the file says.
    """

    group: str
    vectors: Float[np.ndarray, "particles 3"]
    shifts: Float[np.ndarray, "particles 2"]
    pixel_sizes: Float[np.ndarray, " particles"] | None
    posterior: Float[np.ndarray, " particles"] | None


def _most_probable(
    classes: dict[int, PoseColumns], path: Path
) -> Int[np.ndarray, " particles"]:
    """Place of every particle's most probable class among those of a file.

    Raises:
        ConfigError: Nothing says which one that is.
        MetadataError: A probability is no number.
    """
    known = [columns.posterior for columns in classes.values() if columns.posterior is not None]
    posteriors = np.stack(known) if len(known) == len(classes) else None
    if posteriors is not None and not np.isfinite(posteriors).all():
        row = int(np.flatnonzero(~np.isfinite(posteriors).all(0))[0])
        msg = f"{path}: class_posterior of row {row} is no finite number; write the file again"
        raise MetadataError(msg)
    # A column of one value is one that no job has filled.
    if posteriors is None or (posteriors == posteriors[0]).all():
        says = "no class_posterior that says"
        if posteriors is not None:
            says = "one class_posterior for all of them, which does not say"
        msg = (
            f"{path} has poses of classes {_listed(classes)}, but {says} which class a "
            "particle belongs to; choose one with parse_pose_csparc "
            "`class_number`; give its output with `poses`"
        )
        raise ConfigError(msg)
    num_tied = np.count_nonzero((posteriors == posteriors.max(0)).sum(0) > 1)
    if num_tied:
        logger.warning(
            "%s: %d particles have two or more classes of the same highest class_posterior, "
            "and take the pose of the first of them",
            path,
            num_tied,
        )
    return posteriors.argmax(0)


def _of_one(table: np.ndarray, group: str, path: Path) -> PoseColumns:
    count = len(table)
    pixel_sizes = _column(table, f"{group}/psize_A", (count,), path)
    return PoseColumns(
        group=group,
        vectors=_needed(table, f"{group}/pose", (count, 3), path),
        shifts=_needed(table, f"{group}/shift", (count, 2), path),
        pixel_sizes=None if pixel_sizes is None else pixel_sizes.astype(np.float64),
        posterior=_column(table, f"{group}/class_posterior", (count,), path),
    )


def _of_arrays(table: np.ndarray, path: Path) -> dict[int, PoseColumns]:
    """The classes of ``alignments3D_multi``, whose columns have an entry for each."""
    rows, name = len(table), f"{MULTI}/pose"
    shape = table[name].shape
    if len(shape) != 3:
        msg = f"{path}: column {name} has the shape {shape[1:]} per row, expected (classes, 3)"
        raise MetadataError(msg)
    count = shape[1]
    vectors = _needed(table, name, (rows, count, 3), path)
    shifts = _needed(table, f"{MULTI}/shift", (rows, count, 2), path)
    posterior = _column(table, f"{MULTI}/class_posterior", (rows, count), path)
    sizes = None
    if f"{MULTI}/psize_A" in (table.dtype.names or ()):
        wide = table[f"{MULTI}/psize_A"].ndim == 2
        sizes = _needed(table, f"{MULTI}/psize_A", (rows, count) if wide else (rows,), path)
        sizes = np.broadcast_to(sizes.reshape(rows, -1), (rows, count)).astype(np.float64)
    return {
        number: PoseColumns(
            group=MULTI,
            vectors=vectors[:, number],
            shifts=shifts[:, number],
            pixel_sizes=None if sizes is None else sizes[:, number],
            posterior=None if posterior is None else posterior[:, number],
        )
        for number in range(count)
    }


def _chosen(classes: list[PoseColumns], best: Int[np.ndarray, " particles"]) -> PoseColumns:
    rows = np.arange(len(best))
    known = [columns.pixel_sizes for columns in classes if columns.pixel_sizes is not None]
    is_known = len(known) == len(classes)
    return replace(
        classes[0],
        vectors=np.stack([columns.vectors for columns in classes])[best, rows],
        shifts=np.stack([columns.shifts for columns in classes])[best, rows],
        pixel_sizes=np.stack(known)[best, rows] if is_known else None,
        posterior=None,
    )


def _needed(table: np.ndarray, name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    values = _column(table, name, shape, path)
    if values is None:
        msg = (
            f"{path} has no column {name}, which a {JOB} job of cryoSPARC writes; pass the "
            "particles file of that job"
        )
        raise MetadataError(msg)
    return values


def _column(
    table: np.ndarray, name: str, shape: tuple[int, ...], path: Path
) -> np.ndarray | None:
    if name not in (table.dtype.names or ()):
        return None
    values = table[name]
    if values.dtype.kind not in "biuf" or values.shape != shape:
        msg = (
            f"{path}: column {name} holds {values.dtype} of shape {values.shape[1:]} per row, "
            f"expected numbers of shape {shape[1:]}"
        )
        raise MetadataError(msg)
    return values


def _listed(classes: dict[int, PoseColumns]) -> str:
    return ", ".join(map(str, classes))
