"""Images of several pixel sizes and shapes that are brought to one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.particles.pixel_sizes import rows_by_pixel_size
from cryodrgn.particles.sampling import Sampling, common_sampling, kinds_in_words


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageKinds:
    """Kinds of images that are downsampled to one box.

    Images of several kinds get the box and pixel size of the most frequent one, cropped in
    Fourier space, so that all of them show all of its frequencies.

    Attributes:
        images: All of them.
        pixel_sizes: Å/px of each; None if it is not known.
        sampling: Box and pixel size that images of several kinds get; None where all are of
            one kind, whose transform is cropped.
        box_size: Side of the results in pixels.
    """

    images: ImageStack
    pixel_sizes: Float[np.ndarray, " images"] | None
    sampling: Sampling | None
    box_size: int

    @classmethod
    def of(
        cls,
        images: ImageStack,
        pixel_sizes: Float[np.ndarray, " images"] | None,
        box_size: int,
        source: str,
        field_box_size: int | None = None,
    ) -> "ImageKinds":
        """Pixel sizes and shapes of some images, and their common lattice.

        Args:
            images: The images.
            pixel_sizes: Å/px of each; None if it is not known.
            box_size: Side of the results in pixels.
            source: The file, for messages.
            field_box_size: Side to which images are cut or padded before, in pixels of the most
                frequent pixel size; None keeps theirs.

        Raises:
            ConfigError: The box size is odd or too large for some of the images, or they are
                cut or padded, and of unknown pixel size.
            ShapeMismatchError: They are oblong, and of unknown pixel size.
        """
        whole = None
        if pixel_sizes is None:
            images.require_one_shape()
            if field_box_size is not None:
                msg = (
                    f"{source} does not say its pixel size, which cutting and padding need; "
                    "write it with cryodrgn_utils add_psize"
                )
                raise ConfigError(msg)
        else:
            whole = common_sampling(pixel_sizes, images.shapes, field_box_size)
        if whole is None:
            check_new_box_size(images.box_size, box_size)
            return cls(images=images, pixel_sizes=pixel_sizes, sampling=None, box_size=box_size)
        assert pixel_sizes is not None
        sampling = whole.cropped(box_size)
        coarsest = float(pixel_sizes.max())
        if np.isfinite(sampling.band_limit(coarsest)):
            most = int(whole.side_length / coarsest) // 2 * 2
            msg = (
                f"{source} holds images of {kinds_in_words(pixel_sizes, images.shapes)}: a box "
                f"of {box_size} px of {sampling.pixel_size:.4g} Å holds frequencies that those "
                f"of {coarsest:.6g} Å/px do not show; give `box_size` {most} at most, or "
                "give the file "
                "itself to the commands that read particles, which need no common box"
            )
            raise ConfigError(msg)
        return cls(images=images, pixel_sizes=pixel_sizes, sampling=sampling, box_size=box_size)

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def in_words(self) -> str:
        """The pixel sizes and shapes of the images, where these are of several, or odd."""
        assert self.pixel_sizes is not None
        return f"images of {kinds_in_words(self.pixel_sizes, self.images.shapes)}"

    @property
    def are_several(self) -> bool:
        """True for images of more than one shape or pixel size."""
        shapes = self.images.shapes
        sizes = self.pixel_sizes
        return bool((shapes != shapes[0]).any()) or (
            sizes is not None and len(rows_by_pixel_size(sizes)) > 1
        )

    @property
    def pixel_size(self) -> float | None:
        """Å/px of the images, the median where they have several; None if it is not known."""
        return None if self.pixel_sizes is None else float(np.median(self.pixel_sizes))

    @property
    def changes_field(self) -> bool:
        """True where images are cut or padded, so that they show another area."""
        if self.sampling is None or self.pixel_sizes is None:
            return False
        sides = self.images.shapes.max(1) * self.pixel_sizes
        return bool((np.abs(sides / self.sampling.side_length - 1) > 1e-6).any())

    @property
    def new_pixel_size(self) -> float | None:
        """Å/px of the results, None if it is not known."""
        if self.sampling is not None:
            return self.sampling.pixel_size
        if self.pixel_size is None:
            return None
        return self.pixel_size * self.images.box_size / self.box_size

    @property
    def change(self) -> "tuple[Float[np.ndarray, ' images'], float] | float":
        """New pixel size over the old one; of several kinds all old ones, and the new one."""
        if self.sampling is None or self.pixel_sizes is None:
            return self.images.box_size / self.box_size
        return self.pixel_sizes, self.sampling.pixel_size

    def pixel_size_of(self, stack: Path) -> float | None:
        """Å/px of the images of a stack; None if it is not known.

        Raises:
            ConfigError: They have several.
        """
        if self.pixel_sizes is None:
            return None
        own = self.pixel_sizes[self.images.rows_in(stack)]
        if not len(own) or self.sampling is None:
            return self.pixel_size
        if len(rows_by_pixel_size(own)) > 1:
            msg = (
                f"{stack} holds images of {kinds_in_words(own, self.images.shapes[: len(own)])}"
                ", of which its header could name one; make a stack of each with cryodrgn "
                "select --pixel-size and cryodrgn_utils filter_mrcs"
            )
            raise ConfigError(msg)
        return float(own[0])
