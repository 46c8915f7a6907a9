"""Image stacks changed image by image, file to file; memory does not grow with their number."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.preprocessing import ctf_parameters, multiplied, stored_frequencies
from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import images_from_lattice, transform_on_lattice
from cryodrgn.imaging.ctf import contrast_transfer
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.particles.optics import CtfTable
from cryodrgn.progress import Progress

BYTES_PER_BATCH = 2**25
# Images from which the strength of the signal is estimated.
SIGNAL_SAMPLE = 10_000
SignalRegion = Literal["none", "strict", "circular"]
Change = Callable[
    [Float[Tensor, "batch box box"], Int[np.ndarray, " batch"]], Float[Tensor, "batch box box"]
]


def change_stack(
    images: ImageStack, output: Path, change: Change | None, pixel_size: float | None
) -> None:
    """Write a stack whose images are those of another one, changed.

    Args:
        images: The images.
        output: The stack to write, float32; unchanged images of float16 stay float16.
        change: Makes new images from a batch of images and their row numbers; None keeps them.
        pixel_size: Å/px for the header, None if it is not known.

    Raises:
        ConfigError: The stack to write is one of those that are read.
    """
    images.require_other_than([output])
    dtype = images.dtype if change is None else "float32"
    side = int(images.shapes_of(np.zeros(1, np.int64))[0, 0])
    size = max(1, BYTES_PER_BATCH // (4 * side**2))
    with (
        stack_writer(output, side, pixel_size, dtype) as writer,
        Progress(len(images), f"writing {output.name}") as progress,
    ):
        for start in range(0, len(images), size):
            rows = np.arange(start, min(start + size, len(images)))
            batch = images.read(rows)
            if change is not None:
                batch = change(torch.from_numpy(batch), rows).numpy()
            writer.append(batch)
            progress.advance(len(rows))


def phase_flip(
    ctf: CtfTable,
    pixel_sizes: Float[np.ndarray, " particles"],
    magnifications: Float[np.ndarray, "particles 2 2"] | None = None,
    *,
    keeps_contrast: bool = False,
) -> Change:
    """Multiplication of the transform by the sign of the CTF.

    Images are those of |CTF| then: particles that were dark become bright, as images of a
    density are that are compared without a CTF. Where the CTF is exactly zero the sign is taken
    as positive, so that nothing is lost.

    Args:
        ctf: CTF parameters, one row per image.
        pixel_sizes: Å/px of each image.
        magnifications: Matrix of each image; None where all are 1.
        keeps_contrast: Whether images are to be those of −|CTF|, dark particles staying dark,
            as files of RELION say by rlnCtfDataArePhaseFlipped.
    """
    flipped = 1.0 if keeps_contrast else -1.0

    def change(images: Tensor, rows: np.ndarray) -> Tensor:
        matrices = None if magnifications is None else torch.from_numpy(magnifications[rows])
        frequencies = stored_frequencies(images.shape[-2:], pixel_sizes[rows], matrices)
        values = contrast_transfer(frequencies, ctf_parameters(ctf, rows))
        return multiplied(images, torch.where(values < 0, flipped, -flipped))

    return change


def translate(shifts: Float[np.ndarray, "particles 2"]) -> Change:
    """Movement of the content of images.

    Args:
        shifts: (x, y) of each image in pixels.
    """

    def change(images: Tensor, rows: np.ndarray) -> Tensor:
        lattice = HalfPlaneFrequencies.square(images.shape[-1])
        values = transform_on_lattice(images, lattice)
        moves = torch.from_numpy(np.float32(shifts[rows]))
        moved = shift_transform(values, lattice.frequencies[None], moves)
        return images_from_lattice(moved, lattice)

    return change


def white_noise(sigma: float, generator: torch.Generator) -> Change:
    """Addition of Gaussian noise.

    Args:
        sigma: Standard deviation.
        generator: Of the noise.

    Raises:
        ConfigError: The standard deviation is negative.
    """
    if sigma < 0:
        msg = f"the standard deviation of the noise must not be negative, got {sigma:g}"
        raise ConfigError(msg)
    return lambda images, _: images + sigma * torch.randn(images.shape, generator=generator)


def signal_strength(
    images: ImageStack, region: SignalRegion = "none", radius: float | None = None
) -> float:
    """Standard deviation of the pixels of up to 10,000 images, the first ones.

    Args:
        images: Images without noise.
        region: ``none`` takes all pixels, ``strict`` the positive ones, ``circular`` those of a
            disc.
        radius: Of the disc, in pixels; half of the box by default.
    """
    box_size = images.box_size
    axis = np.arange(box_size) - box_size // 2
    inside = np.hypot(axis[:, None], axis) <= (box_size / 2 if radius is None else radius)
    count, total, squares = 0, 0.0, 0.0
    sample = min(len(images), SIGNAL_SAMPLE)
    size = max(1, BYTES_PER_BATCH // (4 * box_size**2))
    for start in range(0, sample, size):
        batch = images.read(np.arange(start, min(start + size, sample))).astype(np.float64)
        chosen = batch.ravel()
        if region == "strict":
            chosen = batch[batch > 0]
        elif region == "circular":
            chosen = batch[:, inside].ravel()
        count += len(chosen)
        total += float(chosen.sum())
        squares += float(np.square(chosen).sum())
    if count == 0:
        msg = "the images have no pixels in the region from which the signal is estimated"
        raise ConfigError(msg)
    return max(squares / count - (total / count) ** 2, 0.0) ** 0.5


def require_row_each(count: int, images: ImageStack, source: Path, stack: Path) -> None:
    """Refuse a table that does not have one row per image.

    Raises:
        ShapeMismatchError: The numbers differ.
    """
    if count != len(images):
        msg = f"{stack} holds {len(images)} images, but {source} has {count} rows"
        raise ShapeMismatchError(msg)
