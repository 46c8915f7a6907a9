"""Particles of tomograms as 2-D stacks, one row for many images, as rows of single tilt images.

A job of RELION 5, and Warp and M, name two files in an ``optimisation_set.star``: the
particles, with a row and a stack of images each, and the tomograms with their tilts
(``io.tomograms``). A particle at p (Å, from the centre of the tomogram) with the orientation R
is seen by a tilt T in the orientation T R, at the place (T p)x, (T p)y from where the centre
is seen, and in a depth (T p)z that changes its defocus by rlnTomoHand · (T p)z. R is the
product of the matrices of ``rlnTomoSubtomogramRot`` … and ``rlnAngleRot`` …. Images are
centred at the coordinate (``rlnCenteredCoordinateXAngst`` … in Å from the centre, or
``rlnCoordinateX`` … in pixels of the tilt series from the corner), so that the refined origin
o, which lies in the frame of the subtomogram, shifts them by the x and y of T S o, and the
particle is at p = coordinate − S o, S being the subtomogram's matrix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from cryodrgn.errors import InputFileError, MetadataError, ShapeMismatchError
from cryodrgn.geometry.conventions import (
    matrices_from_relion_angles,
    relion_angles_from_matrices,
)
from cryodrgn.io.locate import locate_file
from cryodrgn.io.star import StarTable, particle_block, read_star
from cryodrgn.io.tomograms import (
    DOSE,
    TOMOGRAM,
    Tomogram,
    is_relion4,
    read_tomograms,
    require_columns,
    vectors,
)

Blocks = Mapping[str, StarTable]
PARTICLES_FILE, TOMOGRAMS_FILE = "rlnTomoParticlesFile", "rlnTomoTomogramsFile"
# In Å from the centre of the tomogram, and in pixels of the tilt series from its corner.
COORDINATES = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
FROM_CORNER = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")
ORIGINS = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
ANGLES = tuple(f"rlnAngle{angle}" for angle in ("Rot", "Tilt", "Psi"))
SUBTOMOGRAM = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
FRAMES = "rlnTomoVisibleFrames"
# What makes an optics table one of tomograms; its other columns hold for single images, too.
OF_TOMOGRAMS = ("rlnTomo", "rlnImageDimensionality")
KEPT = ("rlnOpticsGroup", "rlnRandomSubset", "rlnClassNumber")
EXTRACTED = "extract the particles as 2-D stacks (Extract subtomos, Write output as 2D stacks)"


def is_optimisation_set(blocks: Blocks) -> bool:
    """True if a file names the particles and tomograms of a job."""
    return any(PARTICLES_FILE in table for table in blocks.values())


def rows_of_optimisation_set(path: Path, blocks: Blocks) -> dict[str, StarTable]:
    """Optics groups and tilt images of the particles that an optimisation set names.

    Raises:
        CryodrgnError: It names no tomograms, or one of its files cannot be used.
    """
    particles, tomograms = files_of_set(path, blocks)
    rows = tilt_rows(particles, tomograms)
    return {name: StarTable(path, columns) for name, columns in rows.items()}


def files_of_set(path: Path, blocks: Blocks) -> tuple[Path, Path]:
    """The files of particles and tomograms that an optimisation set names.

    Raises:
        InputFileError: It does not name one of them, or that is not there.
    """
    table = next(table for table in blocks.values() if PARTICLES_FILE in table)
    found = []
    for column in (PARTICLES_FILE, TOMOGRAMS_FILE):
        if column not in table:
            msg = f"{path} names no {column}, which the images of its particles need"
            raise InputFileError(msg)
        found.append(locate_file(table.text(column)[0], path))
    return found[0], found[1]


def tilt_rows(
    particles: Path, tomograms: Path, tilt_dim: tuple[int, int] | None = None
) -> dict[str, dict[str, Sequence[Any]]]:
    """A row for every tilt image, of each particle in the order of dose.

    Args:
        particles: The ``.star`` file of the particles, a row each.
        tomograms: The ``tomograms.star`` of the same project.
        tilt_dim: Size of the tilt images in pixels (x, y), which coordinates in them need;
            None leaves these out.

    Returns:
        Columns by name of the tables ``optics`` and ``particles``.

    Raises:
        CryodrgnError: A file lacks what is needed, or two of them do not fit together.
    """
    blocks = read_star(particles)
    table = blocks[particle_block(particles, {n: len(t) for n, t in blocks.items()})]
    if FRAMES not in table and is_relion4(tomograms):
        msg = (
            f"{tomograms} is of RELION 4, which writes no images of particles: cut them out of "
            f"the tilt series with cryodrgn_utils parse_relion -t {tomograms} -p {particles} "
            "--box PX -o tilts.star, and pass that file"
        )
        raise InputFileError(msg)
    require_columns(table, (TOMOGRAM, FRAMES, "rlnImageName"))
    optics = blocks.get("optics")
    if optics is None:
        msg = f"{particles} has no table of optics groups, which RELION 5, Warp and M write"
        raise InputFileError(msg)
    names = list(dict.fromkeys(table.text(TOMOGRAM)))
    series = read_tomograms(tomograms, names)
    listed = _Listed.read(table, series)
    parts = []
    for tomogram in series:
        rows = np.flatnonzero(listed.tomograms == tomogram.name)
        parts.append(_images(listed, rows, tomogram, tilt_dim))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns[DOSE], columns.pop("row")))
    sorted_columns = {name: values[order] for name, values in columns.items()}
    return {"optics": _optics(optics), "particles": _typed(sorted_columns)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Listed:
    """Particles as the file lists them; lengths Å, from the centre of the tomogram."""

    table: StarTable
    tomograms: np.ndarray
    names: np.ndarray
    stacks: np.ndarray
    coordinates: Float[np.ndarray, "particles 3"]
    origins: Float[np.ndarray, "particles 3"]
    rotations: Float[np.ndarray, "particles 3 3"]
    kept: dict[str, np.ndarray]

    @classmethod
    def read(cls, table: StarTable, series: Sequence[Tomogram]) -> "_Listed":
        """The particles of a table.

        Args:
            table: The table.
            series: The tomograms that it names.

        Raises:
            MetadataError: Images are no 2-D stacks, or there are no coordinates.
        """
        tomograms = np.array(table.text(TOMOGRAM))
        if "rlnTomoParticleName" in table:
            names = np.array(table.text("rlnTomoParticleName"))
        else:
            names = np.array([f"{t}/{row + 1}" for row, t in enumerate(tomograms.tolist())])
        stacks = np.array(table.text("rlnImageName"))
        are_stacks = np.char.endswith(stacks, ".mrcs")
        if not are_stacks.all():
            found = stacks[~are_stacks][0]
            msg = f"{table.path}: {found} is no stack of images (.mrcs); {EXTRACTED}"
            raise MetadataError(msg)
        _require_one_stack(table.path, tomograms, names, stacks)
        subtomograms = matrices_from_relion_angles(vectors(table, SUBTOMOGRAM))
        origins = np.einsum("nij,nj->ni", subtomograms, vectors(table, ORIGINS))
        return cls(
            table=table,
            tomograms=tomograms,
            names=names,
            stacks=stacks,
            coordinates=coordinates_from_centre(table, series),
            origins=origins,
            rotations=subtomograms @ matrices_from_relion_angles(vectors(table, ANGLES)),
            kept={n: table.numbers(n).astype(np.int64) for n in KEPT if n in table},
        )

    def visible(
        self, rows: Int[np.ndarray, " rows"], num_tilts: int
    ) -> Bool[np.ndarray, "rows tilts"]:
        """Tilts of their tomogram that the stacks of some particles hold.

        Raises:
            ShapeMismatchError: Their number is not that of the tilt series, or is zero.
        """
        texts = self.table.text(FRAMES)
        shown = np.zeros((len(rows), num_tilts), dtype=bool)
        for place, row in enumerate(rows.tolist()):
            words = [word.strip() for word in texts[row].strip().strip("[]").split(",")]
            flags = [word == "1" for word in words]
            if len(words) != num_tilts or not any(flags) or not {*words} <= {"0", "1"}:
                msg = (
                    f"{self.table.path}: {FRAMES} of row {row} is {texts[row][:200]}, expected "
                    f"a 1 or 0 for each of the {num_tilts} tilts of {self.tomograms[row]}, "
                    "and a 1 at least"
                )
                raise ShapeMismatchError(msg)
            shown[place] = flags
        return shown


def _require_one_stack(
    path: Path, tomograms: np.ndarray, names: np.ndarray, stacks: np.ndarray
) -> None:
    """Refuse particles of one name whose images are not the same.

    Raises:
        MetadataError: There are some.
    """
    known: dict[tuple[str, str], tuple[int, str]] = {}
    rows = zip(tomograms.tolist(), names.tolist(), stacks.tolist(), strict=True)
    for row, (tomogram, name, stack) in enumerate(rows):
        first, other = known.setdefault((tomogram, name), (row, stack))
        if other != stack:
            msg = (
                f"{path}: rows {first} and {row} are particles of the name {name} "
                f"(rlnTomoParticleName) in {tomogram} (rlnTomoName) with different stacks; "
                "give every particle a name of its own, or leave the column out"
            )
            raise MetadataError(msg)


def coordinates_from_centre(
    table: StarTable, series: Sequence[Tomogram]
) -> Float[np.ndarray, "particles 3"]:
    """Coordinates of particles in Å from the centres of their tomograms, without origins.

    Args:
        table: A table of particles.
        series: The tomograms that it names.

    Raises:
        MetadataError: There are none, or the size of a tomogram is not known.
    """
    if any(name in table for name in COORDINATES) or FROM_CORNER[0] not in table:
        require_columns(table, COORDINATES)
        return vectors(table, COORDINATES)
    pixels, names = vectors(table, FROM_CORNER), np.array(table.text(TOMOGRAM))
    for tomogram in series:
        if tomogram.centre is None:
            msg = (
                f"{table.path} counts coordinates from the corner of {tomogram.name}, whose "
                "size (rlnTomoSizeX, …) the list of tomograms does not give"
            )
            raise MetadataError(msg)
        rows = names == tomogram.name
        pixels[rows] = (pixels[rows] - tomogram.centre) * tomogram.pixel_size
    return pixels


def _images(
    listed: _Listed,
    rows: Int[np.ndarray, " rows"],
    tomogram: Tomogram,
    tilt_dim: tuple[int, int] | None,
) -> dict[str, np.ndarray]:
    """The images of some particles of one tomogram, column by column."""
    shown = listed.visible(rows, len(tomogram.rotations))
    places, tilts = np.nonzero(shown)
    frames = (np.cumsum(shown, axis=1))[places, tilts]
    owners, turns = rows[places], tomogram.rotations[tilts]
    seen = np.einsum("nij,nj->ni", turns, (listed.coordinates - listed.origins)[owners])
    shifts = np.einsum("nij,nj->ni", turns, listed.origins[owners])
    angles = relion_angles_from_matrices(turns @ listed.rotations[owners])
    stacks = listed.stacks[owners]
    columns = {
        "row": owners,
        "rlnImageName": np.array(
            [f"{frame:06d}@{stack}" for frame, stack in zip(frames, stacks, strict=True)]
        ),
        "rlnTomoName": listed.tomograms[owners],
        "rlnTomoParticleName": listed.names[owners],
        "rlnGroupName": listed.names[owners],
        **{name: values[owners] for name, values in listed.kept.items()},
        **{name: values[tilts] for name, values in tomogram.columns.items()},
        "rlnOriginXAngst": shifts[:, 0],
        "rlnOriginYAngst": shifts[:, 1],
        "rlnPhaseShift": np.zeros(len(owners)),
    }
    columns |= dict(zip(ANGLES, angles.T, strict=True))
    for name in ("rlnDefocusU", "rlnDefocusV"):
        columns[name] = columns[name] + tomogram.hand * seen[:, 2]
    if tilt_dim is not None:
        at = seen[:, :2] / tomogram.pixel_size + tomogram.middles(tilt_dim)[tilts]
        columns |= dict(zip(FROM_CORNER[:2], at.T, strict=True))
    return columns


def _optics(optics: StarTable) -> dict[str, Sequence[str]]:
    return {
        name: optics.text(name) for name in optics.names if not name.startswith(OF_TOMOGRAMS)
    }


def _typed(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Columns of text and of whole numbers as text, which tables take; others as they are."""
    return {
        name: values if values.dtype.kind == "f" else values.astype(str).tolist()
        for name, values in columns.items()
    }
