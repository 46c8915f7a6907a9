"""Columns of the file that lists a run's particles, found by the places of particles in it."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import CryodrgnError, InputFileError
from cryodrgn.io.cryosparc_tables import read_table
from cryodrgn.io.particle_files import open_metadata
from cryodrgn.io.star import particle_block, read_star
from cryodrgn.io.star_selection import particle_list, particles_of_rows
from cryodrgn.page.columns import Column, Makers, numbers_of
from cryodrgn.particles.options import TiltSeriesSettings

Rows = Int[np.ndarray, " particles"]


def file_columns(path: Path, places: Rows, settings: TiltSeriesSettings) -> Makers:
    """Groups and numbers of a ``.star`` or ``.cs`` file, by the names that the file has.

    Only names are looked at until a column is asked for. Particles of tilt series have what
    the row of their first image has.

    Args:
        path: The particle file.
        places: Row of every particle in it; its number where rows are images of tilt series.
        settings: What is said of tilt series.

    Raises:
        InputFileError: The file cannot be read, or lists fewer particles.
    """
    if path.suffix == ".cs":
        return _cryosparc_columns(path, _within(places, len(read_table(path)), path))
    if path.suffix != ".star":
        return {}
    listed = particle_list(path)
    blocks = read_star(listed)
    block = particle_block(listed, {name: len(table) for name, table in blocks.items()})
    owners = None if settings.is_series is False else particles_of_rows(listed)
    rows = _rows_of(places, len(blocks[block]), owners, listed)

    def column(name: str) -> Column:
        table = read_star(listed)[block]
        try:
            return Column(values=numbers_of(table.numbers(name)[rows]))
        except CryodrgnError:
            texts = table.text(name)
            return Column.of_names([texts[row] for row in rows.tolist()])

    return {name: lambda name=name: column(name) for name in blocks[block].names}


def category_columns(path: Path, places: Rows, settings: TiltSeriesSettings) -> Makers:
    """Micrographs (or tomograms) and optics groups, if the file tells of them.

    Arguments and errors are those of :func:`file_columns`.
    """
    metadata = open_metadata(path)
    if metadata is None:
        return {}
    series = metadata.tilt_series(settings)
    owners = None if series is None else series.particle_of_row
    rows = _rows_of(places, len(metadata), owners, path)
    names = metadata.select(rows[:1]).categories()

    def column(name: str) -> Column:
        again = open_metadata(path)
        assert again is not None
        return Column.of_names(again.select(rows).categories()[name])

    return {name: lambda name=name: column(name) for name in names}


def changed_since(path: Path, run: Sequence[Path]) -> list[str]:
    """A sentence on a particle file that was written after a run began, or none.

    Args:
        path: The file.
        run: Files that the run wrote at its beginning, of which one is there.
    """
    begun = [one.stat().st_mtime for one in run if one.is_file()]
    if not begun or not path.is_file() or path.stat().st_mtime <= begun[0]:
        return []
    time = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    msg = (
        f"{path} was written after the run began ({time:%Y-%m-%d %H:%M}): its particles are "
        "taken to be those of the run, in the same order"
    )
    return [msg]


def _cryosparc_columns(path: Path, rows: Rows) -> Makers:
    table = read_table(path)
    found: Makers = {}
    for name in table.dtype.names or ():
        kind = table.dtype[name]
        if kind.base.kind in "SU":
            found[name] = lambda name=name: Column.of_names(_texts(path, name, rows))
        elif kind.base.kind in "iufb":
            count = int(np.prod(kind.shape))
            for place in range(count):
                # Vectors, as of poses and shifts, are as many columns, counted from 0.
                shown = name if count == 1 else f"{name}[{place}]"
                found[shown] = lambda name=name, place=place: Column(
                    values=numbers_of(_part(path, name, place, rows))
                )
    return found


def _part(path: Path, name: str, place: int, rows: Rows) -> np.ndarray:
    """One of the numbers of every row that a column holds, of particles."""
    table = read_table(path)
    return table[name].reshape(len(table), -1)[rows, place]


def _texts(path: Path, name: str, rows: Rows) -> list[str]:
    table = read_table(path)
    values = table[name].reshape(len(table), -1)[:, 0][rows].tolist()
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]


def _rows_of(
    places: Rows, count: int, owners: Int[np.ndarray, " rows"] | None, path: Path
) -> Rows:
    """Rows of particles: their places, or the first rows of the particles of those numbers."""
    if owners is None:
        return _within(places, count, path)
    _, first = np.unique(owners, return_index=True)
    return first[_within(places, len(first), path)]


def _within(places: Rows, count: int, path: Path) -> Rows:
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < count:
        msg = (
            f"{path} lists {count} particles now, but the run has particle "
            f"{int(places.max())} of it, counted from 0; the file has changed since"
        )
        raise InputFileError(msg)
    return places
