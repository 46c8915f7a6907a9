"""Rows of STAR files chosen by what they hold: tilt series, micrographs."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import MetadataError
from cryodrgn.io.star import StarTable, particle_block, read_star
from cryodrgn.io.star_rows import StarRows
from cryodrgn.particles.selection import Selection

PARTICLE_IDENTITY = ("rlnGroupName", "rlnGroupNumber")


def rows_of_particles(
    path: Path, particles: Int[np.ndarray, " particles"] | Selection
) -> Int[np.ndarray, " rows"]:
    """Rows of all tilt images of some particles, in the order of the file.

    Args:
        path: A file with a row per tilt image.
        particles: Numbers of particles, or a selection of them, counted from 0 in the order in
            which their names (``rlnGroupName``) first appear.

    Raises:
        CryodrgnError: The file does not say which particle an image shows, or has fewer.
    """
    table = _particles(path)
    name = next((name for name in PARTICLE_IDENTITY if name in table), None)
    if name is None:
        msg = f"{path} does not say which particle a tilt image shows (no column rlnGroupName)"
        raise MetadataError(msg)
    names = table.text(name)
    number = {label: place for place, label in enumerate(dict.fromkeys(names))}
    chosen = Selection.of(particles).rows_of(len(number), str(path))
    of_row = np.array([number[label] for label in names])
    return np.flatnonzero(np.isin(of_row, chosen))


def write_by_micrograph(
    star: StarRows, rows: Int[np.ndarray, " rows"], folder: Path
) -> list[Path]:
    """Write some rows as one file per micrograph.

    Args:
        star: The file.
        rows: Numbers of the rows wanted.
        folder: Where the files go, each named after its micrograph.

    Returns:
        The files written.

    Raises:
        MetadataError: The file does not name micrographs, or two have the same file name.
    """
    micrographs = np.array(_particles(star.path).text("rlnMicrographName"))[rows]
    names = {name: Path(name).stem for name in dict.fromkeys(micrographs.tolist())}
    if len(set(names.values())) < len(names):
        msg = f"{star.path} names different micrographs of the same file name"
        raise MetadataError(msg)
    paths = []
    for name, stem in names.items():
        paths.append(folder / f"{stem}.star")
        star.write(paths[-1], rows[micrographs == name])
    return paths


def _particles(path: Path) -> StarTable:
    tables = read_star(path)
    sizes = {name: len(table) for name, table in tables.items()}
    return tables[particle_block(path, sizes)]
