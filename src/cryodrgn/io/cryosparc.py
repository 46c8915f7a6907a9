"""Particle tables of cryoSPARC (``.cs``: numpy structured arrays)."""

import copy
import logging
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError, MetadataError
from cryodrgn.geometry.conventions import matrices_from_cryosparc_poses
from cryodrgn.io import cryosparc_optics
from cryodrgn.io.cryodrgn_pickle import single_precision
from cryodrgn.io.cryosparc_poses import JOB, SINGLE, PoseColumns, WantedPoses
from cryodrgn.io.cryosparc_tables import (
    SIGN,
    is_of_both_contrasts,
    read_table,
    refuse_other_tables,
    with_passthrough,
)
from cryodrgn.io.metadata import box_words, require_positive, unless_one, whole_sizes
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.options import TiltSeriesSettings
from cryodrgn.particles.poses import Poses

logger = logging.getLogger(__name__)

# Field of the CTF table and its column; angles are in radians there and here.
CTF_FIELDS = {
    "defocus_u": "ctf/df1_A",
    "defocus_v": "ctf/df2_A",
    "defocus_angle": "ctf/df_angle_rad",
    "voltage_kv": "ctf/accel_kv",
    "spherical_aberration_mm": "ctf/cs_mm",
    "amplitude_contrast": "ctf/amp_contrast",
    "phase_shift": "ctf/phase_shift_rad",
}


