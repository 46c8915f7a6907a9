"""Particle tables of cryoSPARC made of what is known of some images."""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from cryodrgn.geometry.conventions import cryosparc_poses_from_matrices
from cryodrgn.io.cryosparc import CTF_FIELDS
from cryodrgn.io.cryosparc_tables import BOTH_CONTRASTS, SIGN
from cryodrgn.particles.copies import in_order_of_appearance
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.optics_groups import optics_of_images

logger = logging.getLogger(__name__)


def cryosparc_table(
    images: ImageTable,
    names: list[str],
    shapes: Int[np.ndarray, "images 2"],
    signs: Int[np.ndarray, " images"],
    groups: Sequence[str] | None = None,
    *,
    is_inverted: bool = False,
) -> np.ndarray:
    """A table of images: where they lie, and their CTF parameters and poses where known.

    Columns are those of an import job: ``blob``, ``ctf`` and ``alignments3D``, angles in
    radians, shifts in pixels. ``uid`` counts the rows from 1.

    Args:
        images: The images.
        names: ``NUMBER@STACK`` of each, numbers from 1.
        shapes: Height and width of each in pixels.
        signs: Contrast of each, 1 or -1, by which it is multiplied when it is read.
        groups: Name of each image's optics group, if there are any. Groups are numbered from 1
            (``ctf/exp_group_id``); images of other optics are in other groups, too.
        is_inverted: Whether all images have the contrast -1 and are not multiplied.
    """
    frames, stacks = zip(*(name.split("@", 1) for name in names), strict=True)
    paths = np.char.encode(np.array(stacks), "utf-8")
    count = len(names)
    pixel_sizes = images.pixel_sizes_in_files.astype(np.float32)
    columns: dict[str, np.ndarray] = {
        "uid": np.arange(1, count + 1, dtype=np.uint64),
        "blob/path": paths,
        "blob/idx": np.array(frames, dtype=np.int64).astype(np.uint32) - np.uint32(1),
        "blob/shape": shapes.astype(np.uint32),
        "blob/psize_A": pixel_sizes,
    }
    if (signs < 0).any():
        columns[SIGN] = signs.astype(np.float32)
        if (signs < 0).all():
            columns[BOTH_CONTRASTS] = np.ones(count, dtype=np.uint8)
    elif is_inverted:
        columns[SIGN] = np.full(count, -1, np.float32)
    columns |= _of_ctf(images, groups) | _of_poses(images, pixel_sizes)
    fields = [(name, values.dtype.str, values.shape[1:]) for name, values in columns.items()]
    table = np.empty(count, dtype=fields)
    for name, values in columns.items():
        table[name] = values
    return table


def _of_ctf(images: ImageTable, groups: Sequence[str] | None) -> dict[str, np.ndarray]:
    if images.ctf is None:
        return {}
    ctf = images.ctf
    left_out = sorted(name.replace("_", " ") for name in ctf.optional_columns())
    if images.magnifications is not None:
        left_out.append("magnification matrices")
    if left_out:
        logger.warning(
            "%s: %s are not written to the .cs table, only defocus, voltage, spherical "
            "aberration, amplitude contrast, phase shift, B factor and scale",
            images.source,
            ", ".join(left_out),
        )
    found = {title: getattr(ctf, name) for name, title in CTF_FIELDS.items()}
    _, named = np.unique(groups or [""] * len(ctf), return_inverse=True)
    distinct = np.column_stack([named.ravel(), optics_of_images(images)])
    _, places = np.unique(distinct, axis=0, return_inverse=True)
    numbers = in_order_of_appearance(places.ravel()) + 1
    found["ctf/exp_group_id"] = numbers.astype(np.uint32)
    if images.b_factors is not None:
        found["ctf/bfactor"] = images.b_factors
    if images.weights is not None:
        found["ctf/scale"] = images.weights
    return {
        name: values if values.dtype.kind == "u" else values.astype(np.float32)
        for name, values in found.items()
    }


def _of_poses(images: ImageTable, pixel_sizes: np.ndarray) -> dict[str, np.ndarray]:
    if images.poses is None:
        return {}
    poses = images.poses
    return {
        "alignments3D/pose": cryosparc_poses_from_matrices(poses.rotations).astype(np.float32),
        "alignments3D/shift": (poses.shifts / pixel_sizes[:, None]).astype(np.float32),
        "alignments3D/psize_A": pixel_sizes,
    }
