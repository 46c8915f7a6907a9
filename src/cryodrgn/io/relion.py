"""Particle tables of RELION 3.0, 3.1, 4 and 5."""

import copy
import logging
import re
from math import isclose
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import MetadataError
from cryodrgn.geometry.conventions import matrices_from_relion_angles
from cryodrgn.io import relion_optics
from cryodrgn.io.metadata import unless_one, whole_sizes
from cryodrgn.io.relion_tomograms import is_optimisation_set, rows_of_optimisation_set
from cryodrgn.io.star import StarTable, particle_block, read_star
from cryodrgn.io.star_kinds import refuse_other_stars
from cryodrgn.io.tilt_series import (
    OF_TILTS,
    TOMOGRAM,
    identity_column,
    require_identity_column,
    tilt_images,
)
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.options import TiltSeriesSettings
from cryodrgn.particles.poses import Poses
from cryodrgn.particles.tilt_series import TiltImages
from cryodrgn.units import ANGSTROM_PER_MICRON

logger = logging.getLogger(__name__)

# Up to ten digits, as many as any stack has images.
_FRAME = re.compile(r"[0-9]{1,10}")

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SHIFTS_IN_ANGSTROM = ("rlnOriginXAngst", "rlnOriginYAngst")
SHIFTS_IN_PIXELS = ("rlnOriginX", "rlnOriginY")
DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")

# Field of the CTF table, its column, and the option that replaces the column.
OPTICS_COLUMNS = {
    "voltage_kv": ("rlnVoltage", "`voltage_kv`"),
    "spherical_aberration_mm": ("rlnSphericalAberration", "`spherical_aberration_mm`"),
    "amplitude_contrast": ("rlnAmplitudeContrast", "`amplitude_contrast`"),
    "phase_shift": ("rlnPhaseShift", "`phase_shift_deg`"),
}
MTF = "rlnMtfFileName"
NORM = "rlnNormCorrection"
NO_FILE = {"", "None", "."}
MAGNIFICATION = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")


