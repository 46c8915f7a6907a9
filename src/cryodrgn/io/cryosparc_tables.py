"""cryoSPARC's files of a result: the table, its passthrough tables, and the group file.

A job of cryoSPARC writes the columns that it changed into one ``.cs`` file, and those that it
only passed on into another, with ``passthrough`` in its name. Rows of both belong together by
their ``uid``. A ``.csg`` file says in which table each group of columns stands.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Int

from cryodrgn.errors import InputFileError, MetadataError, ShapeMismatchError
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.cryosparc_poses import WantedPoses

logger = logging.getLogger(__name__)

# How groups of columns begin in tables of something else than particles, and what that is.
OTHER_TABLES = {
    ("map", "mask", "volume"): "volumes",
    ("movie", "micrograph", "mscope", "rigid_motion", "background"): "micrographs",
}
# Groups without which particles cannot be read whole.
NEEDED_GROUPS = {"blob", "ctf"}
# Columns of ours, of which cryoSPARC need not know.
OWN_GROUP = "cryodrgn"
SIGN = "blob/sign"
# Marks images of one contrast that are a part of a table of both.
BOTH_CONTRASTS = f"{OWN_GROUP}/of_both_contrasts"


def read_table(path: Path) -> np.ndarray:
    """The rows of a ``.cs`` file.

    Raises:
        InputFileError: The file cannot be read or is no table.
    """
    table = read_npy(path)
    if not table.dtype.names or table.ndim != 1:
        msg = f"{path} is a numpy file, but no table of particles"
        raise InputFileError(msg)
    if not len(table):
        msg = f"{path} lists no particles"
        raise InputFileError(msg)
    return table


def refuse_other_tables(table: np.ndarray, path: Path) -> None:
    """Refuse a table of volumes or micrographs where one of particles is wanted.

    Raises:
        InputFileError: It lists no particles.
    """
    groups = column_groups(table)
    if any(group in {"blob", "location", "ctf"} or "alignments" in group for group in groups):
        return
    for beginnings, what in OTHER_TABLES.items():
        found = [group for group in groups if group.startswith(beginnings)]
        if found:
            msg = (
                f"{path} lists {len(table)} {what} ({', '.join(found[:5])}), no particles; "
                "take the particles file of that job (…particles.cs)"
            )
            raise InputFileError(msg)


def write_table(path: Path, table: np.ndarray) -> None:
    """Write a ``.cs`` file."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, table, allow_pickle=False)


def describe_table(table: np.ndarray) -> list[str]:
    """A line for every column: its name, type, and value in the first row."""
    names = table.dtype.names or ()
    width = max(len(name) for name in names)
    lines = [f"{len(table)} rows of {len(names)} columns"]
    for name in names:
        kind = table.dtype[name]
        first = table[name][0].tolist() if len(table) else ""
        lines.append(f"{name:{width}}  {kind.base.str}{list(kind.shape) or ''}  {first}")
    return lines


def passthrough_paths(path: Path) -> list[Path]:
    """Passthrough tables of particles that lie beside a ``.cs`` file."""
    found = sorted(path.parent.glob("*passthrough*.cs"))
    return [other for other in found if other.name != path.name]


def rows_by_uid(table: np.ndarray, wanted: np.ndarray) -> Int[np.ndarray, " wanted"] | None:
    """Row of every wanted ``uid`` in a table; None if the table lacks one of them."""
    if "uid" not in (table.dtype.names or ()):
        return None
    order = np.argsort(table["uid"], kind="stable")
    places = np.searchsorted(table["uid"], wanted, sorter=order).clip(0, len(table) - 1)
    rows = order[places]
    return rows if (table["uid"][rows] == wanted).all() else None


