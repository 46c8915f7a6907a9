"""Poses and CTF parameters out of metadata files, into the pickles of cryoDRGN."""

import logging
from pathlib import Path

import numpy as np

from cryodrgn.errors import CryodrgnError
from cryodrgn.io.cryodrgn_pickle import save_ctf, save_poses
from cryodrgn.io.metadata import (
    BoxSizes,
    ParticleMetadata,
    PixelSizes,
    box_words,
    resolve_box_sizes,
    resolve_pixel_sizes,
)
from cryodrgn.io.optics_report import WITHOUT_FILE, Term, tell_of_ignored
from cryodrgn.io.particle_files import open_images
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.poses import Poses

logger = logging.getLogger(__name__)

NOT_IN_PICKLES = (
    "a {} cannot hold that; give {} itself to the commands, with or without `ctf`, and all but "
    "MTF and scales of a refinement is accounted for"
)


def parse_poses(
    metadata: ParticleMetadata,
    output: Path,
    box_size: int | None = None,
    pixel_size: float | None = None,
) -> Poses:
    """Write the poses of a metadata file as ``poses.pkl``.

    Args:
        metadata: The file's table.
        output: The pickle to write.
        box_size: Side of the images in pixels, for files that do not say it.
        pixel_size: Å/px, for files that do not say it.

    Raises:
        CryodrgnError: Something needed is missing, or contradicts the file.
    """
    box_sizes = resolve_box_sizes(metadata, box_size)
    is_known = pixel_size is not None or metadata.pixel_sizes() is not None
    if is_known or metadata.shifts_need_pixel_size():
        pixel_sizes = _pixel_sizes(metadata, box_sizes, pixel_size)
    else:
        # Shifts are in pixels, and only their ratio to the box is written.
        pixel_sizes = np.ones(len(metadata))
    poses = metadata.poses(pixel_sizes)
    save_poses(output, poses, box_sizes * pixel_sizes)
    largest = np.abs(poses.shifts / pixel_sizes[:, None]).max(initial=0)
    logger.info(
        "wrote %d poses to %s (box of %s px, shifts up to %.1f px)",
        len(poses),
        output,
        box_words(box_sizes),
        largest,
    )
    return poses


def tell_what_poses_lack(metadata: ParticleMetadata) -> None:
    """Say which terms that belong to poses a ``poses.pkl`` cannot hold."""
    advice = NOT_IN_PICKLES.format("poses.pkl", metadata.path.name)
    tell_of_ignored(metadata, metadata.pixel_sizes(), {Term.MAGNIFICATION}, advice)


def parse_ctf(
    metadata: ParticleMetadata,
    output: Path,
    box_size: int | None = None,
    pixel_size: float | None = None,
) -> tuple[CtfTable, int, float]:
    """Write the CTF parameters of a metadata file as ``ctf.pkl``.

    Args:
        metadata: The file's table.
        output: The pickle to write.
        box_size: Side of the images in pixels, for files that do not say it.
        pixel_size: Å/px, for files that do not say it.

    Returns:
        The parameters, and box size and pixel size of the first particle.

    Raises:
        CryodrgnError: Something needed is missing, or contradicts the file.
    """
    box_sizes = resolve_box_sizes(metadata, box_size)
    pixel_sizes = _pixel_sizes(metadata, box_sizes, pixel_size)
    ctf = metadata.ctf()
    save_ctf(output, ctf, box_sizes, pixel_sizes)
    advice = NOT_IN_PICKLES.format("ctf.pkl", metadata.path.name)
    tell_of_ignored(metadata, pixel_sizes, WITHOUT_FILE, advice)
    logger.info(
        "wrote CTF parameters of %d images to %s (box of %s px, %s Å/px, defocus %.2f to "
        "%.2f µm, %g kV, Cs %g mm, amplitude contrast %g)",
        len(ctf),
        output,
        box_words(box_sizes),
        " and ".join(f"{value:.4g}" for value in np.unique(pixel_sizes)[:3]),
        min(ctf.defocus_u.min(), ctf.defocus_v.min()) / 1e4,
        max(ctf.defocus_u.max(), ctf.defocus_v.max()) / 1e4,
        ctf.voltage_kv[0],
        ctf.spherical_aberration_mm[0],
        ctf.amplitude_contrast[0],
    )
    return ctf, int(box_sizes[0]), float(pixel_sizes[0])


def _pixel_sizes(
    metadata: ParticleMetadata, box_sizes: BoxSizes, given: float | None
) -> PixelSizes:
    """Å/px of images of some box sizes, from wherever it is known."""

    def of_stack() -> PixelSizes | None:
        try:
            images = open_images(metadata.path, metadata, of_any_shape=True)
        except CryodrgnError as error:
            logger.info("the stacks do not say the pixel size either: %s", error)
            return None
        # Downsampled images show the same field of view.
        sizes = images.pixel_sizes
        return None if sizes is None else sizes * (images.shapes.max(1) / box_sizes)

    return resolve_pixel_sizes(metadata, given, of_stack)
