"""Rows of STAR files chosen by what they hold: tilt series, micrographs."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import MetadataError
from cryodrgn.io.relion_tomograms import FRAMES, files_of_set, is_optimisation_set
from cryodrgn.io.star import StarTable, particle_block, read_star
from cryodrgn.io.star_rows import StarRows
from cryodrgn.io.tilt_series import identity_column, numbered, require_identity_column
from cryodrgn.particles.selection import Selection


def rows_of_particles(
    path: Path, particles: Int[np.ndarray, " particles"] | Selection
) -> Int[np.ndarray, " rows"]:
    """Rows of all tilt images of some particles, in the order of the file.

    Args:
        path: A file with a row per tilt image.
        particles: Numbers of particles, or a selection of them, counted from 0 in the order in
            which their names (``rlnTomoParticleName``, ``rlnGroupName``) first appear.

    Raises:
        CryodrgnError: The file does not say which particle an image shows, or has fewer.
    """
    table = _particles(path)
    of_row, names, _ = numbered(table, require_identity_column(table))
    chosen = Selection.of(particles).rows_of(len(names), f"the tilt series of {path}")
    return np.flatnonzero(np.isin(of_row, chosen))


def particle_list(path: Path) -> Path:
    """The file of the particles: that which an optimisation set names, or a file itself.

    Raises:
        InputFileError: That is not there.
    """
    blocks = read_star(path)
    return files_of_set(path, blocks)[0] if is_optimisation_set(blocks) else path


def particles_of_rows(path: Path) -> Int[np.ndarray, " rows"] | None:
    """Number of the particle that every row is an image of; None where rows are particles.

    Particles are counted in the order in which their names first appear.

    Raises:
        MetadataError: Rows are images of tomograms, and nothing says of which particle.
    """
    table = _particles(path)
    is_image = "rlnImageName" in table and "@" in table.text("rlnImageName")[0]
    if FRAMES in table or not is_image:
        return None
    identity = identity_column(table, lambda n: table.numbers(n) if n in table else None)
    return None if identity is None else numbered(table, identity)[0]


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