def with_columns(table: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """A table with more columns behind its own.

    Raises:
        MetadataError: A column of that name is there already.
        ShapeMismatchError: A column has another number of rows.
    """
    fields: list[Any] = list(table.dtype.descr)
    for name, values in columns.items():
        if name in (table.dtype.names or ()):
            msg = f"the table has a column {name} already; give another name"
            raise MetadataError(msg)
        if len(values) != len(table):
            msg = f"column {name} has {len(values)} values for {len(table)} particles"
            raise ShapeMismatchError(msg)
        fields.append((name, values.dtype.str, values.shape[1:]))
    wide = np.empty(len(table), dtype=fields)
    for name in table.dtype.names or ():
        wide[name] = table[name]
    for name, values in columns.items():
        wide[name] = values
    return wide


def is_of_both_contrasts(table: np.ndarray) -> bool:
    """True if ``blob/sign`` differs among images, or did in the table that they are of."""
    names = table.dtype.names or ()
    return BOTH_CONTRASTS in names or (SIGN in names and len(np.unique(table[SIGN])) > 1)


def chosen_rows(table: np.ndarray, rows: Int[np.ndarray, " rows"]) -> np.ndarray:
    """Some rows of a table, which are read as they are in the whole table.

    Signs that are all the same multiply no image. Where those of a table of both contrasts
    are all -1 in the chosen rows, a column of ours says that they do.
    """
    chosen = table[rows]
    if not is_of_both_contrasts(table) or is_of_both_contrasts(chosen):
        return chosen
    if len(chosen) and chosen[SIGN][0] > 0:
        return chosen
    return with_columns(chosen, {BOTH_CONTRASTS: np.ones(len(chosen), np.uint8)})


def with_passthrough(
    table: np.ndarray, path: Path, groups: Sequence[str], poses: WantedPoses
) -> np.ndarray:
    """A table joined with the columns it lacks from the passthrough tables beside it.

    Args:
        table: What :func:`read_table` read from ``path``.
        path: The file of the table.
        groups: Groups of columns that are wanted, such as ``ctf``; nothing is read if the
            table has them all.
        poses: Those wanted; a table that has other poses needs no passthrough table for them.
    """
    if "uid" not in (table.dtype.names or ()):
        return table
    skipped: list[str] = []
    for other_path in passthrough_paths(path):
        present = column_groups(table)
        needs_poses = not poses.is_met_by(table)
        if not needs_poses and set(groups) <= set(present):
            break
        other = _found_beside(other_path, skipped)
        rows = None if other is None else rows_by_uid(other, table["uid"])
        if other is None or rows is None:
            continue
        wanted = [
            name
            for name in other.dtype.names or ()
            if (group := _group_of(name)) not in present
            and (group in groups or (needs_poses and group.startswith("alignments")))
        ]
        if wanted:
            table = with_columns(table, {name: other[name][rows] for name in wanted})
            found = sorted({name.split("/")[0] for name in wanted})
            logger.info("columns of %s are taken from %s", ", ".join(found), other_path)
    if not (poses.is_met_by(table) and set(column_groups(table)) >= NEEDED_GROUPS):
        for words in skipped:
            logger.info("%s", words)
    return table


def _group_of(column: str) -> str:
    """The group with which a column is read: what stands before the slash of its name."""
    return "blob" if column == BOTH_CONTRASTS else column.split("/")[0]


def _found_beside(path: Path, skipped: list[str]) -> np.ndarray | None:
    """A table that nobody named; None, and a sentence, if it cannot be read or is empty."""
    try:
        return read_table(path)
    except InputFileError as error:
        skipped.append(f"{error} (it lies beside the table, and is not used)")
        return None


def column_groups(table: np.ndarray) -> list[str]:
    """Groups of columns: what stands before the slash of their names, in order."""
    names = [name for name in table.dtype.names or () if "/" in name]
    return list(dict.fromkeys(name.split("/")[0] for name in names))


def export_result_group(
    source: Path,
    rows: Int[np.ndarray, " rows"],
    output: Path,
    *,
    passthrough: Sequence[Path] | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[Path]:
    """Write some particles as a result group, ready for cryoSPARC's *Import Result Group*.

    Args:
        source: The ``.cs`` file.
        rows: Numbers of its rows, from 0, in the order wanted.
        output: The ``.cs`` file to write; passthrough tables and ``.csg`` are written beside
            it under names that follow from it.
        passthrough: Passthrough tables; None takes those beside ``source`` that hold all of
            the chosen particles.
        columns: Columns to add, by name, one value per chosen particle.
        change: What is done to every table before it is written; None writes them as they are.

    Returns:
        The files written, the ``.csg`` last.

    Raises:
        MetadataError: A given passthrough table lacks some of the particles.
    """
    chosen = chosen_rows(read_table(source), rows)
    has_uid = "uid" in (chosen.dtype.names or ())
    tables = {output: with_columns(chosen, columns or {})}
    others = passthrough_paths(source) if passthrough is None else passthrough
    skipped: list[str] = []
    for other_path in others:
        given = passthrough is not None
        other = read_table(other_path) if given else _found_beside(other_path, skipped)
        places = None if other is None or not has_uid else rows_by_uid(other, chosen["uid"])
        if other is not None and places is not None:
            number = "" if len(tables) == 1 else f"_{len(tables)}"
            name = f"{output.stem}_passthrough{number}.cs"
            tables[output.with_name(name)] = chosen_rows(other, places)
        elif given:
            msg = f"{other_path} does not hold all of the chosen particles of {source}"
            raise MetadataError(msg)
    for words in skipped:
        logger.info("%s", words)
    if change is not None:
        tables = {path: change(table) for path, table in tables.items()}
    for path, table in tables.items():
        write_table(path, table)
    group_path = output.with_suffix(".csg")
    _write_group(group_path, tables)
    return [*tables, group_path]


def _write_group(path: Path, tables: Mapping[Path, np.ndarray]) -> None:
    """The group file: for every group of columns its table, the first that has it."""
    results: dict[str, Any] = {}
    for table_path, table in tables.items():
        for group in (name for name in column_groups(table) if name != OWN_GROUP):
            # All classes of an ab-initio job hold what a refinement calls alignments3D.
            kind = "alignments3D" if group.startswith("alignments_class_") else group
            results.setdefault(
                group,
                {
                    "metafile": f">{table_path.name}",
                    "num_items": len(table),
                    "type": f"particle.{kind}",
                },
            )
    content = {
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        "group": {
            "description": "Particles selected by cryodrgn",
            "name": "particles",
            "title": "Particles",
            "type": "particle",
        },
        "results": dict(sorted(results.items())),
        "version": "v4.0.0",
    }
    with atomic_path(path) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False))
