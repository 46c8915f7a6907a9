"""Terms of the optics that something ignores, in one sentence with their sizes."""

import logging
import math
from collections.abc import Collection
from enum import Enum, auto

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.imaging.aberrations import zernike_phases
from cryodrgn.io.metadata import ParticleMetadata

logger = logging.getLogger(__name__)

NUM_ANGLES = 72


class Term(Enum):
    """A kind of terms that a file may give of its images' optics."""

    DETECTOR = auto()
    SCALES = auto()
    ANTISYMMETRIC = auto()
    SYMMETRIC = auto()
    CORRECTION = auto()
    ATTENUATION = auto()
    MAGNIFICATION = auto()


# What no command accounts for: amplitudes that are weaker, of groups or of images.
BY_ALL = frozenset({Term.DETECTOR, Term.SCALES})
# Without a CTF nothing knows of its phases.
WITHOUT_CTF = BY_ALL | {Term.ANTISYMMETRIC, Term.SYMMETRIC, Term.CORRECTION}
# Where the sign of the CTF is all that counts.
BY_PHASE_FLIPPING = BY_ALL | {Term.ANTISYMMETRIC, Term.ATTENUATION}
# What a stack without its file does not say, nor a pickle.
WITHOUT_FILE = frozenset(Term)


def tell_of_ignored(
    metadata: ParticleMetadata,
    pixel_sizes: Float[np.ndarray, " particles"] | None,
    ignored: Collection[Term],
    advice: str = "",
) -> None:
    """Say in one sentence what is ignored of the optics that a file gives, if anything.

    Every term comes with its phase at the Nyquist frequency, or what it does to amplitudes
    there, and the optics group in which it is largest.

    Args:
        metadata: The file's table.
        pixel_sizes: Å/px of each image, of which the Nyquist frequency follows; None where
            they are not known, and no sizes are said.
        ignored: Kinds of terms that are ignored.
        advice: What to do, for the end of the sentence.
    """
    found = {
        Term.ANTISYMMETRIC: _antisymmetric_in_words,
        Term.SYMMETRIC: _symmetric_in_words,
        Term.CORRECTION: _correction_in_words,
        Term.ATTENUATION: _attenuation_in_words,
        Term.MAGNIFICATION: _magnification_in_words,
        Term.DETECTOR: _detector_in_words,
        Term.SCALES: _scales_in_words,
    }
    terms = [
        (kind, text)
        for kind, in_words in found.items()
        if kind in ignored
        for text in in_words(metadata, pixel_sizes)
    ]
    if not terms:
        return
    matters = any(kind not in BY_ALL for kind, _ in terms)
    logger.log(
        logging.WARNING if matters else logging.INFO,
        "ignored of %s: %s%s",
        metadata.path,
        ", ".join(text for _, text in terms),
        f"; {advice}" if advice and matters else "",
    )


def _antisymmetric_in_words(
    metadata: ParticleMetadata, pixel_sizes: Float[np.ndarray, " particles"] | None
) -> list[str]:
    words = "antisymmetric aberrations (beam tilt, trefoil)"
    return _phases_in_words(metadata, pixel_sizes, "odd_zernike", words)


def _symmetric_in_words(
    metadata: ParticleMetadata, pixel_sizes: Float[np.ndarray, " particles"] | None
) -> list[str]:
    return _phases_in_words(metadata, pixel_sizes, "even_zernike", "symmetric aberrations")


def _phases_in_words(
    metadata: ParticleMetadata,
    pixel_sizes: Float[np.ndarray, " particles"] | None,
    name: str,
    words: str,
) -> list[str]:
    """A kind of aberration, with its largest phase at the Nyquist frequency."""
    terms = metadata.optics_terms()
    if name not in terms:
        return []
    nyquist = _nyquist(metadata, pixel_sizes)
    sizes = _largest_phases(terms[name], nyquist, is_odd=name == "odd_zernike")
    row = int(sizes.argmax())
    size = f" of up to {math.degrees(sizes[row]):.0f}° at the Nyquist frequency"
    return [f"{words}{'' if pixel_sizes is None else size}{_group(metadata, row)}"]


def _correction_in_words(
    metadata: ParticleMetadata,
    pixel_sizes: Float[np.ndarray, " particles"] | None,  # noqa: ARG001
) -> list[str]:
    corrected = metadata.optics_terms().get("correction")
    if corrected is None:
        return []
    return [f"that {np.count_nonzero(corrected)} images were corrected for the CTF"]


def _attenuation_in_words(
    metadata: ParticleMetadata, pixel_sizes: Float[np.ndarray, " particles"] | None
) -> list[str]:
    """B factors and scales that a file gives, with their size."""
    attenuation, found = metadata.attenuation(), []
    if "b_factors" in attenuation:
        nyquist = _nyquist(metadata, pixel_sizes)
        falls = np.exp(-attenuation["b_factors"] / 4 * nyquist**2)
        row = int(falls.argmin())
        size = f"up to {attenuation['b_factors'][row]:.3g} Å²"
        if pixel_sizes is not None:
            size = f"amplitudes down to {falls[row]:.2g} at the Nyquist frequency"
        found.append(f"B factors ({size}{_group(metadata, row)})")
    if "weights" in attenuation:
        low, high = attenuation["weights"].min(), attenuation["weights"].max()
        row = int(attenuation["weights"].argmin())
        found.append(f"scales from {low:.3g} to {high:.3g}{_group(metadata, row)}")
    return found


def _magnification_in_words(
    metadata: ParticleMetadata,
    pixel_sizes: Float[np.ndarray, " particles"] | None,  # noqa: ARG001
) -> list[str]:
    matrices = metadata.magnifications()
    if matrices is None:
        return []
    sizes = np.abs(matrices - np.eye(2)).max((1, 2))
    row = int(sizes.argmax())
    size = f"up to {100 * sizes[row]:.2g} %{_group(metadata, row)}"
    return [f"anisotropic magnifications (by {size})"]


def _detector_in_words(
    metadata: ParticleMetadata,
    pixel_sizes: Float[np.ndarray, " particles"] | None,  # noqa: ARG001
) -> list[str]:
    curves = metadata.detector_curves()
    if not curves:
        return []
    named = ", ".join(f"{name} of optics group {group}" for group, name in curves.items())
    words = (
        f"the detector's MTF ({named}), which weakens amplitudes of a group alike and is no "
        "error of phases (0° at the Nyquist frequency)"
    )
    return [words]


def _scales_in_words(
    metadata: ParticleMetadata,
    pixel_sizes: Float[np.ndarray, " particles"] | None,  # noqa: ARG001
) -> list[str]:
    found = metadata.refined_scales()
    if found is None:
        return []
    name, values = found
    words = (
        f"scales that the refinement gave to images ({name} from {values.min():.3g} to "
        f"{values.max():.3g}{_group(metadata, int(values.argmin()))}), which are contrasts and "
        "no errors of phases (0° at the Nyquist frequency)"
    )
    return [words]


def _nyquist(
    metadata: ParticleMetadata, pixel_sizes: Float[np.ndarray, " particles"] | None
) -> Float[np.ndarray, " particles"]:
    """Nyquist frequency of every image in 1/Å; of 1 Å/px where sizes are not known."""
    return 0.5 / (np.ones(len(metadata)) if pixel_sizes is None else pixel_sizes)


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