class CryosparcParticles:
    """The particles of a ``.cs`` file.

    Columns of images, CTF or poses that the file lacks are taken from the passthrough files
    of the same job that lie beside it.

    Args:
        path: A ``.cs`` file.
        wanted: Which poses to take, where the file holds those of several classes.
        shift_scale: Factor on the shifts, 2 for heterogeneous refinements done at half size.
        refined_box_size: Side in pixels of the images that the refinement compared, of which
            files of older jobs say nothing; None takes them to be the images themselves.

    Raises:
        InputFileError: The file cannot be read or is no table of particles.
    """

    def __init__(
        self,
        path: Path,
        wanted: WantedPoses = WantedPoses(),  # noqa: B008 (frozen)
        shift_scale: float = 1.0,
        refined_box_size: int | None = None,
    ) -> None:
        self.path = path
        self._wanted = wanted
        self._shift_scale = shift_scale
        self._refined_box_size = refined_box_size
        self._table = with_passthrough(
            read_table(path), path, ("blob", "ctf", "location"), wanted
        )
        refuse_other_tables(self._table, path)
        # Images of a selection are what they are in the set.
        self._whole = self._table

    def __len__(self) -> int:
        return len(self._table)

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The table that holds only these rows, in this order."""
        selected = copy.copy(self)
        selected._table = self._table[rows]
        return selected

    def image_names(self) -> tuple[list[str], Int[np.ndarray, " particles"]]:
        """Stack of each particle as the file names it, and the image's number in it from 0."""
        job = "extraction or import"
        paths = self._column("blob/path", job, kinds="SU")
        try:
            names = [name.removeprefix(">") for name in paths.astype(str).tolist()]
        except UnicodeDecodeError as error:
            msg = f"{self.path}: column blob/path is no text: {error.reason}"
            raise MetadataError(msg) from error
        frames = self._column("blob/idx", job, kinds="iu").astype(np.int64)
        if (frames < 0).any():
            row = int(np.flatnonzero(frames < 0)[0])
            msg = f"{self.path}: blob/idx of row {row} is {frames[row]}, expected 0 or more"
            raise MetadataError(msg)
        return names, frames

    def contrasts(self) -> Int[np.ndarray, " particles"] | None:
        """The ``blob/sign`` of each image, 1 or -1.

        None where all images of the file have the same: it changes nothing among them, and
        whether particles are bright is what ``invert_data`` says and ``check`` finds out.

        Raises:
            MetadataError: A sign is neither 1 nor -1.
        """
        signs = self._signs()
        if signs is None or is_of_both_contrasts(self._whole):
            return signs
        if (signs < 0).any():
            logger.info(
                "%s says that all of its images are of one contrast (%s -1): they are taken as "
                "their stacks hold them; if it is a part of a table of both contrasts, whose "
                "images of -1 are inverted, take that table with `indices`, or `invert` them",
                self.path,
                SIGN,
            )
        return None

    def is_inverted(self) -> bool:
        """True if all images have the ``blob/sign`` -1, and are taken as they are."""
        signs = None if is_of_both_contrasts(self._whole) else self._signs()
        return signs is not None and bool((signs < 0).any())

    def _signs(self) -> Int[np.ndarray, " particles"] | None:
        if not self._has(SIGN):
            return None
        signs = self._numbers(SIGN)
        wrong = np.flatnonzero(np.abs(signs) != 1)
        # A column of zeros is one that no job has filled.
        if len(wrong) and signs.any():
            row = int(wrong[0])
            msg = f"{self.path}: {SIGN} of row {row} is {signs[row]:g}, expected 1 or -1"
            raise MetadataError(msg)
        return signs.astype(np.int64)

    def box_sizes(self) -> Int[np.ndarray, " particles"] | None:
        """Side of each image in pixels, the longer one of oblong images, if the file says.

        Raises:
            MetadataError: A size is no number of pixels.
        """
        if not self._has("blob/shape"):
            return None
        return whole_sizes(self._numbers("blob/shape", 2).max(1), self.path, "blob/shape")

    def pixel_sizes(self) -> Float[np.ndarray, " particles"] | None:
        """Å/px of each image, if the file says."""
        return self._numbers("blob/psize_A") if self._has("blob/psize_A") else None

    def categories(self) -> dict[str, list[str]]:
        """Groups of particles by name: micrographs and optics groups, if the file has them."""
        names = {"micrograph": "location/micrograph_path", "optics group": "ctf/exp_group_id"}
        return {
            group: self._table[name].astype(str).reshape(len(self), -1)[:, 0].tolist()
            for group, name in names.items()
            if self._has(name)
        }

    def identities(self) -> dict[str, list[str]]:
        """The ``uid`` of each particle, which extraction and downsampling keep."""
        if not self._has("uid"):
            return {}
        uids = self._column("uid", "extraction or import", kinds="iu")
        return {"uid": uids.astype(str).tolist()}

    def tilt_series(self, settings: TiltSeriesSettings) -> None:
        """None: cryoSPARC lists single images.

        Raises:
            ConfigError: A setting is given that only tilt series have.
        """
        settings.require_none(str(self.path))

    def tilt_columns(self) -> dict[str, list[str]]:
        """None: cryoSPARC lists single images."""
        return {}

    def has_poses(self) -> bool:
        """True if the file holds orientations."""
        return self._wanted.is_met_by(self._table)

    def shifts_need_pixel_size(self) -> bool:
        """True if shifts are in pixels of another size than the images', given in Å."""
        return self._columns_of_poses().pixel_sizes is not None and self._has("blob/shape")

    def has_ctf(self) -> bool:
        """True if the file holds defocus values."""
        return self._has("ctf/df1_A")

    def poses(self, pixel_sizes: Float[np.ndarray, " particles"]) -> Poses:
        """Orientations and shifts.

        Shifts count in pixels of the refinement, which differ from the images' where it worked
        on images of another box size. The file says their size (``…/psize_A``), or else the
        user says the box size.

        Args:
            pixel_sizes: Å/px of the images.

        Raises:
            MetadataError: There are no orientations.
            ConfigError: The box size of the refinement contradicts the file.
        """
        found = self._columns_of_poses()
        sizes = self._refined_pixel_sizes(found.pixel_sizes, pixel_sizes)
        scale = self._shift_scale
        if sizes is None:
            sizes = pixel_sizes
            if scale == 1 and self._refined_box_size is None and found.shifts.any():
                logger.warning(
                    "%s does not say at which pixel size its shifts were found (no column "
                    "%s/psize_A): they are taken to count in pixels of the images; if the "
                    "refinement had another box size, give that with parse_pose_csparc "
                    "`box_size`",
                    self.path,
                    found.group,
                )
        elif scale != 1:
            logger.warning(
                "the pixel size of the refinement is known (%.4g times that of the images): "
                "shifts are scaled by it and not doubled again",
                sizes[0] / pixel_sizes[0],
            )
            scale = 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            return Poses(
                rotations=matrices_from_cryosparc_poses(found.vectors).astype(np.float32),
                shifts=(found.shifts * (scale * sizes[:, None])).astype(np.float32),
                source=str(self.path),
            )

    def _columns_of_poses(self) -> PoseColumns:
        """The columns that hold the poses wanted.

        Raises:
            MetadataError: There are none.
        """
        found = self._wanted.read(self._table, self.path)
        if found is None:
            if f"{SINGLE}/pose" in (self._table.dtype.names or ()):
                msg = (
                    f"{self.path} has the poses of a refinement ({SINGLE}), none of classes; "
                    "leave out `abinit` and `class_number`"
                )
                raise ConfigError(msg)
            wanted = "alignments_class_0" if self._wanted.of_classes else SINGLE
            self._column(f"{wanted}/pose", JOB)
            msg = f"{self.path} holds no poses"
            raise MetadataError(msg)
        return found

    def _refined_pixel_sizes(
        self,
        refined: Float[np.ndarray, " particles"] | None,
        pixel_sizes: Float[np.ndarray, " particles"],
    ) -> Float[np.ndarray, " particles"] | None:
        """Pixel size of the refinement in the unit of the images', if it is known."""
        of_images, of_refinement = self.box_sizes(), self._refined_box_size
        if of_images is None:
            # The box size was given, as that of the refinement: nothing is to be converted.
            return None if refined is None else pixel_sizes
        if refined is None:
            if of_refinement is None or (of_images == of_refinement).all():
                return None
            return pixel_sizes * (of_images / of_refinement)
        require_positive(refined, self.path)
        found = of_images * (pixel_sizes / refined)
        if of_refinement is None or (of_images == of_refinement).all():
            return refined
        if np.abs(of_refinement / found - 1).max() > 0.01:
            msg = (
                f"`box_size` {of_refinement} contradicts {self.path}, whose images have "
                f"{box_words(of_images)} pixels and whose refinement had {found[0]:.0f}; "
                "leave out `box_size`"
            )
            raise ConfigError(msg)
        return refined

    def ctf(self) -> CtfTable:
        """CTF parameters.

        Raises:
            MetadataError: A column is missing.
        """
        columns = {}
        for field, name in CTF_FIELDS.items():
            if field == "phase_shift" and not self._has(name):
                logger.info("%s has no phase shift (%s): taken as 0", self.path, name)
                columns[field] = np.zeros(len(self), dtype=np.float32)
                continue
            columns[field] = single_precision(self._column(name, "Patch CTF estimation"))
        return CtfTable(**columns, **self.optics_terms(), source=str(self.path))

    def detector_curves(self) -> dict[str, str]:
        """None: these tables name no MTF."""
        return {}

    def refined_scales(self) -> tuple[str, Float[np.ndarray, " particles"]] | None:
        """Contrasts of images by a refinement, and their column; None if all are one.

        A column of zeros is one that no job has filled.
        """
        if not self._has("alignments3D/alpha"):
            return None
        values = self._numbers("alignments3D/alpha")
        return None if np.ptp(values) == 0 else ("alignments3D/alpha", values)

    def optics_terms(self) -> dict[str, np.ndarray]:
        """Aberrations: optional columns of a CTF table.

        Raises:
            MetadataError: They are no numbers.
        """

        def vectors(name: str, width: int) -> Float[np.ndarray, "particles count"] | None:
            return self._numbers(name, width) if self._has(name) else None

        if not self._has("ctf/accel_kv"):
            return {}
        with np.errstate(all="ignore"):
            return cryosparc_optics.aberrations(vectors, self._numbers("ctf/accel_kv"))

    def attenuation(self) -> dict[str, Float[np.ndarray, " particles"]]:
        """B factors and scales: columns of a table of images.

        Raises:
            MetadataError: One is none of an image.
        """

        def numbers(name: str) -> Float[np.ndarray, " particles"] | None:
            return self._numbers(name) if self._has(name) else None

        with np.errstate(over="ignore"):
            return cryosparc_optics.attenuation(numbers, self.path)

    def magnifications(self) -> Float[np.ndarray, "particles 2 2"] | None:
        """Matrices of the anisotropic magnification, see ``ImageTable``; None if all are 1.

        The file holds M − 1, row by row; M takes coordinates in Fourier space of the image to
        those of the slice (M. McLean of cryoSPARC, discuss.cryosparc.com 11402 and 12204).
        """
        if not self._has("ctf/anisomag"):
            return None
        column = self._column("ctf/anisomag", "global CTF refinement", width=4)
        return unless_one(np.eye(2) + column.astype(np.float64).reshape(-1, 2, 2))

    def _has(self, name: str) -> bool:
        return name in (self._table.dtype.names or ())

    def _numbers(self, name: str, width: int | None = None) -> Float[np.ndarray, "..."]:
        return self._column(name, "extraction", width=width).astype(np.float64)

    def _column(
        self, name: str, job: str, *, kinds: str = "biuf", width: int | None = None
    ) -> np.ndarray:
        """A column, after a check of its type and width.

        Args:
            name: Its name.
            job: What kind of job writes it, for messages.
            kinds: Letters of the types of numbers or text that it may have.
            width: Numbers per row; None for one.
        """
        if not self._has(name):
            groups = sorted({field.split("/")[0] for field in self._table.dtype.names or ()})
            msg = (
                f"{self.path} has no column {name}, which a {job} job of cryoSPARC writes; "
                f"the file has {', '.join(groups)}. Pass the particles file of that job"
            )
            raise MetadataError(msg)
        column = self._table[name]
        expected = (len(column),) if width is None else (len(column), width)
        if column.dtype.kind not in kinds or column.shape != expected:
            per_row = "" if column.ndim == 1 else f" of shape {column.shape[1:]} per row"
            msg = f"{self.path}: column {name} holds {column.dtype}{per_row}"
            raise MetadataError(msg)
        return column
