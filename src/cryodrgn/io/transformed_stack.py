"""Stacks of Hartley transforms, as ``cryodrgn preprocess`` of other versions writes them."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryodrgn.io.mrc import MrcFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TransformedStack:
    """A stack of transforms, which gives the images.

    Its sections are centred Hartley transforms of images with an even side n, with the first
    row and column repeated at the end, so that the side is n + 1.

    Attributes:
        stored: The file.
    """

    stored: MrcFile

    @property
    def path(self) -> Path:
        """The file."""
        return self.stored.path

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, and their height and width in pixels."""
        count, height, width = self.stored.shape
        return count, height - 1, width - 1

    @property
    def dtype(self) -> np.dtype:
        """Type of number of the images."""
        return np.dtype(np.float32)

    @property
    def pixel_size(self) -> float | None:
        """Sampling of the images in Å/px, None where the header gives none."""
        return self.stored.pixel_size

    def require_images(self) -> None:
        """Refuse sections that are not in the standard order of axes.

        Raises:
            InputFileError: The axes of the file are in another order.
        """
        self.stored.require_images()

    def sections(self, start: int, stop: int) -> np.ndarray:
        """Images ``start`` to ``stop``."""
        transforms = self.stored.sections(start, stop)[:, :-1, :-1]
        axes = (1, 2)
        # The Hartley transform Re F − Im F is its own inverse up to the number of pixels.
        spectrum = np.fft.fft2(np.fft.ifftshift(transforms, axes))
        images = np.fft.fftshift(spectrum.real - spectrum.imag, axes)
        return (images / (images.shape[1] * images.shape[2])).astype(np.float32)


def open_images(path: Path) -> MrcFile | TransformedStack:
    """A stack of images, or of their transforms where the numbers are those.

    Raises:
        InputFileError: The file is no MRC file that can be read.
    """
    file = MrcFile.open(path)
    if not _holds_transforms(file):
        return file
    side = file.shape[1] - 1
    logger.info(
        "%s holds Hartley transforms as `cryodrgn preprocess` writes them (their last row and "
        "column repeat the first): images of %d px are computed from them; these were inverted "
        "and windowed before, unless preprocess was told otherwise",
        path,
        side,
    )
    return TransformedStack(file)


def _holds_transforms(file: MrcFile) -> bool:
    """True if the first section repeats its first row and column at the end.

    Images do not, unless their margin is of one value.
    """
    _, height, width = file.shape
    if height != width or height % 2 == 0 or height < 3 or file.dtype.kind != "f":
        return False
    first = file.sections(0, 1)[0]
    edges = ((first[0], first[-1]), (first[:, 0], first[:, -1]))
    return all(np.array_equal(a, b) and np.ptp(a) > 0 for a, b in edges)
