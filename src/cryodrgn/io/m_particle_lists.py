"""Particles of tomograms found in another list of them, by their names or by where they are.

M keeps its own list of particles: ``wrpSourceName`` is the tilt series, ``wrpCoordinateX1`` …
is the place in Å from the corner of the tomogram (at the first of several times, or without a
number). What is chosen among the images of particles goes back into it by these.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError, MetadataError
from cryodrgn.geometry.conventions import matrices_from_relion_angles
from cryodrgn.io.relion_tomograms import (
    ORIGINS,
    SUBTOMOGRAM,
    coordinates_from_centre,
    files_of_set,
    is_optimisation_set,
)
from cryodrgn.io.star import StarTable, particle_block, read_star
from cryodrgn.io.star_selection import particles_of_rows
from cryodrgn.io.tilt_series import PARTICLE_NAMES, numbered
from cryodrgn.io.tomograms import TOMOGRAM, read_tomograms, require_columns, vectors

logger = logging.getLogger(__name__)

SOURCE = "wrpSourceName"
AT_FIRST, ALWAYS = (tuple(f"wrpCoordinate{axis}{n}" for axis in "XYZ") for n in ("1", ""))
# Warp names a tilt series by its file.
SERIES_ENDING = ".tomostar"
# Å by which a refinement after the export of images moves a particle at most, and how many
# times as far as the nearest row the next one must be.
NEAR, CLEARER = 5.0, 2.0
SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Places:
    """Places of particles.

    Attributes:
        series: Name of the tilt series of each, without an ending.
        positions: Å from the corner of the tomogram; of a refined list, as extracted and as
            refined.
    """

    series: np.ndarray
    positions: tuple[Float[np.ndarray, "particles 3"], ...]


def is_list_of_m(table: StarTable) -> bool:
    """True for M's own list of particles."""
    return SOURCE in table and (AT_FIRST[0] in table or ALWAYS[0] in table)


def rows_in_list(listed: Path, chosen_from: Path) -> Int[np.ndarray, " particles"]:
    """Number in one list of every particle of another file, −1 of those that it lacks.

    Args:
        listed: A list of particles: M's, or one with names of particles.
        chosen_from: The file of the particles: their ``optimisation_set.star``, their list, or
            a row for every image.

    Raises:
        CryodrgnError: The two have neither names nor places in common, or a particle may be
            several of the list.
    """
    lists = [_names(path) for path in (listed, chosen_from)]
    if lists[0] is not None and lists[1] is not None:
        found, kind = _by_name(listed, lists[0], lists[1]), PARTICLE_NAMES[0]
    else:
        found = _by_place(listed, _places(listed), _places(chosen_from))
        kind = "tilt series and coordinates"
    if not (found >= 0).any():
        msg = (
            f"{listed} lists none of the particles of {chosen_from}, by {kind}; give the list "
            "from which their images were exported"
        )
        raise ConfigError(msg)
    logger.info(
        "%s lists %d of the %d particles of %s, by %s",
        listed,
        (found >= 0).sum(),
        len(found),
        chosen_from,
        kind,
    )
    return found


def _table(path: Path) -> tuple[StarTable, Path | None]:
    """The particles of a file, and the tomograms that an optimisation set names beside them."""
    blocks, tomograms = read_star(path), None
    if is_optimisation_set(blocks):
        path, tomograms = files_of_set(path, blocks)
        blocks = read_star(path)
    name = particle_block(path, {n: len(table) for n, table in blocks.items()})
    return blocks[name], tomograms


def _names(path: Path) -> np.ndarray | None:
    """Name of every particle of a file; None if it has none."""
    table, _ = _table(path)
    name = next((name for name in PARTICLE_NAMES if name in table), None)
    if name is None:
        return None
    if particles_of_rows(table.path) is not None:
        return numbered(table, name)[1]
    names = np.array(table.text(name))
    if TOMOGRAM not in table or len(np.unique(names)) == len(names):
        return names
    return np.char.add(np.char.add(np.array(table.text(TOMOGRAM)), "/"), names)


