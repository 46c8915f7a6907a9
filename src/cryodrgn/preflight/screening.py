"""Leaving out images that cannot be computed with, before anything long begins."""

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from cryodrgn.diagnosis.screening import Screening, screen_images
from cryodrgn.errors import MetadataError, ShapeMismatchError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.legacy_pickle import save_pickles
from cryodrgn.io.particle_files import open_images, open_metadata, open_tilted
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.rundir import ScreeningFiles
from cryodrgn.training.config import DataConfig

logger = logging.getLogger(__name__)

Screen = Literal["sample", "all", "none"]
SCREENS: tuple[Screen, ...] = get_args(Screen)
# Images of a sample; reading them takes a second or two.
SAMPLE = 1000
MOST_LEFT_OUT = 0.05
ROWS_NAMED = 10


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
        how: ``sample`` looks at up to 1000 images spread evenly, ``all`` at every one,
            ``none`` at none.
        source: The file, for messages.

    Returns:
        Which of the images are bad, by their place among ``images``.

    Raises:
        MetadataError: More than 5 % of those looked at are bad.
    """
    if how == "none":
        return np.empty(0, dtype=np.int64)
    count = len(images) if how == "all" else min(len(images), SAMPLE)
    rows = np.unique(np.linspace(0, len(images) - 1, count).round().astype(np.int64))
    found = screen_images(images, rows)
    bad = np.union1d(found.unusable, found.hot_pixels).astype(np.int64)
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
            "choose others with --ind"
        )
        raise MetadataError(msg)
    logger.warning("%s", words)
    return bad


def screen_particles(
    particles: ParticleSet,
    files: ScreeningFiles,
    how: Screen = "sample",
    *,
    tilted: Path | None = None,
    datadir: Path | None = None,
) -> ParticleSet:
    """The particles without those whose images are bad.

    Args:
        particles: The particles.
        files: Where the bad ones are listed and, if there are any, the rows of the others.
        how: See :func:`screen_stack`.
        tilted: Particle file of the second exposure of tilt pairs, which is looked at, too.
        datadir: Folder of the stacks that it names.

    Raises:
        MetadataError: Too many are bad.
    """
    stacks = [(particles, particles.source)]
    if tilted is not None:
        stacks.append((open_tilted(particles, tilted, datadir), str(tilted)))
    bad = np.empty(0, dtype=np.int64)
    for exposure, source in stacks:
        if isinstance(exposure.images, ImageStack):
            rows = particles.original_rows
            found = screen_stack(exposure.images, rows, files, how, source=source)
            bad = np.union1d(bad, found)
            if len(bad):
                break
    if not len(bad):
        return particles
    kept = particles.select(np.setdiff1d(np.arange(len(particles)), bad))
    save_pickles(files.kept, [kept.original_rows])
    logger.warning("they are left out; the rows of the others are in %s", files.kept)
    return kept


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
    kept = screen_particles(
        particles, files, how, tilted=data.tilted, datadir=data.files.datadir
    )
    if kept is particles:
        return data, particles
    changed = replace(data, files=replace(data.files, indices=files.kept))
    try:
        return changed, changed.open()
    except ShapeMismatchError as error:
        msg = (
            f"{error}; images were left out, so give poses and CTF of all particles, not of "
            "those of --ind alone"
        )
        raise ShapeMismatchError(msg) from error


def screen_file(
    path: Path, files: ScreeningFiles, how: Screen, datadir: Path | None = None
) -> Int[np.ndarray, " bad"]:
    """Bad images of a particle file; see :func:`screen_stack`."""
    images = open_images(path, open_metadata(path), datadir)
    return screen_stack(images, np.arange(len(images)), files, how, source=str(path))


def _write(path: Path, found: Screening, original_rows: Int[np.ndarray, " images"]) -> None:
    reasons = {
        "not finite": found.not_finite,
        "constant": found.constant,
        "hot pixels": found.hot_pixels,
    }
    lines = [
        (int(original_rows[row]), reason) for reason, rows in reasons.items() for row in rows
    ]
    with atomic_path(path) as partial:
        text = "".join(f"{row},{reason}\n" for row, reason in sorted(lines))
        partial.write_text(f"row,reason\n{text}")
