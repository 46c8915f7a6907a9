"""The particles of one experiment, and the images that show each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from jaxtyping import Int, Shaped

from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.particles.copies import in_order_of_appearance
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.pixel_sizes import common_pixel_size
from cryodrgn.particles.sampling import Sampling


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParticleSet:
    """Particles, each shown by one image or by several.

    The images of a particle stand one after another, in the order of the particles. Whatever
    chooses, chooses particles; whatever adds up, adds up images.

    Attributes:
        images: The table of all images.
        original_rows: Number of each particle in the file it was read from: of its row where
            every row is a particle.
        offsets: First image of each particle and, last, the number of images; None where every
            particle is shown by one image, so that particles and images are the same rows.
        names: Name of every particle of tilt series in its file; None for single images.
        tomograms: Name of the tomogram of every particle; None where the file does not say.
    """

    images: ImageTable
    original_rows: Int[np.ndarray, " particles"]
    offsets: Int[np.ndarray, " bounds"] | None = None
    names: Shaped[np.ndarray, " particles"] | None = None
    tomograms: Shaped[np.ndarray, " particles"] | None = None

    def __post_init__(self) -> None:
        """Refuse images that belong to no particle, and particles without image.

        Raises:
            ShapeMismatchError: The table of images does not fit the particles.
        """
        if self.offsets is None:
            fits = len(self.original_rows) == len(self.images)
        else:
            fits = (
                len(self.offsets) == len(self.original_rows) + 1
                and self.offsets[0] == 0
                and self.offsets[-1] == len(self.images)
                and bool((np.diff(self.offsets) > 0).all())
            )
        if not fits:
            msg = (
                f"{self.source}: {len(self.images)} images do not belong to "
                f"{len(self.original_rows)} particles one after another; every particle needs "
                "one image at least"
            )
            raise ShapeMismatchError(msg)

    @classmethod
    def of_single_images(cls, images: ImageTable) -> Self:
        """The set in which every image shows a particle of its own."""
        return cls(images=images, original_rows=images.rows)

    def __len__(self) -> int:
        return len(self.original_rows)

    @property
    def source(self) -> str:
        """The file that lists the particles, for messages."""
        return self.images.source

    @property
    def box_size(self) -> int:
        """Side of the prepared images in pixels, that of the stored ones unless cropped."""
        return self.images.box_size

    @property
    def images_per_particle(self) -> float:
        """Number of images of a particle, on average."""
        return len(self.images) / max(len(self), 1)

    @property
    def image_counts(self) -> Int[np.ndarray, " particles"]:
        """Number of images of every particle."""
        if self.offsets is None:
            return np.ones(len(self), dtype=np.int64)
        return np.diff(self.offsets)

    @property
    def first_images(self) -> ImageTable:
        """The first image of every particle: what stands for it where one must."""
        if self.offsets is None:
            return self.images
        return self.images.select(self.offsets[:-1])

    @property
    def numbers(self) -> Int[np.ndarray, " particles"]:
        """Number of the different particle that each row shows, in the order of first rows.

        Rows whose first images are one frame of one stack show one particle, whatever their
        poses: a set expanded by symmetry has as many rows of each as there are mates.
        """
        copies = self.images.copies
        if copies is None:
            return np.arange(len(self))
        return in_order_of_appearance(
            copies if self.offsets is None else copies[self.offsets[:-1]]
        )

    @property
    def num_different(self) -> int:
        """Number of different particles."""
        return len(self) if self.images.copies is None else int(self.numbers.max()) + 1

    @property
    def particle_of_image(self) -> Int[np.ndarray, " images"]:
        """Row of the particle that each image shows."""
        rows = np.arange(len(self))
        return rows if self.offsets is None else np.repeat(rows, np.diff(self.offsets))

    @property
    def order_in_tables(self) -> Int[np.ndarray, " images"]:
        """Images in the order of tables beside a file, which is the file's of tilt series."""
        if self.names is None:
            return np.arange(len(self.images))
        return np.argsort(self.images.rows, kind="stable")

    def image_rows(self, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " images"]:
        """Rows of the images of some particles, one particle after another."""
        if self.offsets is None:
            return rows
        return rows_in_ranges(self.offsets[rows], self.offsets[rows + 1])

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The set that holds only these particles, in this order."""
        offsets = None
        if self.offsets is not None:
            counts = np.diff(self.offsets)[rows]
            offsets = np.concatenate([[0], np.cumsum(counts)])
        return replace(
            self,
            images=self.images.select(self.image_rows(rows)),
            original_rows=self.original_rows[rows],
            offsets=offsets,
            names=None if self.names is None else self.names[rows],
            tomograms=None if self.tomograms is None else self.tomograms[rows],
        )

    def with_best_images(self, count: int) -> Self:
        """The set with at most so many images of every particle, the first ones.

        Images of a tilt series stand in the order of their dose, see
        :attr:`cryodrgn.particles.tilt_series.TiltImages.order`.
        """
        if self.offsets is None:
            return self
        counts = np.minimum(np.diff(self.offsets), count)
        rows = rows_in_ranges(self.offsets[:-1], self.offsets[:-1] + counts)
        offsets = None if (counts == 1).all() else np.concatenate([[0], np.cumsum(counts)])
        return replace(self, images=self.images.select(rows), offsets=offsets)

    def require_pixel_size(self) -> float:
        """Å/px of all images, for what needs it to be the same for all: maps and models.

        Raises:
            MetadataError: The images differ in pixel size by more than rounding.
        """
        return common_pixel_size(self.images.pixel_sizes, self.source)

    def cropped(self, box_size: int) -> Self:
        """The set whose images are downsampled when they are prepared, by Fourier cropping.

        Raises:
            ConfigError: The box size is odd or larger than the images'.
        """
        return replace(self, images=self.images.cropped(box_size))

    def sampled(self, sampling: Sampling) -> Self:
        """The set whose images are evaluated on a lattice when they are prepared."""
        return replace(self, images=self.images.sampled(sampling))

    def with_images(self, changes: Mapping[str, Any]) -> Self:
        """The set with other columns in its table of images.

        Args:
            changes: The columns by name, see :class:`ImageTable`.
        """
        return replace(self, images=replace(self.images, **changes))

    def require_single_images(self, purpose: str) -> Self:
        """The set, whose particles have one image each.

        Args:
            purpose: What needs that, as the subject of a sentence.

        Raises:
            ConfigError: A particle has several.
        """
        if self.offsets is not None:
            msg = (
                f"{purpose} needs one image of every particle, but {self.source} has "
                f"{len(self.images)} images of {len(self)} particles"
            )
            raise ConfigError(msg)
        return self


def rows_in_ranges(
    starts: Int[np.ndarray, " ranges"], stops: Int[np.ndarray, " ranges"]
) -> Int[np.ndarray, " rows"]:
    """The numbers from each start up to its stop, one range after another."""
    counts = stops - starts
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.arange(counts.sum()) + np.repeat(starts - before, counts)