def _by_name(
    listed: Path, names: np.ndarray, wanted: np.ndarray
) -> Int[np.ndarray, " particles"]:
    different, first, counts = np.unique(names, return_index=True, return_counts=True)
    places = np.searchsorted(different, wanted).clip(0, len(different) - 1)
    is_there = different[places] == wanted
    twice = np.flatnonzero(is_there & (counts[places] > 1))
    if len(twice):
        name = wanted[twice[0]]
        msg = f"{listed} lists {counts[places[twice[0]]]} particles of the name {name}"
        raise ConfigError(msg)
    return np.where(is_there, first[places], -1)


def _places(path: Path) -> Places:
    """Places of the particles of a file.

    Raises:
        MetadataError: It does not say.
    """
    table, tomograms = _table(path)
    if is_list_of_m(table):
        columns = AT_FIRST if AT_FIRST[0] in table else ALWAYS
        require_columns(table, columns)
        return Places(series=_stems(table.text(SOURCE)), positions=(vectors(table, columns),))
    if tomograms is None or TOMOGRAM not in table:
        msg = (
            f"{path} says neither the name of a particle ({PARTICLE_NAMES[0]}) nor its place "
            f"in the tomogram as M does ({SOURCE}, {AT_FIRST[0]}, …) or as an "
            "optimisation_set.star with its list of tomograms does, so that its rows are not "
            "known in another file; give one of these"
        )
        raise MetadataError(msg)
    names = table.text(TOMOGRAM)
    series = read_tomograms(tomograms, list(dict.fromkeys(names)))
    places = coordinates_from_centre(table, series)
    for tomogram in series:
        if tomogram.centre is None:
            msg = f"{tomograms} does not give the size of {tomogram.name} (rlnTomoSizeX, …)"
            raise MetadataError(msg)
        places[np.array(names) == tomogram.name] += tomogram.centre * tomogram.pixel_size
    subtomograms = matrices_from_relion_angles(vectors(table, SUBTOMOGRAM))
    moved = np.einsum("nij,nj->ni", subtomograms, vectors(table, ORIGINS))
    return Places(series=_stems(names), positions=(places, places - moved))


def _stems(names: list[str]) -> np.ndarray:
    return np.array([name.rpartition("/")[2].removesuffix(SERIES_ENDING) for name in names])


def _by_place(listed: Path, there: Places, here: Places) -> Int[np.ndarray, " particles"]:
    """Rows nearest to particles, from the positions that are nearer to them on the whole.

    Raises:
        ConfigError: Two rows are about as near.
    """
    candidates = [_nearest(there, here.series, positions) for positions in here.positions]
    rows, nearest, next_nearest = min(candidates, key=lambda found: np.median(found[1]))
    is_there = nearest <= NEAR
    unclear = np.flatnonzero(is_there & (next_nearest < CLEARER * np.maximum(nearest, 0.1)))
    if len(unclear):
        one = unclear[0]
        msg = (
            f"{listed}: two rows in {here.series[one]} lie {nearest[one]:.1f} and "
            f"{next_nearest[one]:.1f} Å from particle {one}, so that there is no telling which "
            "of them it is; give the list from which the images were exported, without doubles"
        )
        raise ConfigError(msg)
    different, counts = np.unique(rows[is_there], return_counts=True)
    if (counts > 1).any():
        row = different[counts > 1][0]
        particles = np.flatnonzero(is_there & (rows == row))[:SHOWN].tolist()
        msg = (
            f"{listed}: row {row} is nearest to particles {', '.join(map(str, particles))}; "
            "give the list from which their images were exported"
        )
        raise ConfigError(msg)
    return np.where(is_there, rows, -1)


def _nearest(
    there: Places, series: np.ndarray, positions: Float[np.ndarray, "particles 3"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row nearest to every particle in its tilt series, its distance, and that of the next."""
    rows = np.full(len(positions), -1, dtype=np.int64)
    nearest, next_nearest = (np.full(len(positions), np.inf) for _ in range(2))
    for name in np.unique(series).tolist():
        here, listed = np.flatnonzero(series == name), np.flatnonzero(there.series == name)
        if not len(listed):
            continue
        for one in here.tolist():
            apart = np.linalg.norm(there.positions[0][listed] - positions[one], axis=1)
            order = np.argpartition(apart, min(1, len(listed) - 1))[:2]
            rows[one], nearest[one] = listed[order[0]], apart[order[0]]
            if len(listed) > 1:
                next_nearest[one] = apart[order[1]]
    return rows, nearest, next_nearest
