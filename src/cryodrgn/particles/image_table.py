"""The images of one experiment: a row each for pixels, pose, CTF, dose and tilt."""

from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import MetadataError, ShapeMismatchError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.particles.half_sets import in_order_of_appearance
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.poses import Poses


@runtime_checkable
class ImageSource(Protocol):
    """Pixels of images that are read when they are asked for."""

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
class ImageTable:
    """Everything known of a set of images, row by row.

    Attributes:
        pixels: The images themselves.
        pixel_sizes: Sampling of each image in Å/px.
        poses: Orientations and shifts, if any are known.
        ctf: CTF parameters; None means that the images carry no CTF (or a corrected one).
        doses: Exposure that the specimen had before and during each image, in e/Å²; None
            damps nothing.
        tilt_angles: Tilt of the stage for each image in radians; None damps nothing.
        weights: Factor by which an image shows its particle more faintly than others; None
            means 1.
        b_factors: B in Å²: amplitudes at the frequency s fall by exp(−B s² / 4) more than
            those of other images; None damps nothing.
        optics_groups: Number of each image's optics group; None tells groups apart by the CTF
            parameters.
        copies: Numbers that are equal for images which are one frame of one stack, listed more
            than once; None where every image is a frame of its own.
        rows: Row of each image in the file that lists it.
        source: The file that lists the images, for messages.
        cropped_box_size: Side in pixels to which the images' transforms are cropped when they
            are prepared; None keeps that of the images.
    """

    pixels: ImageSource
    pixel_sizes: Float[np.ndarray, " images"]
    poses: Poses | None
    ctf: CtfTable | None
    rows: Int[np.ndarray, " images"]
    source: str
    doses: Float[np.ndarray, " images"] | None = None
    tilt_angles: Float[np.ndarray, " images"] | None = None
    weights: Float[np.ndarray, " images"] | None = None
    b_factors: Float[np.ndarray, " images"] | None = None
    optics_groups: Int[np.ndarray, " images"] | None = None
    copies: Int[np.ndarray, " images"] | None = None
    cropped_box_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different length, and numbers that no image has.

        Raises:
            ShapeMismatchError: A column has another number of rows than there are images.
            MetadataError: A pixel size is not positive, a dose, weight or B factor is
                negative, or one of the columns is not finite.
        """
        for table in (self.poses, self.ctf):
            if table is not None and len(table) != len(self.pixels):
                msg = (
                    f"{self.source} lists {len(self.pixels)} particles, but {table.source} "
                    f"has {len(table)} rows; both must come from the same particle file"
                )
                raise ShapeMismatchError(msg)
        if not (np.isfinite(self.pixel_sizes) & (self.pixel_sizes > 0)).all():
            msg = f"{self.source}: a pixel size is not positive"
            raise MetadataError(msg)
        for name in ("pixel_sizes", "rows", *_OPTIONAL):
            self._check_column(name)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def box_size(self) -> int:
        """Side of the prepared images in pixels, that of the stored ones unless cropped."""
        return self.cropped_box_size or self.pixels.box_size

    @property
    def numbers(self) -> Int[np.ndarray, " images"]:
        """Number of the different image that each row is, in the order of their first rows."""
        if self.copies is None:
            return np.arange(len(self))
        return in_order_of_appearance(self.copies)

    @property
    def side_lengths(self) -> Float[np.ndarray, " images"]:
        """Side of each image in Å."""
        return self.box_size * self.pixel_sizes

    def read(self, rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows box box"]:
        """The images of some rows as they are stored, in the order asked for."""
        return self.pixels.read(rows)

    def cropped(self, box_size: int) -> Self:
        """The images, downsampled by Fourier cropping when they are prepared.

        Raises:
            ConfigError: The box size is odd or larger than the images'.
        """
        check_new_box_size(self.pixels.box_size, box_size)
        factor = self.box_size / box_size
        sizes = (self.pixel_sizes * factor).astype(np.float32)
        return replace(self, pixel_sizes=sizes, cropped_box_size=box_size)

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The table of only these images, in this order."""
        columns = {name: getattr(self, name) for name in _OPTIONAL}
        return replace(
            self,
            pixels=self.pixels.select(rows),
            pixel_sizes=self.pixel_sizes[rows],
            poses=self.poses and self.poses.select(rows),
            ctf=self.ctf and self.ctf.select(rows),
            rows=self.rows[rows],
            **{
                name: None if values is None else values[rows]
                for name, values in columns.items()
            },
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

    def _check_column(self, name: str) -> None:
        values = getattr(self, name)
        if values is None:
            return
        if len(values) != len(self.pixels):
            msg = (
                f"{self.source} lists {len(self.pixels)} images, but {len(values)} values of "
                f"{name} were given; every image needs one"
            )
            raise ShapeMismatchError(msg)
        is_fine = np.isfinite(values)
        if name in {"doses", "weights", "b_factors", "optics_groups"}:
            is_fine &= values >= 0
        if not is_fine.all():
            row = int(np.flatnonzero(~is_fine)[0])
            msg = f"{self.source}: {name} of row {row} is {values[row]}, expected a number ≥ 0"
            raise MetadataError(msg)


_OPTIONAL = ("doses", "tilt_angles", "weights", "b_factors", "optics_groups", "copies")
