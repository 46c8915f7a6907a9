"""Images of a particle set, read from their stacks when they are asked for."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import BadImageError, ConfigError, InputFileError, ShapeMismatchError
from cryodrgn.io.mrc import MrcFile
from cryodrgn.io.transformed_stack import TransformedStack, open_images
from cryodrgn.particles.pixel_sizes import rows_by_pixel_size

# Which images of a batch cannot be computed with, by what is wrong with them.
Judge = Callable[
    [Float[np.ndarray, "batch height width"]], Mapping[str, Int[np.ndarray, " bad"]]
]
Signs = Int[np.ndarray, " images"] | None
MENDS = "cryodrgn downsample --box PX -D PX cuts or pads images to an even square"
NOT_FINITE = "pixels that are not finite numbers"


def not_finite(
    images: Float[np.ndarray, "batch height width"],
) -> dict[str, Int[np.ndarray, " _"]]:
    """Images of a batch with pixels that are not finite numbers."""
    if np.isfinite(images.sum(dtype=np.float64)):
        return {}
    bad = np.flatnonzero(~np.isfinite(images).all((1, 2)))
    return {NOT_FINITE: bad} if len(bad) else {}


class ImageStack:
    """One indexable view of images that lie in any number of MRC stacks.

    Args:
        files: The stacks.
        file_numbers: Stack of each image.
        frames: Number of each image in its stack, from 0.
        judge: Which images are refused when they are read.
        signs: 1 or -1 for each image, by which it is multiplied when it is read; None
            multiplies none.

    Raises:
        InputFileError: A stack is shorter than the highest frame asked of it, or has another
            axis order than images have.
    """

    def __init__(
        self,
        files: Sequence[MrcFile | TransformedStack],
        file_numbers: Int[np.ndarray, " particles"],
        frames: Int[np.ndarray, " particles"],
        judge: Judge = not_finite,
        signs: Signs = None,
    ) -> None:
        self._files = files
        self._file_numbers = file_numbers
        self._frames = frames
        self._judge = judge
        self._signs = signs
        self._check()

    @classmethod
    def from_names(
        cls,
        paths: dict[str, Path],
        names: Sequence[str],
        frames: Int[np.ndarray, " particles"],
        signs: Signs = None,
    ) -> Self:
        """Images given by the name of their stack and their number in it, and by their sign."""
        unique = list(paths)
        number = {name: index for index, name in enumerate(unique)}
        files = [open_images(paths[name]) for name in unique]
        numbers = np.array([number[name] for name in names], dtype=np.int64)
        return cls(files, numbers, frames, signs=signs)

    @classmethod
    def whole_files(cls, paths: Sequence[Path]) -> Self:
        """All images of some stacks, in order."""
        files = [open_images(path) for path in paths]
        depths = [file.shape[0] for file in files]
        file_numbers = np.repeat(np.arange(len(files)), depths)
        return cls(files, file_numbers, np.concatenate([np.arange(depth) for depth in depths]))

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def box_size(self) -> int:
        """Side of the images in pixels, of the first stack's where they differ."""
        return self._files[0].shape[1]

    @property
    def shapes(self) -> Int[np.ndarray, "images 2"]:
        """Height and width of every image in pixels."""
        return self.shapes_of(np.arange(len(self)))

    def shapes_of(self, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows 2"]:
        """Height and width of some images in pixels."""
        of_files = np.array([file.shape[1:] for file in self._files], dtype=np.int64)
        return of_files[self._file_numbers[rows]]

    @property
    def pixel_size(self) -> float | None:
        """Å/px that the headers of all stacks give; None if they give none, or differ."""
        sizes = self.pixel_sizes
        return None if sizes is None or len(rows_by_pixel_size(sizes)) > 1 else float(sizes[0])

    @property
    def pixel_sizes(self) -> Float[np.ndarray, " particles"] | None:
        """Å/px of every image from the header of its stack, None if one gives none."""
        used = np.unique(self._file_numbers)
        sizes = np.zeros(len(self._files))
        for number in used.tolist():
            size = self._files[number].pixel_size
            if size is None:
                return None
            sizes[number] = size
        return sizes[self._file_numbers]

    def names(self, folder: Path | None) -> list[str]:
        """``NUMBER@STACK`` of every image, as RELION names them.

        Args:
            folder: Where the paths of stacks start; None makes them absolute.
        """
        paths = [file.path.resolve() for file in self._files]
        if folder is None:
            stacks = [str(path) for path in paths]
        else:
            stacks = [os.path.relpath(path, folder.resolve()) for path in paths]
        pairs = zip(self._file_numbers.tolist(), self._frames.tolist(), strict=True)
        return [f"{frame + 1:06d}@{stacks[number]}" for number, frame in pairs]

    @property
    def signs(self) -> Int[np.ndarray, " images"]:
        """1 or -1 for every image, by which it is multiplied when it is read."""
        return np.ones(len(self), dtype=np.int64) if self._signs is None else self._signs

    @property
    def paths(self) -> list[Path]:
        """The stacks."""
        return [file.path for file in self._files]

    def rows_in(self, stack: Path) -> Int[np.ndarray, " rows"]:
        """Rows of the images that lie in a stack."""
        files = [n for n, file in enumerate(self._files) if file.path.samefile(stack)]
        return np.flatnonzero(np.isin(self._file_numbers, files))

    def copies(self) -> Int[np.ndarray, " particles"] | None:
        """Numbers that are equal for images which are the same frame of the same stack.

        None where every image is another frame.
        """
        places: dict[Path, int] = {}
        stacks = np.array(
            [places.setdefault(f.path.resolve(), len(places)) for f in self._files],
            dtype=np.int64,
        )
        longest = max(file.shape[0] for file in self._files)
        numbers = stacks[self._file_numbers] * longest + self._frames
        # Most files list the frames of their stacks in order.
        if bool((np.diff(numbers) > 0).all()) or len(np.unique(numbers)) == len(numbers):
            return None
        return numbers

    def require_other_than(self, outputs: Sequence[Path]) -> None:
        """Refuse files to write that are the stacks which are read.

        Raises:
            ConfigError: A file is one of the stacks.
        """
        own = {path.resolve() for path in self.paths}
        for output in outputs:
            if output.resolve() in own:
                msg = (
                    f"{output} holds the images that are read, and would be lost; give the "
                    "output another name"
                )
                raise ConfigError(msg)

    @property
    def dtype(self) -> str:
        """Type of number that holds every image without loss: ``float16`` or ``float32``."""
        halves = all(file.dtype == np.float16 for file in self._files)
        return "float16" if halves else "float32"

    def require_one_shape(self) -> None:
        """Refuse images of different sizes, and oblong ones.

        Raises:
            ShapeMismatchError: The stacks have different or non-square images.
        """
        first = self._files[0]
        for file in self._files:
            if file.shape[1:] != (first.shape[1], first.shape[1]):
                msg = (
                    f"{file.path} has images of {file.shape[2]} × {file.shape[1]} pixels, "
                    f"expected squares of {first.shape[1]} as in {first.path}; {MENDS}"
                )
                raise ShapeMismatchError(msg)

    def require_even_box(self) -> None:
        """Refuse images whose transform has no frequency at half the sampling rate.

        Raises:
            ConfigError: Their side is odd.
        """
        if self.box_size % 2:
            msg = (
                f"{self._files[0].path} has images of {self.box_size} pixels; it must be an "
                f"even number; {MENDS}"
            )
            raise ConfigError(msg)

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The view of only these images, in this order."""
        frames = self._frames[rows]
        signs = None if self._signs is None else self._signs[rows]
        return type(self)(self._files, self._file_numbers[rows], frames, self._judge, signs)

    def interleaved(self, other: Self) -> Self:
        """The images of two views in turn, the first of this one first.

        Raises:
            ShapeMismatchError: They differ in number or size of images.
        """
        if len(self) != len(other) or (self.shapes != other.shapes).any():
            msg = (
                f"{other.paths[0]} with {len(other)} images of {other.box_size} px does not go "
                f"with {self.paths[0]}, {len(self)} images of {self.box_size} px"
            )
            raise ShapeMismatchError(msg)
        file_numbers = np.stack([self._file_numbers, other._file_numbers + len(self._files)], 1)
        frames = np.stack([self._frames, other._frames], axis=1)
        files = [*self._files, *other._files]
        signs = None
        if self._signs is not None or other._signs is not None:
            signs = np.stack([self.signs, other.signs], axis=1).ravel()
        return type(self)(files, file_numbers.ravel(), frames.ravel(), self._judge, signs)

    def judged_by(self, judge: Judge) -> Self:
        """The view that refuses images when they are read, as somebody else judges them."""
        return type(self)(self._files, self._file_numbers, self._frames, judge, self._signs)

    def read(
        self, rows: Int[np.ndarray, " rows"], *, with_bad: bool = False
    ) -> Float[np.ndarray, "rows height width"]:
        """Images as float32, in the order asked for.

        Args:
            rows: Rows of the images.
            with_bad: Whether to return images that would be refused.

        Raises:
            InputFileError: An image cannot be read.
            BadImageError: It cannot be computed with.
        """
        numbers = np.unique(self._file_numbers[rows])
        shapes = {self._files[number].shape[1:] for number in numbers.tolist()}
        assert len(shapes) < 2, "images of one shape are read at a time"
        shape = shapes.pop() if shapes else (self.box_size, self.box_size)
        images = np.empty((len(rows), *shape), dtype=np.float32)
        # Neighbouring frames of a file are read together, whatever order was asked for.
        order = np.lexsort((self._frames[rows], self._file_numbers[rows]))
        files, frames = self._file_numbers[rows][order], self._frames[rows][order]
        breaks = np.flatnonzero((np.diff(files) != 0) | (np.diff(frames) != 1)) + 1
        for run in np.split(np.arange(len(rows)), breaks):
            if len(run):
                start, stop = int(frames[run[0]]), int(frames[run[-1]]) + 1
                images[order[run]] = self._files[int(files[run[0]])].sections(start, stop)
        if not with_bad:
            self.refuse_bad(images, rows)
        if self._signs is not None:
            images *= self._signs[rows][:, None, None]
        return images

    def refuse_bad(
        self, images: Float[np.ndarray, "rows height width"], rows: Int[np.ndarray, " rows"]
    ) -> None:
        """Refuse images that have been read with bad ones.

        Raises:
            BadImageError: One cannot be computed with.
        """
        for what, bad in self._judge(images).items():
            row = int(rows[bad[0]])
            path = self._files[int(self._file_numbers[row])].path
            msg = (
                f"image {self._frames[row]} of {path} (number {row} of those chosen, counting "
                f"from 0) has {what}; leave it out with `screen` all or `indices`"
            )
            raise BadImageError(msg)

    def fingerprint(self) -> bytes:
        """A digest of which images of which files these are, and of what state of the files."""
        digest = hashlib.sha256()
        for file in self._files:
            status = file.path.stat()
            words = (str(file.path.resolve()), status.st_size, status.st_mtime_ns)
            digest.update(repr(words).encode())
        for numbers in (self._file_numbers, self._frames):
            digest.update(np.ascontiguousarray(numbers, np.int64).tobytes())
        if self._signs is not None:
            digest.update(np.ascontiguousarray(self._signs, np.int64).tobytes())
        return digest.digest()

    def chunks(self, size: int) -> Iterator[Float[np.ndarray, "rows height width"]]:
        """All images in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))

    def _check(self) -> None:
        for file in self._files:
            file.require_images()
        depths = np.array([file.shape[0] for file in self._files])
        beyond = np.flatnonzero(self._frames >= depths[self._file_numbers])
        if len(beyond):
            file = self._files[int(self._file_numbers[beyond[0]])]
            msg = (
                f"{file.path} holds {file.shape[0]} images, but image "
                f"{int(self._frames[beyond[0]]) + 1} of it is asked for; if another stack of "
                "that name is meant, give its folder with `datadir`"
            )
            raise InputFileError(msg)
