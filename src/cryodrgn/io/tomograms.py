"""Tomograms of RELION, Warp and M: how each of their tilts sees the specimen.

A ``tomograms.star`` lists tomograms in its table ``global``. The tilts of each are in a file
that it names (RELION 5), or in a table of the same file that has its name (RELION 4; Warp and
M beside particles that they export as stacks). A tilt is given by its angles,

    T = Rz(rlnTomoZRot) Ry(rlnTomoYTilt) Rx(rlnTomoXTilt)

or by the matrix T and the vector W in the rows of ``rlnTomoProjX`` …, which take a place x, in
pixels from the corner of the tomogram, to T x + W in the tilt image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.geometry.conventions import matrices_from_tilts
from cryodrgn.io.locate import locate_file
from cryodrgn.io.relion_optics import parse_vector
from cryodrgn.io.star import StarTable, read_star

# Where RELION 5, and RELION 4, Warp and M name the tilts.
SERIES_FILE, SERIES = "rlnTomoTiltSeriesStarFile", "rlnTomoTiltSeriesName"
TOMOGRAM, HAND, PIXEL_SIZE = "rlnTomoName", "rlnTomoHand", "rlnTomoTiltSeriesPixelSize"
SIZES = tuple(f"rlnTomoSize{axis}" for axis in "XYZ")
TILTS = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
SHIFTS = ("rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
PROJECTION = tuple(f"rlnTomoProj{axis}" for axis in "XYZ")
DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
DOSE, SCALE, MICROGRAPH = "rlnMicrographPreExposure", "rlnCtfScalefactor", "rlnMicrographName"
# By which a matrix may differ from a rotation.
TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tomogram:
    """A tomogram and its tilts.

    Attributes:
        name: Its name.
        pixel_size: Of the tilt series, Å/px.
        hand: 1 or -1, the sign with which depth adds to the defocus.
        centre: From its corner, in pixels of the tilt series; None if no size is given.
        rotations: T of every tilt.
        shifts: Of every tilt, in Å: where the centre is seen from the middle of the tilt image;
            None where ``places`` are given.
        places: W of every tilt, in pixels; None where tilts are given by angles.
        columns: What else is known of every tilt, by name.
    """

    name: str
    pixel_size: float
    hand: float
    centre: Float[np.ndarray, " 3"] | None
    rotations: Float[np.ndarray, "tilts 3 3"]
    shifts: Float[np.ndarray, "tilts 2"] | None
    places: Float[np.ndarray, "tilts 3"] | None
    columns: dict[str, np.ndarray]

    def middles(self, tilt_dim: tuple[int, int]) -> Float[np.ndarray, "tilts 2"]:
        """Pixels of tilt images of some size (x, y) at which the centre is seen."""
        if self.shifts is not None:
            return self.shifts / self.pixel_size + np.array(tilt_dim) / 2
        assert self.places is not None
        assert self.centre is not None
        return (self.rotations @ self.centre + self.places)[:, :2]


def is_relion4(tomograms: Path) -> bool:
    """True for a ``tomograms.star`` of RELION 4, and for those that Warp and M write."""
    table = read_star(tomograms).get("global")
    return table is not None and SERIES in table and SERIES_FILE not in table


def read_tomograms(path: Path, wanted: Sequence[str]) -> list[Tomogram]:
    """The tomograms of some names.

    Raises:
        CryodrgnError: One is not listed, or what is listed of it cannot be used.
    """
    blocks = read_star(path)
    table = blocks.get("global")
    if table is None:
        msg = f"{path} is no tomograms.star of RELION, Warp or M: it has no table global"
        raise InputFileError(msg)
    require_columns(table, (TOMOGRAM, PIXEL_SIZE, HAND))
    names = {name: row for row, name in enumerate(table.text(TOMOGRAM))}
    missing = [name for name in wanted if name not in names]
    if missing:
        msg = f"{path} lists no tomogram {missing[0]}, in which there are particles"
        raise MetadataError(msg)
    found = []
    for name in wanted:
        tilts = _tilts(path, blocks, names[name], name)
        found.append(_tomogram(table, names[name], tilts, name))
    return found


def _tilts(path: Path, blocks: dict[str, StarTable], row: int, name: str) -> StarTable:
    """The table of the tilts of one tomogram."""
    table = blocks["global"]
    if SERIES_FILE in table:
        of_file = read_star(locate_file(table.text(SERIES_FILE)[row], path))
        return max(of_file.values(), key=len)
    if name in blocks:
        return blocks[name]
    msg = (
        f"{path} does not say how the tilts of {name} see it: it has neither a column "
        f"{SERIES_FILE}, as RELION 5 writes it, nor a table data_{name}, as RELION 4, Warp "
        "and M do"
    )
    raise InputFileError(msg)


def _tomogram(table: StarTable, row: int, tilts: StarTable, name: str) -> Tomogram:
    """One tomogram, from its row of the table of all and the table of its tilts.

    Raises:
        MetadataError: Hand, pixel size or a tilt are impossible.
    """
    hand, pixel_size = float(table.numbers(HAND)[row]), float(table.numbers(PIXEL_SIZE)[row])
    if hand not in {-1.0, 1.0} or not pixel_size > 0:
        msg = (
            f"{table.path}: the tomogram {name} has {HAND} {hand:g} and {pixel_size:g} Å/px; "
            "expected a hand of 1 or −1 and a positive pixel size"
        )
        raise MetadataError(msg)
    require_columns(tilts, (*DEFOCUS, DOSE))
    columns = {column: tilts.numbers(column) for column in (*DEFOCUS, DOSE)}
    if MICROGRAPH in tilts:
        columns[MICROGRAPH] = np.array(tilts.text(MICROGRAPH))
    if PROJECTION[0] in tilts and TILTS[0] not in tilts:
        require_columns(table, SIZES)
        matrices = _projections(tilts, name)
        rotations, scales = matrices[..., :3], matrices[:, 2, 2]
        shifts, places = None, matrices[..., 3]
    else:
        require_columns(tilts, TILTS)
        angles_deg = vectors(tilts, TILTS)
        rotations, scales = (
            matrices_from_tilts(angles_deg),
            np.cos(np.deg2rad(angles_deg[:, 1])),
        )
        shifts, places = vectors(tilts, SHIFTS), None
    columns[SCALE] = tilts.numbers(SCALE) if SCALE in tilts else scales
    return Tomogram(
        name=name,
        pixel_size=pixel_size,
        hand=hand,
        centre=vectors(table, SIZES)[row] / 2 if SIZES[0] in table else None,
        rotations=rotations,
        shifts=shifts,
        places=places,
        columns=columns,
    )


def _projections(tilts: StarTable, name: str) -> Float[np.ndarray, "tilts 3 4"]:
    """Matrices and vectors of tilts side by side.

    Raises:
        MetadataError: One is no rotation.
    """
    require_columns(tilts, PROJECTION)
    matrices = np.array(
        [[_four(text, tilts.path, axis) for text in tilts.text(axis)] for axis in PROJECTION]
    ).transpose(1, 0, 2)
    rotations = matrices[..., :3]
    errors = np.abs(rotations @ rotations.mT - np.eye(3)).max((1, 2))
    bad = np.flatnonzero((errors > TOLERANCE) | (np.linalg.det(rotations) < 0))
    if len(bad):
        msg = (
            f"{tilts.path}: {', '.join(PROJECTION)} of tilt {bad[0]} of {name} hold no "
            "rotation, as they do for tilt series that were aligned without changes of "
            "magnification"
        )
        raise MetadataError(msg)
    return matrices


def _four(text: str, path: Path, name: str) -> list[float]:
    """A row of a matrix.

    Raises:
        MetadataError: It is not of four numbers.
    """
    numbers = parse_vector(text, path, name)
    if len(numbers) != 4:
        msg = f"{path}: {name} holds {text[:200]}, expected four numbers as [1,0,0,0]"
        raise MetadataError(msg)
    return list(numbers)


def vectors(table: StarTable, names: Sequence[str]) -> Float[np.ndarray, "rows axes"]:
    """Columns side by side; all of them zero where none is there.

    Raises:
        MetadataError: Some are there, and others are not.
    """
    present = [name for name in names if name in table]
    if not present:
        return np.zeros((len(table), len(names)))
    require_columns(table, names)
    return np.stack([table.numbers(name) for name in names], axis=1)


def require_columns(table: StarTable, names: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        MetadataError: It does.
    """
    missing = [name for name in names if name not in table]
    if missing:
        msg = (
            f"{table.path} has no column {missing[0]}, which the images of particles in "
            f"tomograms need; it must be a file of RELION, Warp or M"
        )
        raise MetadataError(msg)
