"""A particle set whose images are phase flipped: stacks, and the file that lists them."""

import logging
import os
from pathlib import Path

import numpy as np
from jaxtyping import Int

from cryodrgn.data.stack_changes import change_stack, phase_flip
from cryodrgn.errors import ConfigError, MetadataError, ShapeMismatchError
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.relion_write import write_particle_star
from cryodrgn.particles.copies import number_of_different
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.optics import CtfTable, as_corrected
from cryodrgn.particles.particle_set import ParticleSet

logger = logging.getLogger(__name__)


def refuse_corrected(ctf: CtfTable, source: str) -> None:
    """Refuse images that were corrected for their CTF already.

    Raises:
        ConfigError: They were.
    """
    if ctf.correction is not None:
        msg = (
            f"{source} says that its images are phase flipped or multiplied by the "
            "CTF already; they need no further correction"
        )
        raise ConfigError(msg)


def write_flipped_set(particles: ParticleSet, output: Path) -> list[Path]:
    """Write the images of a set phase flipped, a stack for each pixel size and box.

    Every image is flipped in its own box at its own pixel size, and dark particles stay dark;
    rows stay in their order. Copies of an image stay copies: they name one frame.

    Args:
        particles: The set, with a CTF.
        output: The ``.star`` file, beside which the stacks are written.

    Returns:
        The stacks.

    Raises:
        ConfigError: The images are of tilt series, or corrected already.
        MetadataError: There are no CTF parameters.
        ShapeMismatchError: Images are oblong.
    """
    table = particles.require_single_images("phase flipping into a .star file").images
    ctf, pixels = table.ctf, table.pixels
    if ctf is None:
        msg = f"{table.source} has no CTF parameters; give them with a ctf.pkl"
        raise MetadataError(msg)
    refuse_corrected(ctf, table.source)
    shapes = table.shapes
    _refuse_oblong(shapes, table.source)
    assert isinstance(pixels, ImageStack), "images of files are flipped"
    sizes = table.pixel_sizes_in_files
    kinds = np.column_stack([shapes[:, 0], sizes])
    _, first, places = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    shows = _rows_to_write(table, output)
    paths, names = [], np.empty(len(table), dtype=object)
    order = np.argsort(first)
    for number, kind in enumerate(order.tolist()):
        ending = ".mrcs" if len(order) == 1 else f".{number}.mrcs"
        path = output.with_suffix(ending)
        of_kind = np.flatnonzero(places.ravel() == kind)
        rows, frames = np.unique(shows[of_kind], return_inverse=True)
        matrices = None if table.magnifications is None else table.magnifications[rows]
        change = phase_flip(ctf.select(rows), sizes[rows], matrices, keeps_contrast=True)
        change_stack(pixels.select(rows), path, change, float(sizes[rows[0]]))
        name = os.path.relpath(path.resolve(), output.resolve().parent)
        names[of_kind] = [f"{frame + 1:06d}@{name}" for frame in frames.ravel().tolist()]
        paths.append(path)
    write_particle_star(
        output,
        names.tolist(),
        box_size=shapes.max(1),
        pixel_sizes=sizes,
        magnifications=table.magnifications,
        poses=table.poses,
        ctf=as_corrected(ctf, "flipped", table.source),
        b_factors=table.b_factors,
        scales=table.weights,
    )
    return paths


def _refuse_oblong(shapes: Int[np.ndarray, "images 2"], source: str) -> None:
    if (shapes[:, 0] != shapes[:, 1]).any():
        msg = (
            f"{source} holds oblong images, which a flipped stack does not; give the set "
            "itself to the commands that read particles, which cut or pad its images"
        )
        raise ShapeMismatchError(msg)


def _rows_to_write(table: ImageTable, output: Path) -> Int[np.ndarray, " images"]:
    """For every row the first one of the same image and CTF, which is written for both."""
    assert table.ctf is not None
    if table.copies is None:
        return np.arange(len(table))
    ctf = table.ctf.columns() | table.ctf.optional_columns()
    columns = [table.numbers, table.pixel_sizes_in_files, *ctf.values()]
    if table.magnifications is not None:
        columns.append(table.magnifications.reshape(len(table), -1))
    keys = np.column_stack(columns)
    _, first, places = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    different = number_of_different(table.copies, len(table))
    if len(first) > different:
        logger.warning(
            "%s lists %d different images, of which copies differ in CTF parameters: each copy "
            "is flipped by its own, and %s has %d images, which count as different particles "
            "although some share their noise; flip images before copies of them are refined",
            table.source,
            different,
            output,
            len(first),
        )
    return first[places.ravel()]
