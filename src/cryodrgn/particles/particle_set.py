"""The particles of one experiment: a row each for image, pose, CTF and pixel size."""

from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import MetadataError, ShapeMismatchError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.pixel_sizes import common_pixel_size
from cryodrgn.particles.poses import Poses


@runtime_checkable
class ImageSource(Protocol):
    """Images that are read when they are asked for."""

    @property
    def box_size(self) -> int:
        """Side of the images in pixels."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows box box"]:
        """The images of some rows, in the order asked for."""
        ...

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The source that holds only these rows, in this order."""
        ...

    def fingerprint(self) -> bytes:
        """A digest of which images these are."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParticleSet:
    """Everything known of a set of particles, row by row.

    Attributes:
        images: The images.
        pixel_sizes: Sampling of each image in Å/px.
        poses: Orientations and shifts, if any are known.
        ctf: CTF parameters; None means that the images carry no CTF (or a corrected one).
        original_rows: Row of each particle in the file it was read from.
        source: The file that lists the particles, for messages.
        cropped_box_size: Side in pixels to which the images' transforms are cropped when they
            are prepared; None keeps that of the images.
    """

    images: ImageSource
    pixel_sizes: Float[np.ndarray, " particles"]
    poses: Poses | None
    ctf: CtfTable | None
    original_rows: Int[np.ndarray, " particles"]
    source: str
    cropped_box_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse tables of different length.

        Raises:
            ShapeMismatchError: Poses, CTF or pixel sizes have another number of rows than
                there are images.
            MetadataError: A pixel size is not a positive number.
        """
        for table in (self.poses, self.ctf):
            if table is not None and len(table) != len(self.images):
                msg = (
                    f"{self.source} lists {len(self.images)} particles, but {table.source} "
                    f"has {len(table)} rows; both must come from the same particle file"
                )
                raise ShapeMismatchError(msg)
        if not (np.isfinite(self.pixel_sizes) & (self.pixel_sizes > 0)).all():
            msg = f"{self.source}: a pixel size is not positive"
            raise MetadataError(msg)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def box_size(self) -> int:
        """Side of the prepared images in pixels, that of the stored ones unless cropped."""
        return self.cropped_box_size or self.images.box_size

    def require_pixel_size(self) -> float:
        """Å/px of all images, for what needs it to be the same for all: maps and models.

        Raises:
            MetadataError: The images differ in pixel size by more than rounding.
        """
        return common_pixel_size(self.pixel_sizes, self.source)

    def cropped(self, box_size: int) -> Self:
        """The set whose images are downsampled when they are prepared, by Fourier cropping.

        Raises:
            ConfigError: The box size is odd or larger than the images'.
        """
        check_new_box_size(self.images.box_size, box_size)
        factor = self.box_size / box_size
        sizes = (self.pixel_sizes * factor).astype(np.float32)
        return replace(self, pixel_sizes=sizes, cropped_box_size=box_size)

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The set that holds only these rows, in this order."""
        return replace(
            self,
            images=self.images.select(rows),
            pixel_sizes=self.pixel_sizes[rows],
            poses=self.poses and self.poses.select(rows),
            ctf=self.ctf and self.ctf.select(rows),
            original_rows=self.original_rows[rows],
        )

    def require_poses(self) -> Poses:
        """The poses.

        Raises:
            MetadataError: None are known.
        """
        if self.poses is None:
            msg = (
                f"{self.source} holds no poses; give them with --poses, or pass the .star or "
                ".cs file of a 3-D refinement instead of the image stack"
            )
            raise MetadataError(msg)
        return self.poses