class RelionParticles:
    """A particle table and its optics groups.

    Args:
        path: A ``.star`` file; of an ``optimisation_set.star`` of RELION 5, the tilt images of
            the particles that it names.
        overrides: Values, by field of the CTF table and in its units, that take the place of
            those in the file.

    Raises:
        InputFileError: The file cannot be read or lists no particles, see
            :func:`~cryodrgn.io.star_kinds.refuse_other_stars`.
    """

    def __init__(self, path: Path, overrides: dict[str, float] | None = None) -> None:
        self.path = path
        self._overrides = overrides or {}
        blocks = read_star(path)
        if is_optimisation_set(blocks):
            blocks = rows_of_optimisation_set(path, blocks)
        self._optics = blocks.get("optics")
        name = particle_block(path, {block: len(table) for block, table in blocks.items()})
        self._particles = blocks[name]
        refuse_other_stars(path, blocks, self._particles)
        self._groups = None
        if self._optics is not None:
            self._groups = _group_rows(self._particles, self._optics)
            self._say_what_contradicts_the_groups()
        self._rows = np.arange(len(self._particles))

    def _say_what_contradicts_the_groups(self) -> None:
        """Name columns of both tables that differ: those of the optics table are taken."""
        assert self._optics is not None
        assert self._groups is not None
        twice = {*self._optics.names} & {*self._particles.names}
        for name in sorted(twice - {"rlnOpticsGroup"}):
            rows, groups = self._particles.text(name), self._optics.text(name)
            pairs = set(zip(rows, [groups[group] for group in self._groups], strict=True))
            if any(not _is_same(row, group) for row, group in pairs):
                logger.warning(
                    "%s has %s in the table of optics groups and in that of the particles, and "
                    "they differ: the first is taken",
                    self.path,
                    name,
                )

    def __len__(self) -> int:
        return len(self._rows)

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The table that holds only these rows, in this order."""
        selected = copy.copy(self)
        selected._rows = self._rows[rows]
        return selected

    def image_names(self) -> tuple[list[str], Int[np.ndarray, " particles"]]:
        """Stack of each particle as the file names it, and the image's number in it from 0.

        Raises:
            MetadataError: A name is not ``NUMBER@STACK``.
        """
        names, numbers = [], []
        column = self._particles.text("rlnImageName")
        for row in self._rows.tolist():
            text = column[row]
            number, at, name = text.partition("@")
            if not (at and name and _FRAME.fullmatch(number) and int(number) > 0):
                shown = text if len(text) < 200 else f"{text[:200]}…"
                msg = f"{self.path}: rlnImageName of row {row} is {shown!r}, not NUMBER@STACK"
                raise MetadataError(msg)
            names.append(name)
            numbers.append(int(number) - 1)
        return names, np.array(numbers, dtype=np.int64)

    def contrasts(self) -> None:
        """None: RELION takes all images for of one contrast."""

    def is_inverted(self) -> bool:
        """False: there is but one contrast."""
        return False

    def box_sizes(self) -> Int[np.ndarray, " particles"] | None:
        """Side of each image in pixels, if the file says.

        Raises:
            MetadataError: A size is no number of pixels.
        """
        if not self._has("rlnImageSize"):
            return None
        sizes = self._numbers("rlnImageSize")
        return whole_sizes(sizes, self.path, "rlnImageSize")

    def pixel_sizes(self) -> Float[np.ndarray, " particles"] | None:
        """Å/px of each image, if the file says."""
        if self._has("rlnImagePixelSize"):
            return self._numbers("rlnImagePixelSize")
        if self._has("rlnDetectorPixelSize") and self._has("rlnMagnification"):
            detector = self._numbers("rlnDetectorPixelSize") * ANGSTROM_PER_MICRON
            with np.errstate(all="ignore"):
                return detector / self._numbers("rlnMagnification")
        return None

    def categories(self) -> dict[str, list[str]]:
        """Groups of particles by name: micrographs and optics groups, if the file has them."""
        names = {
            "micrograph": "rlnMicrographName",
            "tomogram": "rlnTomoName",
            "optics group": "rlnOpticsGroup",
        }
        found = {}
        for group, name in names.items():
            if name in self._particles:
                column = self._particles.text(name)
                found[group] = [column[row] for row in self._rows.tolist()]
        return found

    def identities(self) -> dict[str, list[str]]:
        """Micrograph and coordinates of each particle, if the file has them."""
        columns = ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY")
        if not all(name in self._particles for name in columns):
            return {}
        names = self._particles.text(columns[0])
        x, y = (self._numbers(name).tolist() for name in columns[1:])
        of_rows = zip(self._rows.tolist(), x, y, strict=True)
        # Folders differ where a project was copied, and last digits where it was converted.
        places = [f"{Path(names[row]).name} {a:.1f} {b:.1f}" for row, a, b in of_rows]
        return {"micrograph and coordinates": places}

    def tilt_series(self, settings: TiltSeriesSettings) -> TiltImages | None:
        """The particles and tilts that all rows of the file are images of.

        Args:
            settings: What is said of them beside the file.

        Returns:
            None if every row is a particle of its own.

        Raises:
            MetadataError: The file does not say which images show the same particle.
            ConfigError: Settings contradict the file, or are for tilt series, which it is none.
        """
        columns = self.column_if_any
        if settings.is_series is False:
            identity = None
        elif settings.is_series:
            identity = require_identity_column(self._particles)
        else:
            identity = identity_column(self._particles, columns)
        if identity is None:
            settings.require_none(str(self.path))
            return None
        return tilt_images(self._particles, identity, columns).completed(settings)

    def tilt_columns(self) -> dict[str, list[str]]:
        """Text of the columns that only tilt images have, row by row; none of single images."""
        particles = self._particles
        # Some of the rows may look like single images.
        whole = copy.copy(self)
        whole._rows = np.arange(len(particles))
        is_of_tilts = TOMOGRAM in particles or identity_column(particles, whole.column_if_any)
        return {name: self._text(name) for name in OF_TILTS if is_of_tilts and self._has(name)}

    def column_if_any(self, name: str) -> Float[np.ndarray, " particles"] | None:
        """A column of numbers, of optics groups or particles; None if neither has it."""
        return self._numbers(name) if self._has(name) else None

    def has_poses(self) -> bool:
        """True if the file holds orientations."""
        return all(self._has(name) for name in ANGLES)

    def shifts_need_pixel_size(self) -> bool:
        """True if shifts are in Å (since RELION 3.1)."""
        return all(self._has(name) for name in SHIFTS_IN_ANGSTROM)

    def has_ctf(self) -> bool:
        """True if the file holds defocus values, or some of them, which ``ctf`` refuses."""
        return any(self._has(name) for name in DEFOCUS)

    def poses(self, pixel_sizes: Float[np.ndarray, " particles"]) -> Poses:
        """Orientations and shifts.

        Args:
            pixel_sizes: Å/px, used where shifts are in pixels (RELION 3.0).

        Raises:
            MetadataError: There are no orientations.
        """
        if not self.has_poses():
            missing = next(name for name in ANGLES if not self._has(name))
            msg = (
                f"{self.path} holds no poses (no column {missing}); use the run_data.star of "
                "a RELION Refine3D or Class3D job"
            )
            raise MetadataError(msg)
        angles = np.stack([self._numbers(name) for name in ANGLES], axis=1)
        self._refuse_half_of_shifts()
        if self.shifts_need_pixel_size():
            shifts = np.stack([self._numbers(name) for name in SHIFTS_IN_ANGSTROM], axis=1)
        elif all(self._has(name) for name in SHIFTS_IN_PIXELS):
            pixels = np.stack([self._numbers(name) for name in SHIFTS_IN_PIXELS], axis=1)
            shifts = pixels * pixel_sizes[:, None]
        else:
            logger.warning("%s has no shifts (rlnOriginX, rlnOriginY): taken as 0", self.path)
            shifts = np.zeros((len(self), 2))
        with np.errstate(over="ignore"):
            return Poses(
                rotations=matrices_from_relion_angles(angles).astype(np.float32),
                shifts=shifts.astype(np.float32),
                source=str(self.path),
            )

    def ctf(self) -> CtfTable:
        """CTF parameters.

        Raises:
            MetadataError: A needed column is missing, or the images are not plain images.
        """
        for name in DEFOCUS:
            if not self._has(name):
                msg = (
                    f"{self.path} holds no defocus (no column {name}); run RELION's CTF "
                    "estimation job, extract the particles from its micrographs, and use the "
                    "star file of that extraction or of a refinement after it"
                )
                raise MetadataError(msg)
        columns = {field: self._optics_column(field) for field in OPTICS_COLUMNS}
        columns["defocus_u"] = self._numbers("rlnDefocusU")
        columns["defocus_v"] = self._numbers("rlnDefocusV")
        columns["defocus_angle"] = np.deg2rad(self._numbers("rlnDefocusAngle"))
        with np.errstate(over="ignore"):
            single = {name: values.astype(np.float32) for name, values in columns.items()}
        return CtfTable(**single, **self.optics_terms(), source=str(self.path))

    def optics_terms(self) -> dict[str, np.ndarray]:
        """Aberrations and state of the images: the optional columns of a CTF table.

        Raises:
            MetadataError: They contradict each other, or are no numbers.
        """
        columns = self._columns()
        with np.errstate(all="ignore"):
            found = relion_optics.aberrations(columns, self._optics_column)
        return found | relion_optics.correction(columns)

    def attenuation(self) -> dict[str, Float[np.ndarray, " particles"]]:
        """B factors and scales: columns of a table of images.

        Raises:
            MetadataError: One is none of an image.
        """
        with np.errstate(over="ignore"):
            return relion_optics.attenuation(self._columns())

    def magnifications(self) -> Float[np.ndarray, "particles 2 2"] | None:
        """Matrices of the anisotropic magnification, see ``ImageTable``; None if all are 1.

        RELION predicts the transform of an image at k from the slice at M k (Zivanov, Nakane &
        Scheres, IUCrJ 7, 253, 2020).

        Raises:
            MetadataError: The file has some of the four numbers only.
        """
        missing = [name for name in MAGNIFICATION if not self._has(name)]
        if len(missing) == len(MAGNIFICATION):
            return None
        if missing:
            msg = (
                f"{self.path} has a part of the magnification matrix, but no {missing[0]}; add "
                "the column, or remove those that begin with rlnMagMat to have none"
            )
            raise MetadataError(msg)
        numbers = np.stack([self._numbers(name) for name in MAGNIFICATION], axis=1)
        return unless_one(numbers.reshape(-1, 2, 2))

    def detector_curves(self) -> dict[str, str]:
        """Files of the detector's MTF that the table names, by optics group."""
        if self._optics is None or self._groups is None or MTF not in self._optics:
            return {}
        used = np.unique(self._groups[self._rows]).tolist()
        names, groups = self._optics.text(MTF), self._optics.text("rlnOpticsGroup")
        return {groups[row]: names[row] for row in used if names[row] not in NO_FILE}

    def refined_scales(self) -> tuple[str, Float[np.ndarray, " particles"]] | None:
        """Contrasts of images by a refinement, and their column; None if all are one."""
        if not self._has(NORM):
            return None
        values = self._numbers(NORM)
        return None if np.ptp(values) == 0 else (NORM, values)

    def _refuse_half_of_shifts(self) -> None:
        for pair in (SHIFTS_IN_ANGSTROM, SHIFTS_IN_PIXELS):
            relion_optics.has_both(self.path, pair, self._has, "shifts are")

    def _optics_column(self, field: str) -> Float[np.ndarray, " particles"]:
        name, option = OPTICS_COLUMNS[field]
        if field in self._overrides:
            return np.full(len(self), self._overrides[field])
        if self._has(name):
            values = self._numbers(name)
            return np.deg2rad(values) if field == "phase_shift" else values
        if field == "phase_shift":
            logger.info("%s has no phase shift (%s): taken as 0", self.path, name)
            return np.zeros(len(self))
        msg = (
            f"{self.path} has no column {name}; give the value with cryodrgn parse_ctf_star "
            f"{option}; give its output with `ctf`"
        )
        raise MetadataError(msg)

    def _has(self, name: str) -> bool:
        return name in self._particles or (self._optics is not None and name in self._optics)

    def _numbers(self, name: str) -> Float[np.ndarray, " particles"]:
        """A column for every particle; the optics table counts before the particle table."""
        if self._optics is not None and self._groups is not None and name in self._optics:
            # Groups without particles may hold anything.
            rows = self._groups[self._rows]
            return self._optics.numbers(name, np.unique(rows))[rows]
        return self._particles.numbers(name)[self._rows]

    def _text(self, name: str) -> list[str]:
        """A column as text for every particle; the optics table counts before the other."""
        if self._optics is not None and self._groups is not None and name in self._optics:
            texts, rows = self._optics.text(name), self._groups[self._rows]
        else:
            texts, rows = self._particles.text(name), self._rows
        return [texts[row] for row in rows.tolist()]

    def _columns(self) -> relion_optics.Columns:
        return relion_optics.Columns(
            path=self.path, has=self._has, numbers=self._numbers, vectors=self._vectors
        )

    def _vectors(self, name: str) -> Float[np.ndarray, "particles count"]:
        """A column of vectors for every particle, the shorter ones filled up with zeros."""
        in_optics = self._optics is not None and name in self._optics
        table = self._optics if in_optics and self._optics is not None else self._particles
        words, places = np.unique(np.array(table.text(name)), return_inverse=True)
        parsed = [relion_optics.parse_vector(str(word), self.path, name) for word in words]
        values = np.zeros((len(parsed), max(map(len, parsed))))
        for row, numbers in zip(values, parsed, strict=True):
            row[: len(numbers)] = numbers
        rows = self._rows
        if in_optics and self._groups is not None:
            rows = self._groups[rows]
        return values[places.ravel()[rows]]


