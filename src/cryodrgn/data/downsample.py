"""Downsampling of image stacks and volumes, file to file."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.preprocessing import Preprocessing, preprocess_on
from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.resample import check_new_box_size, downsample_images, downsample_volume
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import read_map, write_volume
from cryodrgn.io.resumable import read_record, record_path, resumable_stack, write_record
from cryodrgn.particles.sampling import Sampling
from cryodrgn.progress import Progress

logger = logging.getLogger(__name__)

# Larger batches fall out of the processor's cache, at a quarter of the speed.
BYTES_PER_BATCH = 2**22


def downsample_stack(
    images: ImageStack,
    new_box_size: int,
    output: Path,
    *,
    pixel_size: float | None,
    chunk: int | None = None,
    known_bad: Int[np.ndarray, " bad"] | None = None,
    sampling: Sampling | None = None,
) -> list[Path]:
    """Write images at a smaller box size; memory does not grow with their number.

    Rows stay what they are: an image that is not finite remains so, for the commands that use
    images to leave it out. When it is stopped, even by a kill or a full disk, the same call
    goes on where it was.

    Args:
        images: The images.
        new_box_size: Even side of the results in pixels.
        output: Stack to write, float32.
        pixel_size: Å/px of ``images``, None if it is not known.
        chunk: Split the result into stacks ``BASE.0.mrcs``, ``BASE.1.mrcs``, … of this many
            images and list them in ``BASE.txt``; None writes one stack.
        known_bad: Rows of images that are known to be of no use, all others being judged as
            they are read; None takes them as they are.
        sampling: Lattice of ``new_box_size`` on which images of another pixel size or shape
            are evaluated; None crops the transform of images of one even box.

    Returns:
        The files written.

    Raises:
        BadImageError: An image that is not known to be bad is.
        ConfigError: The box size or the chunk size is of no use, or a stack to write is one of
            those that are read.
    """
    new_pixel_size, make = _target(images, new_box_size, pixel_size, sampling)
    if chunk is not None and chunk < 1:
        msg = f"`chunk` must be at least 1, got {chunk}"
        raise ConfigError(msg)
    starts = range(0, len(images), chunk or len(images))
    paths = [output] if chunk is None else _parts(output, len(starts))
    images.require_other_than(paths)
    work = _Work(images, new_box_size, new_pixel_size, chunk, known_bad, make)
    try:
        with Progress(len(images), "downsampling") as progress:
            for path, start in zip(paths, starts, strict=True):
                work.write(path, np.arange(start, len(images))[:chunk], progress)
        if chunk is not None:
            paths.append(_write_list(output.with_suffix(".txt"), paths))
    except InputFileError:
        # What cannot be finished is not left in parts.
        work.discard(paths)
        raise
    for path in paths:
        record_path(path).unlink(missing_ok=True)
    return paths


def _target(
    images: ImageStack, box_size: int, pixel_size: float | None, sampling: Sampling | None
) -> tuple[float | None, Callable[[Tensor], Tensor]]:
    """Å/px of the results, None if it is not known, and what makes them."""
    if sampling is None:
        check_new_box_size(images.box_size, box_size)
        new = pixel_size and pixel_size * images.box_size / box_size
        return new, partial(downsample_images, new_box_size=box_size)
    assert pixel_size is not None, "images on a lattice have a pixel size"
    return sampling.pixel_size, partial(
        images_on_lattice, sampling=sampling, pixel_size=pixel_size
    )


def images_on_lattice(
    images: Float[Tensor, "batch height width"], *, sampling: Sampling, pixel_size: float
) -> Float[Tensor, "batch box box"]:
    """Images of any shape and pixel size, as those of a lattice whose frequencies they show.

    Args:
        images: The images.
        sampling: Box and pixel size of the result.
        pixel_size: Å/px of the images.
    """
    lattice = HalfPlaneFrequencies.square(sampling.box_size)
    values = preprocess_on(sampling, images, pixel_size, lattice, Preprocessing())
    # Of the Nyquist frequency a lattice holds one side, where images differ on both.
    is_within = (lattice.points.abs() < sampling.box_size // 2).all(1)
    return images_from_lattice(values * is_within[:, None], lattice)


def _parts(output: Path, count: int) -> list[Path]:
    """Stacks of a result that is divided."""
    return [output.with_name(f"{output.stem}.{i}{output.suffix}") for i in range(count)]


class _Work:
    """Stacks of downsampled images, of which those that are there already are kept."""

    def __init__(
        self,
        images: ImageStack,
        new_box_size: int,
        pixel_size: float | None,
        chunk: int | None,
        known_bad: Int[np.ndarray, " bad"] | None,
        make: Callable[[Tensor], Tensor],
    ) -> None:
        self._known_bad, self._make = known_bad, make
        self._images = images
        self._new_box_size = new_box_size
        self._pixel_size = pixel_size
        self._is_in_parts = chunk is not None
        # Only the same images and sizes have the same name.
        words = repr((new_box_size, pixel_size, chunk))
        self._key = hashlib.sha256(images.fingerprint() + words.encode()).hexdigest()

    def write(self, path: Path, rows: np.ndarray, progress: Progress) -> None:
        """Write one stack, or what is missing of it."""
        if self._is_in_parts and self.has_finished(path):
            progress.advance(len(rows))
            return
        size = self._new_box_size
        with resumable_stack(path, self._key, len(rows), size, self._pixel_size) as writer:
            if writer.count:
                logger.info("%s goes on behind %d images", path, writer.count)
                progress.advance(writer.count)
            for batch in self._downsampled(rows[writer.count :]):
                writer.append(batch)
                progress.advance(len(batch))
        if self._is_in_parts:
            write_record(record_path(path), {"key": self._key, "finished": _state_of(path)})

    def discard(self, paths: list[Path]) -> None:
        """Remove stacks that were finished, and records of all."""
        for path in paths:
            if self.has_finished(path):
                path.unlink()
            record_path(path).unlink(missing_ok=True)

    def has_finished(self, path: Path) -> bool:
        """True if an earlier call with the same settings finished a stack that is unchanged."""
        content = read_record(record_path(path), self._key)
        return content is not None and content.get("finished") == _state_of(path)

    def _downsampled(self, rows: np.ndarray) -> Iterator[Float[np.ndarray, "batch new new"]]:
        batch_size = max(1, BYTES_PER_BATCH // (4 * self._images.box_size**2))
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            batch = self._images.read(chosen, with_bad=True)
            if self._known_bad is not None:
                unknown = ~np.isin(chosen, self._known_bad)
                self._images.refuse_bad(batch[unknown], chosen[unknown])
            yield self._make(torch.from_numpy(batch)).numpy()


def _state_of(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def downsample_volume_file(
    source: Path, new_box_size: int, output: Path
) -> tuple[int, float | None]:
    """Write a volume at a smaller box size, in the same place.

    Args:
        source: A cubic volume.
        new_box_size: Even side of the result in voxels.
        output: Volume to write, float32.

    Returns:
        The old box size and the new pixel size in Å.
    """
    volume, geometry = read_map(source, cubic=True)
    check_new_box_size(len(volume), new_box_size)
    result = downsample_volume(torch.from_numpy(volume), new_box_size)
    # Cropping the transform leaves the first voxel where it is.
    geometry = geometry.resampled(len(volume), new_box_size)
    write_volume(output, result.numpy(), geometry)
    return len(volume), geometry.pixel_size


def _write_list(path: Path, stacks: list[Path]) -> Path:
    with atomic_path(path) as partial:
        partial.write_text("\n".join(stack.name for stack in stacks))
    return path
