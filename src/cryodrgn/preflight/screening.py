"""Leaving out images that cannot be computed with, before anything long begins."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from jaxtyping import Int

from cryodrgn.data.config import DataConfig
from cryodrgn.diagnosis.screening import find_bad, screen_images
from cryodrgn.errors import (
    BadImageError,
    CryodrgnError,
    InputFileError,
    MetadataError,
    ShapeMismatchError,
)
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.text import read_text
from cryodrgn.particles.particle_set import ParticleSet, rows_in_ranges
from cryodrgn.rundir import RunDirectory, ScreeningFiles

logger = logging.getLogger(__name__)

Screen = Literal["sample", "all", "none"]
Screened = TypeVar("Screened")
Result = TypeVar("Result")
SCREENS: tuple[Screen, ...] = get_args(Screen)
# Images of a sample; reading them takes a second or two.
SAMPLE = 1000
MOST_LEFT_OUT = 0.05
ROWS_NAMED = 10
HEAD = "row,reason"


@dataclass(frozen=True, slots=True, eq=False)
class _Bad:
    """Bad images among those that were looked at, by their place and what is wrong."""

    reasons: frozenset[tuple[int, str]]
    num_screened: int

    @property
    def places(self) -> Int[np.ndarray, " bad"]:
        return np.array(sorted({place for place, _ in self.reasons}), dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """Images, and the first of each particle unless every one shows its own."""

    images: ImageStack
    offsets: Int[np.ndarray, " bounds"] | None

    def rows_of(self, places: Int[np.ndarray, " places"]) -> Int[np.ndarray, " images"]:
        """Rows of the images of some particles."""
        if self.offsets is None:
            return places
        return rows_in_ranges(self.offsets[places], self.offsets[places + 1])

    def particles_of(self, rows: Int[np.ndarray, " images"]) -> Int[np.ndarray, " images"]:
        """Places of the particles that some images show."""
        if self.offsets is None:
            return rows
        return np.searchsorted(self.offsets, rows, side="right") - 1


def run_excluding_bad_images(
    screened: Callable[[Screen], Screened],
    work: Callable[[Screened], Result],
    how: Screen,
    files: ScreeningFiles,
) -> Result:
    """Work on images that have been screened, once more if a sample did not show all bad ones.

    If the work ends in an error before it has begun to write a run, what screening wrote goes,
    and what was there before comes back.

    Args:
        screened: Screens the images as it is told, and returns what the work is done on.
        work: The work; a bad image ends it in :class:`~cryodrgn.errors.BadImageError`, before
            it has written anything.
        how: How the images are screened first. If only a sample was looked at, all are after
            such an end, and the work begins again.
        files: Where screening writes.

    Returns:
        What the work returns.
    """
    before = _Before.of(files)
    try:
        chosen = screened(how)
        with _put_back_on_errors(files, before, is_tried_again=how == "sample"):
            return work(chosen)
    except BadImageError:
        if how != "sample":
            raise
        logger.warning("an image beyond the sample cannot be used; all are looked at now")
    # Only here, behind the handler, is what the work held given up.
    chosen = screened("all")
    with _put_back_on_errors(files, before):
        return work(chosen)


@dataclass(frozen=True, slots=True, eq=False)
class _Before:
    """Folder of screening as it was before it was written to.

    Attributes:
        contents: What each file held; None for one that was not there.
        config: The same of the config of the run, which says that one has begun.
        is_folder: True if there was a folder.
    """

    contents: Mapping[Path, bytes | None]
    config: bytes | None
    is_folder: bool

    @classmethod
    def of(cls, files: ScreeningFiles) -> "_Before":
        """The folder as it is now."""
        contents = {path: _content(path) for path in (files.table, files.kept)}
        return cls(contents, _config(files), files.table.parent.is_dir())

    def put_back(self) -> None:
        """Restore what was there."""
        for path, content in self.contents.items():
            if content is None:
                if path.exists():
                    logger.warning("%s is removed again: nothing was begun", path)
                path.unlink(missing_ok=True)
            elif content != _content(path):
                with atomic_path(path) as partial:
                    partial.write_bytes(content)
        if not self.is_folder:
            # What else is there keeps the folder.
            with suppress(OSError):
                next(iter(self.contents)).parent.rmdir()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _config(files: ScreeningFiles) -> bytes | None:
    return _content(RunDirectory(files.table.parent).config_yaml)


@contextmanager
def _put_back_on_errors(
    files: ScreeningFiles, before: _Before, *, is_tried_again: bool = False
) -> Iterator[None]:
    """While it lasts, an error restores the files of screening, unless a run has begun.

    Nor does a bad image after which the work is tried again: another process of the job may be
    writing what it has found of all of them.
    """
    try:
        yield
    except CryodrgnError as error:
        is_last = not (is_tried_again and isinstance(error, BadImageError))
        if is_last and _config(files) == before.config:
            before.put_back()
        raise


def screen_stack(
    images: ImageStack,
    original_rows: Int[np.ndarray, " images"],
    files: ScreeningFiles,
    how: Screen,
    *,
    source: str,
) -> Int[np.ndarray, " bad"]:
    """Look at images, list the bad ones in ``screened.csv``, and refuse many of them.

    Args:
        images: The images.
        original_rows: Their rows in the file that lists them.
        files: Where the list goes; an old one is removed.
        how: ``sample`` looks at up to 1000 images spread evenly, and at all if any of the
            others that an old list names is still bad; ``all`` looks at every one, ``none`` at
            none.
        source: The file, for messages.

    Returns:
        Which of the images are bad, by their place among ``images``.

    Raises:
        MetadataError: More than 5 % of those looked at are bad.
    """
    return _screened(_Stack(images, None), original_rows, files, how, source)


def screen_particles(
    particles: ParticleSet,
    files: ScreeningFiles,
    how: Screen = "sample",
) -> ParticleSet:
    """The particles without those whose images are bad.

    If only a sample was looked at, the images are judged again when they are read, see
    :func:`run_excluding_bad_images`.

    Args:
        particles: The particles.
        files: Where the bad ones are listed and, if there are any, the rows of the others.
        how: See :func:`screen_stack`.

    Raises:
        MetadataError: Too many are bad.
    """
    kept = _kept(particles, files, how)
    return _judged(kept) if how == "sample" else kept


def _kept(particles: ParticleSet, files: ScreeningFiles, how: Screen) -> ParticleSet:
    """Particles of which every image is good."""
    pixels = particles.images.pixels
    if not isinstance(pixels, ImageStack):
        return particles
    stack = _Stack(pixels, particles.offsets)
    bad = _screened(stack, particles.original_rows, files, how, particles.source)
    if not len(bad):
        return particles
    kept = particles.select(np.setdiff1d(np.arange(len(particles)), bad))
    save_pickles(files.kept, [kept.original_rows])
    logger.warning("they are left out; the rows of the others are in %s", files.kept)
    return kept


def places_kept(particles: ParticleSet, kept: ParticleSet) -> Int[np.ndarray, " kept"]:
    """Places, among all particles, of those that were kept."""
    return np.flatnonzero(np.isin(particles.original_rows, kept.original_rows))


def _judged(particles: ParticleSet) -> ParticleSet:
    """The particles, whose images are judged as they are read."""
    pixels = particles.images.pixels
    if not isinstance(pixels, ImageStack):
        return particles
    return particles.with_images({"pixels": pixels.judged_by(find_bad)})


def screen_data(
    data: DataConfig, particles: ParticleSet, files: ScreeningFiles, how: Screen = "sample"
) -> tuple[DataConfig, ParticleSet]:
    """The particles of a run without bad images, and settings that name those left.

    Every later command on the run takes the rows of the original file from these settings.

    Args:
        data: The settings.
        particles: The particles that they describe.
        files: Where the bad ones are listed, and the rows of the others.
        how: See :func:`screen_stack`.

    Raises:
        MetadataError: Too many are bad.
        ShapeMismatchError: Poses or CTF have a row for every particle of ``--ind`` only, which
            cannot be told apart once some are left out.
    """
    before = _Before.of(files)
    kept = _kept(particles, files, how)
    if kept is not particles:
        data = replace(data, files=replace(data.files, indices=files.kept))
        try:
            kept = data.open()
        except ShapeMismatchError as error:
            before.put_back()
            msg = (
                f"{error}; images were left out, so give poses and CTF of all particles, not "
                "of those of `indices` alone"
            )
            raise ShapeMismatchError(msg) from error
    elif data.files.indices is None or data.files.indices.resolve() != files.kept.resolve():
        # Those of an earlier run here would be taken for rows of this one.
        files.kept.unlink(missing_ok=True)
    return data, _judged(kept) if how == "sample" else kept


def _screened(
    stack: _Stack,
    original_rows: Int[np.ndarray, " images"],
    files: ScreeningFiles,
    how: Screen,
    source: str,
) -> Int[np.ndarray, " bad"]:
    """Places of bad images, which are listed, or refused where they are many."""
    if how == "none":
        return np.empty(0, dtype=np.int64)
    found = _look(stack, original_rows, files, how)
    bad = found.places
    if not len(bad):
        with suppress(OSError):
            files.table.unlink()
        return bad
    _write(files.table, found, original_rows)
    named = ", ".join(str(row) for row in original_rows[bad][:ROWS_NAMED])
    words = (
        f"{source}: {len(bad)} of {found.num_screened} images screened cannot be used (rows "
        f"{named}{' and more' if len(bad) > ROWS_NAMED else ''}; why is in {files.table})"
    )
    if len(bad) > MOST_LEFT_OUT * found.num_screened:
        msg = (
            f"{words}, which is more than {MOST_LEFT_OUT:.0%}; find out what went wrong, or "
            "choose others with `indices`"
        )
        raise MetadataError(msg)
    logger.warning("%s", words)
    return bad


def _look(
    stack: _Stack,
    original_rows: Int[np.ndarray, " images"],
    files: ScreeningFiles,
    how: Screen,
) -> _Bad:
    """Look at a sample of images or at all of them."""
    count = len(original_rows)
    everything = np.arange(count)
    if how == "all":
        return _bad_among(stack, everything)
    sample = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(np.int64))
    # What was found late before, by this command or another, is not to be found late again.
    listed = sample[:0]
    with suppress(InputFileError):
        listed = np.flatnonzero(np.isin(original_rows, read_screened(files.table)))
    found = _bad_among(stack, np.union1d(sample, listed))
    if np.isin(found.places, sample).all():
        return replace(found, num_screened=len(sample))
    return _bad_among(stack, everything)


def _bad_among(stack: _Stack, places: Int[np.ndarray, " places"]) -> _Bad:
    found = screen_images(stack.images, stack.rows_of(places))
    named = {
        "not finite": found.not_finite,
        "constant": found.constant,
        "hot pixels": found.hot_pixels,
    }
    reasons = {
        (int(place), why) for why, bad in named.items() for place in stack.particles_of(bad)
    }
    return _Bad(frozenset(reasons), len(places))


def read_screened(path: Path) -> Int[np.ndarray, " rows"]:
    """Rows that a list of bad images names.

    Raises:
        InputFileError: There is no such list.
    """
    head, *lines = read_text(path).splitlines() or [""]
    try:
        rows = {int(line.split(",", 1)[0]) for line in lines if head == HEAD}
        return np.array(sorted(rows), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        msg = f"{path} is no list of rows of bad images: {error}"
        raise InputFileError(msg) from error


def _write(path: Path, found: _Bad, original_rows: Int[np.ndarray, " images"]) -> None:
    lines = sorted((int(original_rows[place]), why) for place, why in found.reasons)
    with atomic_path(path) as partial:
        text = "".join(f"{row},{why}\n" for row, why in lines)
        partial.write_text(f"{HEAD}\n{text}")
