"""Particles of one file found in another one that holds them at another pixel size or box."""

import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.fourier.resample import downsample_images
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.map_geometry import BOX_TOLERANCE
from cryodrgn.io.particle_files import open_metadata
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.matching import Identities, Matching, matched
from cryodrgn.particles.particle_set import ParticleSet

logger = logging.getLogger(__name__)

# Images that are compared where only their order could tell which is which, at which side, and
# how much more alike an image and itself must be than different images.
COMPARED, SIDE, LEAST_ALIKE = 40, 32, 0.5


def same_particles(first: ParticleSet, second: ParticleSet) -> Matching:
    """Find the particles of one set in another by what identifies them, never by order.

    In the order of preference: cryoSPARC's ``uid``; micrograph and coordinates; names of
    particles of tilt series; the same image of the same stack. Of bare stacks of equal length
    and field of view, images of equal rows are compared, and taken for the same particles if
    they are alike, as an image and its downsampled copy are.

    Args:
        first: Particles of which something is known.
        second: Particles of which it is wanted.

    Raises:
        ConfigError: No identity is common, or several particles share one.
    """
    names = (first.source, second.source)
    found = matched(identities(first), identities(second), names)
    if found is None:
        found = _by_contents(first, second)
    if isinstance(found, str):
        msg = (
            f"nothing tells which particles of {second.source} are those of {first.source}: "
            "they have no uid, no micrograph and coordinates, and no stack file in common, and "
            f"{found}; train on and give .star or .cs files with micrograph and coordinates or "
            "uid, or give `latents` of these particles in this order"
        )
        raise ConfigError(msg)
    logger.info(
        "%d of the %d particles of %s are among the %d of %s, by %s",
        len(found),
        len(first),
        first.source,
        len(second),
        second.source,
        found.kind,
    )
    return found


def identities(particles: ParticleSet) -> Identities:
    """Names of the particles of a set by their kind, those that are surest first."""
    found: dict[str, np.ndarray] = {}
    images = particles.first_images
    if particles.names is not None:
        found["particle name"] = np.asarray(particles.names).astype(str)
    else:
        metadata = open_metadata(Path(particles.source))
        if metadata is not None:
            of_rows = metadata.select(images.rows).identities()
            found |= {kind: np.array(names) for kind, names in of_rows.items()}
    if isinstance(images.pixels, ImageStack):
        found["image"] = np.array(images.pixels.names(None))
    return found


def _by_contents(first: ParticleSet, second: ParticleSet) -> Matching | str:
    """All rows in their order, if images of equal rows show the same; else a reason."""
    one, other = first.first_images, second.first_images
    rows = np.unique(np.linspace(0, len(one) - 1, COMPARED).round().astype(np.int64))
    if (reason := _not_comparable(one, other)) is not None:
        return reason
    side = min(SIDE, one.box_size, other.box_size)
    try:
        pictures = [_small(images.pixels.read(rows), side) for images in (one, other)]
    except InputFileError as error:
        return f"images could not be compared ({error})"
    alike = (pictures[0] * pictures[1]).sum(1).abs()
    if not bool((alike > LEAST_ALIKE).all()):
        count = int((alike <= LEAST_ALIKE).sum())
        return (
            f"of the images of {len(rows)} equal rows that were compared {count} differ: the "
            "particles are others, or the same in another order, which is not found out"
        )
    every = np.arange(len(one))
    return Matching(first=every, second=every, kind="the order of images that are alike")


def _not_comparable(one: ImageTable, other: ImageTable) -> str | None:
    """Reason why images are not compared row by row, in words; None if they can be."""
    if len(one) != len(other):
        return f"the numbers of images differ, {len(one)} and {len(other)}"
    if not all((images.shapes == images.box_size).all() for images in (one, other)):
        return "images of several sizes cannot be compared"
    sides = [float(images.pixel_sizes[0]) * images.box_size for images in (one, other)]
    if abs(sides[0] / sides[1] - 1) > BOX_TOLERANCE:
        return f"boxes of {sides[0]:.4g} Å and {sides[1]:.4g} Å cannot be compared"
    return "one image is too few to compare" if len(one) == 1 else None


def _small(
    images: Float[np.ndarray, "rows height width"], side: int
) -> Float[torch.Tensor, "rows pixels"]:
    """Images on a coarse lattice, as vectors of mean 0 and length 1."""
    pictures = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
    flat = downsample_images(pictures, side).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12)
