"""The images of one experiment: a row each for pixels, pose, CTF, dose and tilt."""

from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int

from cryodrgn.errors import MetadataError, ShapeMismatchError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.particles.copies import in_order_of_appearance
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.poses import Poses
from cryodrgn.particles.sampling import Sampling

# Of a matrix of the magnification; microscopes distort by percents.
LEAST_DETERMINANT = 0.25


@runtime_checkable
class ImageSource(Protocol):
    """Pixels of images that are read when they are asked for."""

    @property
    def box_size(self) -> int:
        """Side of the images in pixels, of the first image's where they differ."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows height width"]:
        """The images of some rows of one shape, in the order asked for."""
        ...

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The source that holds only these rows, in this order."""
        ...

    def fingerprint(self) -> bytes:
        """A digest of which images these are."""
        ...


@runtime_checkable
class ShapedSource(ImageSource, Protocol):
    """Images of any shapes."""

    def shapes_of(self, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows 2"]:
        """Height and width of some images in pixels."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageTable:
    """Everything known of a set of images, row by row.

    Attributes:
        pixels: The images themselves.
        pixel_sizes: Sampling of each image in Å/px once it is prepared: that of ``sampling``
            for all, or else its own.
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
        sampling: Lattice on which images of several pixel sizes or shapes are evaluated when
            they are prepared; None where all are of one.
        stored_pixel_sizes: Sampling of each image in its file in Å/px, where there is a
            ``sampling``.
        magnifications: Matrix M of each image. At the frequency k of such an image stands what
            an image without distortion shows at M k. None where all are 1.
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
    sampling: Sampling | None = None
    stored_pixel_sizes: Float[np.ndarray, " images"] | None = None
    magnifications: Float32[np.ndarray, "images 2 2"] | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different length, and numbers that no image has.

        Raises:
            ShapeMismatchError: A column has another number of rows than there are images.
            MetadataError: A pixel size is not positive, a dose, weight or B factor is
                negative, one of the columns is not finite, or a matrix of the magnification
                mirrors or flattens.
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
        if self.magnifications is not None:
            bad = np.flatnonzero(np.linalg.det(self.magnifications) < LEAST_DETERMINANT)
            if len(bad):
                matrix = self.magnifications[bad[0]].tolist()
                msg = (
                    f"{self.source}: the magnification of row {bad[0]} is {matrix}, expected "
                    "a matrix near that of the identity"
                )
                raise MetadataError(msg)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def box_size(self) -> int:
        """Side of the prepared images in pixels, that of the stored ones unless cropped."""
        if self.sampling is not None:
            return self.sampling.box_size
        return self.cropped_box_size or self.pixels.box_size

    @property
    def numbers(self) -> Int[np.ndarray, " images"]:
        """Number of the different image that each row is, in the order of their first rows."""
        if self.copies is None:
            return np.arange(len(self))
        return in_order_of_appearance(self.copies)

    @property
    def side_lengths(self) -> Float[np.ndarray, " images"]:
        """Side of each prepared image in Å."""
        return self.box_size * self.pixel_sizes

    @property
    def shapes(self) -> Int[np.ndarray, "images 2"]:
        """Height and width of every image in its file, in pixels."""
        return self.shapes_of(np.arange(len(self)))

    def shapes_of(self, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows 2"]:
        """Height and width of some images in their files, in pixels."""
        if isinstance(self.pixels, ShapedSource):
            return self.pixels.shapes_of(rows)
        return np.full((len(rows), 2), self.pixels.box_size)

    @property
    def pixel_sizes_in_files(self) -> Float[np.ndarray, " images"]:
        """Sampling of every image as it is stored, in Å/px."""
        if self.stored_pixel_sizes is not None:
            return self.stored_pixel_sizes
        return self.pixel_sizes * np.float32(self.box_size / self.pixels.box_size)

    @property
    def side_lengths_in_files(self) -> Float[np.ndarray, " images"]:
        """Longer side of each image as it is stored, in Å, of which shifts are fractions."""
        if self.sampling is None:
            return self.side_lengths
        return self.shapes.max(1) * self.pixel_sizes_in_files

    def read(self, rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows height width"]:
        """The images of some rows of one shape as stored, in the order asked for."""
        return self.pixels.read(rows)

    def cropped(self, box_size: int) -> Self:
        """The images, downsampled by Fourier cropping when they are prepared.

        Raises:
            ConfigError: The box size is odd or larger than the images'.
        """
        if self.sampling is not None:
            return self.sampled(self.sampling.cropped(box_size))
        check_new_box_size(self.pixels.box_size, box_size)
        factor = self.box_size / box_size
        sizes = (self.pixel_sizes * factor).astype(np.float32)
        return replace(self, pixel_sizes=sizes, cropped_box_size=box_size)

    def sampled(self, sampling: Sampling) -> Self:
        """The images, evaluated on a lattice when they are prepared."""
        return replace(
            self,
            sampling=sampling,
            pixel_sizes=np.full(len(self), sampling.pixel_size, np.float32),
            stored_pixel_sizes=self.pixel_sizes_in_files,
            cropped_box_size=None,
        )

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
                f"{self.source} holds no poses; give them with `poses`, or pass the .star or "
                ".cs file of a 3-D refinement"
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
        expected = "a finite number"
        if name in {"doses", "weights", "b_factors", "optics_groups"}:
            is_fine &= values >= 0
            expected = "a number ≥ 0"
        if not is_fine.all():
            row = int(np.argwhere(~is_fine)[0, 0])
            msg = f"{self.source}: {name} of row {row} is {values[row]}, expected {expected}"
            raise MetadataError(msg)


_OPTIONAL = (
    "doses",
    "tilt_angles",
    "weights",
    "b_factors",
    "optics_groups",
    "copies",
    "stored_pixel_sizes",
    "magnifications",
)
