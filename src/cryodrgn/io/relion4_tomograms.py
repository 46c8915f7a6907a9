"""Particles of RELION 4 tomograms, cut out of their tilt series as single images.

RELION 4 lists particles at places x of a tomogram (``rlnCoordinateX`` …, pixels of the tilt
series from the corner), of which it makes pseudo-subtomograms and no images. Its
``tomograms.star`` has a table for each tomogram, with a matrix for each tilt: rows M and W of
``rlnTomoProjX`` … take x to the place M x + W in the tilt image, whose third number is the
depth. With the orientation R of a particle (the product of the matrices of
``rlnTomoSubtomogramRot`` … and ``rlnAngleRot`` …), the matrix S of the former, and the refined
origin o in Å, a particle is at x − S o / pixel size, is seen in the orientation M R, and its
defocus is larger by rlnTomoHand times its depth below that of the tomogram's centre.
(RELION 4.0's manual, tomogram set and particle set.)
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.geometry.conventions import (
    matrices_from_relion_angles,
    relion_angles_from_matrices,
)
from cryodrgn.io.locate import locate_file
from cryodrgn.io.mrc import MrcFile, stack_writer
from cryodrgn.io.relion_tomograms import ANGLES, FROM_CORNER, KEPT, ORIGINS, SUBTOMOGRAM
from cryodrgn.io.star import StarTable, particle_block, read_star
from cryodrgn.io.tomograms import (
    DOSE,
    PROJECTION,
    SERIES,
    TOMOGRAM,
    Tomogram,
    read_tomograms,
    require_columns,
    vectors,
)

logger = logging.getLogger(__name__)

OPTICS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
Columns = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TiltSeries:
    """A tomogram and the images of its tilts."""

    tomogram: Tomogram
    images: MrcFile


def cut_tilt_images(
    particles: Path, tomograms: Path, box_size: int, output: Path
) -> dict[str, dict[str, Sequence[Any]]]:
    """Cut all tilt images of all particles out of the tilt series, into a stack per tomogram.

    Images are centred at the pixel nearest to the particle, with the rest as their shift. Their
    values outside of the circle in the box get the mean 0 and the standard deviation 1. Images
    that reach beyond their tilt image are left out.

    Args:
        particles: The ``particles.star`` of RELION 4.
        tomograms: The ``tomograms.star`` of the same project.
        box_size: Side of the images in pixels of the tilt series.
        output: The ``.star`` file that will list the images; stacks go into a folder of its
            name.

    Returns:
        Columns by name of the tables ``optics`` and ``particles``, of each particle in the
        order of dose.

    Raises:
        CryodrgnError: A file lacks what is needed, or two of them do not fit together.
    """
    blocks = read_star(particles)
    table = blocks[particle_block(particles, {n: len(t) for n, t in blocks.items()})]
    require_columns(table, (TOMOGRAM, *FROM_CORNER))
    names = np.array(table.text(TOMOGRAM))
    series = _all_series(tomograms, list(dict.fromkeys(names.tolist())))
    folder = output.with_suffix("")
    parts, left_out = [], 0
    for one in series:
        rows = np.flatnonzero(names == one.tomogram.name)
        part, missing = _cut(one, table, rows, box_size, folder)
        parts.append(part)
        left_out += missing
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns[DOSE], columns.pop("row")))
    if not len(order):
        msg = f"no image of {particles} lies whole in a tilt image; give a smaller box"
        raise MetadataError(msg)
    if left_out:
        logger.info("%d images that reach beyond their tilt image are left out", left_out)
    sorted_columns = {name: _typed(values[order]) for name, values in columns.items()}
    optics = _optics(blocks.get("optics"), tomograms, series, box_size)
    return {"optics": optics, "particles": sorted_columns}


def _all_series(path: Path, names: list[str]) -> list[TiltSeries]:
    """The tilt series of some tomograms.

    Raises:
        InputFileError: A series has another number of images than tilts.
        MetadataError: Tilts are not given by matrices.
    """
    table = read_star(path)["global"]
    files = dict(zip(table.text(TOMOGRAM), table.text(SERIES), strict=True))
    found = []
    for tomogram in read_tomograms(path, names):
        name = tomogram.name
        if tomogram.places is None:
            msg = f"{path}: the tilts of {name} have no column {PROJECTION[0]}"
            raise MetadataError(msg)
        images = MrcFile.open(locate_file(files[name].split(":")[0], path))
        if images.shape[0] != len(tomogram.rotations):
            msg = (
                f"{images.path} holds {images.shape[0]} images, but {path} lists "
                f"{len(tomogram.rotations)} tilts of {name}"
            )
            raise InputFileError(msg)
        found.append(TiltSeries(tomogram=tomogram, images=images))
    return found


def _cut(
    series: TiltSeries,
    table: StarTable,
    rows: Int[np.ndarray, " rows"],
    box_size: int,
    folder: Path,
) -> tuple[Columns, int]:
    """Write the images of a tomogram's particles; their columns, and how many lie beyond."""
    tomogram = series.tomogram
    assert tomogram.places is not None
    subtomograms = matrices_from_relion_angles(vectors(table, SUBTOMOGRAM)[rows])
    poses = subtomograms @ matrices_from_relion_angles(vectors(table, ANGLES)[rows])
    moved = np.einsum("nij,nj->ni", subtomograms, vectors(table, ORIGINS)[rows])
    at = vectors(table, FROM_CORNER)[rows] - moved / tomogram.pixel_size
    seen = np.einsum("tij,nj->nti", tomogram.rotations, at) + tomogram.places
    depths = np.einsum("tj,nj->nt", tomogram.rotations[:, 2], at - tomogram.centre)
    corners = np.rint(seen[..., :2]).astype(np.int64) - box_size // 2
    sides = np.array(series.images.shape[:0:-1])
    inside = ((corners >= 0) & (corners + box_size <= sides)).all(-1)
    # Images are read tilt by tilt, and lie so in the stack.
    tilts, owners = np.nonzero(inside.T)
    path = folder / f"{tomogram.name.replace('/', '_')}.mrcs"
    _write(series, corners, inside, box_size, path)
    names = [f"{frame:06d}@{folder.name}/{path.name}" for frame in range(1, len(tilts) + 1)]
    angles = relion_angles_from_matrices(tomogram.rotations[tilts] @ poses[owners])
    rest = (corners + box_size // 2 - seen[..., :2])[owners, tilts] * tomogram.pixel_size
    particles = _names(table, rows)[owners]
    kept = {name: table.numbers(name).astype(np.int64)[rows] for name in KEPT if name in table}
    columns = {
        "row": rows[owners],
        "rlnImageName": np.array(names, dtype=np.str_),
        TOMOGRAM: np.full(len(tilts), tomogram.name),
        "rlnTomoParticleName": particles,
        "rlnGroupName": particles,
        **{name: values[owners] for name, values in kept.items()},
        **{name: values[tilts] for name, values in tomogram.columns.items()},
        "rlnMicrographName": np.array(
            [f"{tilt + 1:06d}@{series.images.path.name}" for tilt in tilts.tolist()], np.str_
        ),
        "rlnCoordinateX": seen[owners, tilts, 0],
        "rlnCoordinateY": seen[owners, tilts, 1],
        "rlnOriginXAngst": rest[:, 0],
        "rlnOriginYAngst": rest[:, 1],
        "rlnPhaseShift": np.zeros(len(tilts)),
    }
    columns |= dict(zip(ANGLES, angles.T, strict=True))
    for name in ("rlnDefocusU", "rlnDefocusV"):
        columns[name] = (
            columns[name] + tomogram.hand * tomogram.pixel_size * depths[owners, tilts]
        )
    return columns, inside.size - len(tilts)


def _names(table: StarTable, rows: Int[np.ndarray, " rows"]) -> np.ndarray:
    """Names of particles."""
    if "rlnTomoParticleName" in table:
        return np.array(table.text("rlnTomoParticleName"))[rows]
    tomograms = table.text(TOMOGRAM)
    return np.array([f"{tomograms[row]}/{row + 1}" for row in rows.tolist()])


def _write(
    series: TiltSeries,
    corners: Int[np.ndarray, "particles tilts 2"],
    inside: np.ndarray,
    box_size: int,
    path: Path,
) -> None:
    """Cut the images out of the tilt images, one of these at a time."""
    axis = np.arange(box_size) - box_size // 2
    outside = np.hypot(axis[:, None], axis) > box_size / 2
    path.parent.mkdir(parents=True, exist_ok=True)
    with stack_writer(path, box_size, series.tomogram.pixel_size) as writer:
        for tilt in range(len(series.tomogram.rotations)):
            places = corners[inside[:, tilt], tilt]
            if not len(places):
                continue
            picture = series.images.sections(tilt, tilt + 1)[0]
            cut = np.stack(
                [picture[y : y + box_size, x : x + box_size] for x, y in places.tolist()]
            ).astype(np.float32)
            around = cut[:, outside]
            spread = around.std(1)
            # Of a picture without noise there is nothing to divide by.
            spread[spread == 0] = 1
            writer.append((cut - around.mean(1)[:, None, None]) / spread[:, None, None])


def _optics(
    optics: StarTable | None, path: Path, series: list[TiltSeries], box_size: int
) -> dict[str, Sequence[str]]:
    """The optics groups of the images, of the microscope in either file.

    Raises:
        MetadataError: Neither says it, or tilt series differ in pixel size.
    """
    sizes = {one.tomogram.pixel_size for one in series}
    if len(sizes) > 1:
        msg = (
            f"{path} lists tilt series of {' and '.join(map(str, sorted(sizes)))} Å/px; "
            "parse the particles of each by themselves"
        )
        raise MetadataError(msg)
    count = 1 if optics is None else len(optics)
    groups = ["1"] if optics is None else list(optics.text("rlnOpticsGroup"))
    found: dict[str, Sequence[str]] = {"rlnOpticsGroup": groups}
    table = read_star(path)["global"]
    for name in OPTICS:
        if optics is not None and name in optics:
            found[name] = list(optics.text(name))
            continue
        require_columns(table, (name,))
        values = set(table.text(name))
        if len(values) > 1:
            msg = f"{path}: {name} differs between tomograms; parse those of each by themselves"
            raise MetadataError(msg)
        found[name] = list(values) * count
    found["rlnImagePixelSize"] = [f"{sizes.pop():.6f}"] * count
    found["rlnImageSize"] = [str(box_size)] * count
    found["rlnImageDimensionality"] = ["2"] * count
    return found


def _typed(values: np.ndarray) -> Any:
    """A column as tables take it."""
    return values if values.dtype.kind == "f" else values.astype(str).tolist()