def _group_rows(particles: StarTable, optics: StarTable) -> Int[np.ndarray, " particles"]:
    """Row of the optics table that belongs to each particle."""
    if "rlnOpticsGroup" not in particles:
        if len(optics) == 1:
            return np.zeros(len(particles), dtype=np.int64)
        msg = f"{particles.path} has {len(optics)} optics groups but no column rlnOpticsGroup"
        raise MetadataError(msg)
    numbers = optics.numbers("rlnOpticsGroup")
    wanted = particles.numbers("rlnOpticsGroup")
    _refuse_doubled_groups(particles.path, optics, numbers)
    order = np.argsort(numbers)
    places = np.searchsorted(numbers, wanted, sorter=order).clip(0, len(numbers) - 1)
    rows = order[places]
    unknown = numbers[rows] != wanted
    if unknown.any():
        msg = (
            f"{particles.path}: row {int(np.flatnonzero(unknown)[0])} belongs to optics group "
            f"{wanted[unknown][0]:g}, but the optics table has {_shown(numbers)}"
        )
        raise MetadataError(msg)
    return rows


def _is_same(first: str, second: str) -> bool:
    """True for equal words, and for numbers that differ by no more than their last digits."""
    try:
        return first == second or isclose(float(first), float(second), rel_tol=1e-4)
    except ValueError:
        return False


def _refuse_doubled_groups(
    path: Path, optics: StarTable, numbers: Float[np.ndarray, " groups"]
) -> None:
    """Refuse an optics group of two rows that differ: nothing says which of them holds.

    Raises:
        MetadataError: There is one.
    """
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        differing = [
            name for name in optics.names if len({optics.text(name)[row] for row in rows}) > 1
        ]
        if differing:
            msg = (
                f"{path} has {len(rows)} rows of optics group {number:g}, which differ in "
                f"{', '.join(differing[:4])}; number the groups differently, in both tables"
            )
            raise MetadataError(msg)


def _shown(numbers: Float[np.ndarray, " groups"]) -> str:
    return ", ".join(f"{number:g}" for number in np.unique(numbers)[:20])
