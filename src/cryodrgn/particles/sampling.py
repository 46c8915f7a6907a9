"""The lattice on which images of several pixel sizes or boxes are compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.particles.pixel_sizes import SHOWN, TOLERANCE, in_words, rows_by_pixel_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Box and pixel size of prepared images, those of the stored ones being others.

    Attributes:
        box_size: Side of the prepared images in pixels, even.
        pixel_size: Their sampling in Å/px.
        unit_pixel_size: Å/px of the images to whose intensities the others are scaled. It
            stays what it is when images are cropped in Fourier space.
    """

    box_size: int
    pixel_size: float
    unit_pixel_size: float

    def __post_init__(self) -> None:
        """Refuse what no image has.

        Raises:
            ConfigError: The box size is odd or smaller than two, or a pixel size not positive.
        """
        if self.box_size < 2 or self.box_size % 2:
            msg = f"the box size must be even and positive, got {self.box_size}"
            raise ConfigError(msg)
        if not (self.pixel_size > 0 and self.unit_pixel_size > 0):
            msg = f"the pixel size must be positive, got {self.pixel_size}"
            raise ConfigError(msg)

    @classmethod
    def of_record(cls, record: Mapping[str, float] | None) -> "Sampling | None":
        """The lattice that :meth:`record` described; None if there was none."""
        if record is None:
            return None
        return cls(
            box_size=int(record["box_size"]),
            pixel_size=float(record["pixel_size"]),
            unit_pixel_size=float(record["unit_pixel_size"]),
        )

    def record(self) -> dict[str, float]:
        """Entry of the config file of a run."""
        return asdict(self)

    @property
    def side_length(self) -> float:
        """Side of the images in Å."""
        return self.box_size * self.pixel_size

    def is_of(self, shape: Sequence[int], pixel_size: float) -> bool:
        """True for images whose discrete transform holds the lattice's frequencies.

        Args:
            shape: Height and width of the images in pixels.
            pixel_size: Their Å/px.
        """
        height, width = shape
        if height != width or height % 2 or height < self.box_size:
            return False
        ratios = (height * pixel_size / self.side_length, pixel_size / self.unit_pixel_size)
        return all(abs(ratio - 1) <= TOLERANCE for ratio in ratios)

    def band_limit(self, pixel_size: float) -> float:
        """Radius, in cycles per side, beyond which images of a pixel size show nothing.

        It lies between two shells, so that every shell is shown whole or not at all; infinite
        for images that show all frequencies of the lattice.
        """
        nyquist = self.side_length / (2 * pixel_size)
        if nyquist >= self.box_size / 2 * (1 - TOLERANCE):
            return math.inf
        return math.floor(nyquist - 0.5) + 0.5

    def uncropped(self) -> Self:
        """The lattice before it was cropped to fewer frequencies."""
        box_size = round(self.side_length / self.unit_pixel_size)
        return type(self)(
            box_size=box_size,
            pixel_size=self.side_length / box_size,
            unit_pixel_size=self.unit_pixel_size,
        )

    def cropped(self, box_size: int) -> Self:
        """The lattice of the same field of view with fewer frequencies.

        Raises:
            ConfigError: The box size is odd or larger than this one.
        """
        check_new_box_size(self.box_size, box_size)
        return type(self)(
            box_size=box_size,
            pixel_size=self.side_length / box_size,
            unit_pixel_size=self.unit_pixel_size,
        )


def common_sampling(
    pixel_sizes: Float[np.ndarray, " images"],
    shapes: Int[np.ndarray, "images 2"],
    box_size: int | None = None,
) -> Sampling | None:
    """The lattice of the most frequent kind of image, None where all are of that one.

    Of an odd or oblong kind, it has the largest even side that all of its images show.

    Args:
        pixel_sizes: Å/px of each image as it is stored.
        shapes: Height and width of each in pixels.
        box_size: Even side of the lattice in pixels of that kind, in place of its own.
    """
    rows = rows_by_pixel_size(pixel_sizes)[0]
    kinds, counts = np.unique(shapes[rows], axis=0, return_counts=True)
    height, width = kinds[counts.argmax()].tolist()
    side = min(height, width) // 2 * 2 if box_size is None else box_size
    pixel_size = float(pixel_sizes[rows[0]])
    sampling = Sampling(box_size=side, pixel_size=pixel_size, unit_pixel_size=pixel_size)
    return None if are_of(sampling, pixel_sizes, shapes) else sampling


def are_of(
    sampling: Sampling,
    pixel_sizes: Float[np.ndarray, " images"],
    shapes: Int[np.ndarray, "images 2"],
) -> bool:
    """True if all images have the box of a lattice and, but for rounding, its pixel size."""
    return not differing(sampling, pixel_sizes, shapes).any()


def differing(
    sampling: Sampling,
    pixel_sizes: Float[np.ndarray, " images"],
    shapes: Int[np.ndarray, "images 2"],
) -> Bool[np.ndarray, " images"]:
    """True for images that are not of a lattice themselves."""
    same = (shapes == sampling.box_size).all(1)
    return ~same | (np.abs(pixel_sizes / sampling.pixel_size - 1) > TOLERANCE)


def runs_of_one_shape(
    shapes: Int[np.ndarray, "images 2"], size: int
) -> list[Int[np.ndarray, " places"]]:
    """Places of images in order, in runs of one shape of at most some length."""
    breaks = np.flatnonzero((np.diff(shapes, axis=0) != 0).any(1)) + 1
    runs = np.split(np.arange(len(shapes)), breaks)
    parts = [np.split(run, range(size, len(run), size)) for run in runs]
    return [part for run in parts for part in run if len(part)]


def kinds_in_words(
    pixel_sizes: Float[np.ndarray, " images"], shapes: Int[np.ndarray, "images 2"]
) -> str:
    """The pixel sizes and shapes there are, and how many images have each."""
    height, width = shapes[0]
    if (shapes == shapes[0]).all() and height == width and not height % 2:
        return in_words(pixel_sizes, rows_by_pixel_size(pixel_sizes))
    named = []
    for rows in rows_by_pixel_size(pixel_sizes):
        kinds, counts = np.unique(shapes[rows], axis=0, return_counts=True)
        named += [
            f"{width} × {height} px at {pixel_sizes[rows[0]]:.6g} Å/px ({count} images)"
            for (height, width), count in zip(kinds.tolist(), counts.tolist(), strict=True)
        ]
    more = f" and {len(named) - SHOWN} other kinds" if len(named) > SHOWN else ""
    return ", ".join(named[:SHOWN]) + more
