"""Interface of particle metadata files, the same for every program that writes them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError, MetadataError
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.options import TiltSeriesSettings
from cryodrgn.particles.poses import Poses
from cryodrgn.particles.tilt_series import TiltImages

logger = logging.getLogger(__name__)

PIXEL_SIZE_TOLERANCE = 1e-3
PixelSizes = Float[np.ndarray, " particles"]
BoxSizes = Int[np.ndarray, " particles"]


class ParticleMetadata(Protocol):
    """A table of particles read from a RELION or cryoSPARC file."""

    path: Path

    def __len__(self) -> int: ...

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The table that holds only these rows, in this order."""
        ...

    def image_names(self) -> tuple[list[str], Int[np.ndarray, " particles"]]:
        """Stack of each particle as the file names it, and the image's number in it from 0."""
        ...

    def contrasts(self) -> Int[np.ndarray, " particles"] | None:
        """1 or -1 for each image, where the file says that contrasts differ; else None."""
        ...

    def is_inverted(self) -> bool:
        """True if the file says of all images alike that they have the contrast -1."""
        ...

    def box_sizes(self) -> Int[np.ndarray, " particles"] | None:
        """Side of each image in pixels, if the file says."""
        ...

    def pixel_sizes(self) -> Float[np.ndarray, " particles"] | None:
        """Å/px of each image, if the file says."""
        ...

    def categories(self) -> dict[str, list[str]]:
        """Groups of particles by name: micrographs and optics groups, if the file has them."""
        ...

    def identities(self) -> dict[str, list[str]]:
        """Names by which a particle is known in whatever box it is extracted, by their kind."""
        ...

    def tilt_series(self, settings: TiltSeriesSettings) -> TiltImages | None:
        """The particles and tilts that all rows are images of; None for single images."""
        ...

    def tilt_columns(self) -> dict[str, list[str]]:
        """Text of the columns that only tilt images have, row by row; none of single images."""
        ...

    def has_poses(self) -> bool:
        """True if the file holds orientations."""
        ...

    def shifts_need_pixel_size(self) -> bool:
        """True if shifts are given in another unit than pixels of the images.

        Only the images' pixel size then leads to fractions of the box.
        """
        ...

    def has_ctf(self) -> bool:
        """True if the file holds defocus values."""
        ...

    def poses(self, pixel_sizes: Float[np.ndarray, " particles"]) -> Poses:
        """Orientations and shifts; ``pixel_sizes`` serves shifts that are given in pixels."""
        ...

    def ctf(self) -> CtfTable:
        """CTF parameters, with aberrations and the state of the images."""
        ...

    def optics_terms(self) -> dict[str, np.ndarray]:
        """Aberrations and state of the images: the optional columns of a CTF table."""
        ...

    def attenuation(self) -> dict[str, Float[np.ndarray, " particles"]]:
        """B factors and scales of images: columns of an image table."""
        ...

    def magnifications(self) -> Float[np.ndarray, "particles 2 2"] | None:
        """Matrices of the anisotropic magnification, see ``ImageTable``; None if all are 1."""
        ...

    def detector_curves(self) -> dict[str, str]:
        """Files of the detector's MTF that the table names, by optics group."""
        ...

    def refined_scales(self) -> tuple[str, Float[np.ndarray, " particles"]] | None:
        """Contrasts of images by a refinement, and their column; None if all are one."""
        ...


def require_box_size(given: int | None) -> None:
    """Refuse a box size that no image has.

    Raises:
        ConfigError: It is smaller than two pixels.
    """
    if given is not None and given < 2:
        msg = f"the box size must be positive, got `box_size` {given}"
        raise ConfigError(msg)


