"""Images that were taken under the same optics, and so share a spectrum of noise."""

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.particles.image_table import ImageTable

# Smaller groups say too little of their own noise and share one spectrum.
LEAST_GROUP = 500


def optics_groups(images: ImageTable) -> Int[np.ndarray, " images"]:
    """Number of the optics group of every image.

    Images make a group that are said to, or else those of equal pixel size, voltage, spherical
    aberration and amplitude contrast; groups of fewer than 500 images are put together.
    """
    if images.optics_groups is None:
        _, groups = np.unique(optics_of_images(images), axis=0, return_inverse=True)
    else:
        _, groups = np.unique(images.optics_groups, return_inverse=True)
    counts = np.bincount(groups.ravel())
    large = counts >= LEAST_GROUP
    names = np.cumsum(large) - 1
    names[~large] = names.max() + 1
    return np.unique(names[groups.ravel()], return_inverse=True)[1].ravel()


def optics_of_groups(
    images: ImageTable, groups: Int[np.ndarray, " images"]
) -> tuple[Float[np.ndarray, "kinds 4"], Int[np.ndarray, " kinds"]]:
    """The optics of all groups, of which those that were put together have several.

    Args:
        images: The images.
        groups: Their groups.

    Returns:
        optics: Pixel size (Å/px), voltage (kV), spherical aberration (mm) and amplitude
            contrast, once each.
        groups: The group of each.
    """
    optics = optics_of_images(images)
    rows = np.column_stack([optics, groups])
    _, first = np.unique(rows, axis=0, return_index=True)
    return optics[first], groups[first]


def groups_by_optics(
    images: ImageTable, optics: Float[np.ndarray, "kinds 4"]
) -> Int[np.ndarray, " images"]:
    """The most similar of known optics for every image, by relative difference."""
    scale = np.abs(optics).max(0).clip(1e-12)
    distances = [np.abs((optics_of_images(images) - group) / scale).sum(1) for group in optics]
    return np.argmin(distances, axis=0)


def shares_of_optics(
    images: ImageTable, optics: Float[np.ndarray, "kinds 4"]
) -> Float[np.ndarray, "groups kinds"]:
    """Shares of the images of every optics group that are most similar to known optics."""
    groups = optics_groups(images)
    counts = np.zeros((groups.max() + 1, len(optics)), np.float32)
    np.add.at(counts, (groups, groups_by_optics(images, optics)), 1)
    return counts / counts.sum(1, keepdims=True)


def optics_of_images(images: ImageTable) -> Float[np.ndarray, "images 4"]:
    """Pixel size, voltage, spherical aberration and amplitude contrast of every image."""
    ctf, zeros = images.ctf, np.zeros(len(images), np.float32)
    columns = [images.pixel_sizes_in_files, zeros, zeros, zeros]
    if ctf is not None:
        columns[1:] = [ctf.voltage_kv, ctf.spherical_aberration_mm, ctf.amplitude_contrast]
    return np.stack(columns, axis=1).astype(np.float32)
