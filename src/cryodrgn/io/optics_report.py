"""Terms of the optics that something cannot account for, in one sentence with their sizes."""

import logging
import math

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.imaging.aberrations import zernike_phases
from cryodrgn.io.metadata import ParticleMetadata

logger = logging.getLogger(__name__)

NUM_ANGLES = 72
ABERRATIONS = {
    "odd_zernike": "antisymmetric aberrations (beam tilt, trefoil)",
    "even_zernike": "symmetric aberrations",
}


def warn_of_ignored_terms(
    metadata: ParticleMetadata,
    pixel_sizes: Float[np.ndarray, " particles"],
    words: str,
    *,
    with_others: bool = True,
) -> None:
    """Say once what is ignored of the optics that a file gives; nothing if it gives no more.

    Args:
        metadata: The file's table.
        pixel_sizes: Å/px of each image, of which the Nyquist frequency follows.
        words: Why the terms are ignored and what to do, after "…: ".
        with_others: Whether B factors, scales and magnifications are ignored, too.
    """
    terms = aberrations_in_words(metadata, pixel_sizes)
    if with_others:
        terms += attenuation_in_words(metadata, pixel_sizes)
        matrices = metadata.magnifications()
        if matrices is not None:
            sizes = np.abs(matrices - np.eye(2)).max((1, 2))
            row = int(sizes.argmax())
            size = f"up to {100 * sizes[row]:.2g} %{_group(metadata, row)}"
            terms.append(f"anisotropic magnifications (by {size})")
    if terms:
        logger.warning("%s gives %s: %s", metadata.path, ", ".join(terms), words)


def tell_of_detector(metadata: ParticleMetadata) -> None:
    """Say that the detector's MTF is ignored, and what that does; nothing if none is named."""
    curves = metadata.detector_curves()
    if curves:
        named = ", ".join(f"{name} of optics group {group}" for group, name in curves.items())
        logger.info(
            "%s gives the detector's MTF (%s), which is ignored: it weakens amplitudes of a "
            "group alike and is no error of phases (0° at the Nyquist frequency)",
            metadata.path,
            named,
        )


def aberrations_in_words(
    metadata: ParticleMetadata, pixel_sizes: Float[np.ndarray, " particles"]
) -> list[str]:
    """Aberrations and state of the images that a file gives beyond the plain CTF.

    Each with its phase at the Nyquist frequency, and the optics group in which it is largest.
    """
    terms, nyquist, found = metadata.optics_terms(), 0.5 / pixel_sizes, []
    for name, words in ABERRATIONS.items():
        if name in terms:
            sizes = _largest_phases(terms[name], nyquist, is_odd=name == "odd_zernike")
            row = int(sizes.argmax())
            size = f"up to {math.degrees(sizes[row]):.0f}° at the Nyquist frequency"
            found.append(f"{words} of {size}{_group(metadata, row)}")
    if "correction" in terms:
        found.append(f"{np.count_nonzero(terms['correction'])} images corrected for the CTF")
    return found


def attenuation_in_words(
    metadata: ParticleMetadata, pixel_sizes: Float[np.ndarray, " particles"]
) -> list[str]:
    """B factors and scales that a file gives, with their size."""
    attenuation, nyquist, found = metadata.attenuation(), 0.5 / pixel_sizes, []
    if "b_factors" in attenuation:
        falls = np.exp(-attenuation["b_factors"] / 4 * nyquist**2)
        row = int(falls.argmin())
        size = f"amplitudes down to {falls[row]:.2g} at the Nyquist frequency"
        found.append(f"B factors ({size}{_group(metadata, row)})")
    if "weights" in attenuation:
        low, high = attenuation["weights"].min(), attenuation["weights"].max()
        found.append(f"scales from {low:.3g} to {high:.3g}")
    return found


def _largest_phases(
    coefficients: Float[np.ndarray, "particles count"],
    frequencies: Float[np.ndarray, " particles"],
    *,
    is_odd: bool,
) -> Float[np.ndarray, " particles"]:
    """Largest phase in radians of every image on a ring in 1/Å."""
    kinds = np.column_stack([coefficients, frequencies])
    different, places = np.unique(kinds, axis=0, return_inverse=True)
    angles = torch.arange(NUM_ANGLES, dtype=torch.float64) * (2 * math.pi / NUM_ANGLES)
    circle = torch.stack([angles.cos(), angles.sin()], dim=-1)
    table = torch.from_numpy(different.astype(np.float64))
    phases = zernike_phases(table[:, -1, None, None] * circle, table[:, :-1], is_odd=is_odd)
    return phases.abs().amax(1).numpy()[places.ravel()]


def _group(metadata: ParticleMetadata, row: int) -> str:
    groups = metadata.categories().get("optics group")
    return "" if groups is None else f", optics group {groups[row]}"