def resolve_box_sizes(
    metadata: ParticleMetadata, given: int | None
) -> Int[np.ndarray, " particles"]:
    """Side of every image in pixels from the file, or else the one given with ``-D``.

    Raises:
        ConfigError: Both are there and they differ.
        MetadataError: Neither is there.
    """
    found = metadata.box_sizes()
    require_box_size(given)
    if found is None and given is None:
        msg = (
            f"{metadata.path} does not say the box size of its images; give it with `box_size`"
        )
        raise MetadataError(msg)
    if found is None:
        return np.full(len(metadata), given)
    if given is not None and (found != given).any():
        msg = (
            f"`box_size` {given} contradicts {metadata.path}, whose images have "
            f"{box_words(found)} "
            "pixels; leave out `box_size`, or pass the file that belongs to the other box"
        )
        raise ConfigError(msg)
    return found


def box_words(box_sizes: Int[np.ndarray, " particles"]) -> str:
    """The different box sizes, as in "64 and 96"."""
    return " and ".join(str(size) for size in np.unique(box_sizes)[:3].tolist())


def require_positive(pixel_sizes: PixelSizes, path: Path) -> None:
    """Refuse pixel sizes of a file that no image has.

    Raises:
        MetadataError: One is not a positive number.
    """
    wrong = ~(np.isfinite(pixel_sizes) & (pixel_sizes > 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        msg = f"{path}: the pixel size of row {row} is {pixel_sizes[row]:g}, not positive"
        raise MetadataError(msg)


def resolve_pixel_sizes(
    metadata: ParticleMetadata,
    given: float | None = None,
    of_stack: Callable[[], PixelSizes | None] = lambda: None,
    *,
    remedy: str = "give it with `pixel_size`",
) -> PixelSizes:
    """Å/px of every particle: from the file, else as given, else from the headers of stacks.

    Args:
        metadata: The file's table.
        given: Å/px that the user says.
        of_stack: What the headers say; asked only where nothing else is known.
        remedy: What the user can do where nothing is known, for the message.

    Raises:
        ConfigError: File and user differ by more than one part in a thousand.
        MetadataError: Nobody says the pixel size, or the file says one that is not positive.
    """
    found = metadata.pixel_sizes()
    if given is not None and not given > 0:
        msg = f"the pixel size must be positive, got `pixel_size` {given}"
        raise ConfigError(msg)
    if found is None and given is not None:
        return np.full(len(metadata), given)
    if found is None:
        found = of_stack()
        if found is None:
            msg = f"{metadata.path} does not say the pixel size; {remedy}"
            raise MetadataError(msg)
        logger.info(
            "%s does not say the pixel size: %.4g Å/px is taken from the headers of its stacks",
            metadata.path,
            found[0],
        )
    require_positive(found, metadata.path)
    if given is not None and np.abs(found / given - 1).max() > PIXEL_SIZE_TOLERANCE:
        values = ", ".join(f"{value:g}" for value in np.unique(found)[:3])
        msg = (
            f"`pixel_size` {given:g} contradicts {metadata.path}, which says {values} Å/px; "
            "leave out `pixel_size`, or pass the file that belongs to the other pixel size"
        )
        raise ConfigError(msg)
    return found


def whole_sizes(
    values: Float[np.ndarray, " particles"], path: Path, name: str
) -> Int[np.ndarray, " particles"]:
    """A column of box sizes as whole numbers.

    Args:
        values: The column.
        path: The file, for the message.
        name: The column's name.

    Raises:
        MetadataError: One is no whole positive number that an image can have.
    """
    wrong = ~((values >= 1) & (values < 2**31) & (values == np.round(values)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        msg = f"{path}: {name} of row {row} is {values[row]:g}, expected a number of pixels"
        raise MetadataError(msg)
    return values.astype(np.int64)


def unless_one(
    matrices: Float[np.ndarray, "particles 2 2"],
) -> Float[np.ndarray, "particles 2 2"] | None:
    """Matrices in single precision, None if all are the identity."""
    if (matrices == np.eye(2)).all():
        return None
    with np.errstate(over="ignore"):
        return matrices.astype(np.float32)
