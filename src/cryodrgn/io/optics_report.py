"""Terms of the optics that something ignores, in one sentence with their sizes."""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass
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
    terms = _Terms(metadata, pixel_sizes).in_words(ignored)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """Terms that a file gives of its images' optics, in words.

    Attributes:
        metadata: The file's table.
        pixel_sizes: Å/px of each image; None where they are not known.
    """

    metadata: ParticleMetadata
    pixel_sizes: Float[np.ndarray, " particles"] | None

    def in_words(self, kinds: Collection[Term]) -> list[tuple[Term, str]]:
        """Those of some kinds, each with its kind."""
        found = {
            Term.ANTISYMMETRIC: self._antisymmetric,
            Term.SYMMETRIC: self._symmetric,
            Term.CORRECTION: self._correction,
            Term.ATTENUATION: self._attenuation,
            Term.MAGNIFICATION: self._magnification,
            Term.DETECTOR: self._detector,
            Term.SCALES: self._scales,
        }
        return [
            (kind, text) for kind, told in found.items() if kind in kinds for text in told()
        ]

    def _antisymmetric(self) -> list[str]:
        return self._phases("odd_zernike", "antisymmetric aberrations (beam tilt, trefoil)")

    def _symmetric(self) -> list[str]:
        return self._phases("even_zernike", "symmetric aberrations")

    def _phases(self, name: str, words: str) -> list[str]:
        """A kind of aberration, with its largest phase at the Nyquist frequency."""
        terms = self.metadata.optics_terms()
        if name not in terms:
            return []
        sizes = _largest_phases(terms[name], self._nyquist(), is_odd=name == "odd_zernike")
        row = int(sizes.argmax())
        size = f" of up to {math.degrees(sizes[row]):.0f}° at the Nyquist frequency"
        return [f"{words}{'' if self.pixel_sizes is None else size}{self._group(row)}"]

    def _correction(self) -> list[str]:
        corrected = self.metadata.optics_terms().get("correction")
        if corrected is None:
            return []
        return [f"that {np.count_nonzero(corrected)} images were corrected for the CTF"]

    def _attenuation(self) -> list[str]:
        """B factors and scales that a file gives, with their size."""
        attenuation, found = self.metadata.attenuation(), []
        if "b_factors" in attenuation:
            falls = np.exp(-attenuation["b_factors"] / 4 * self._nyquist() ** 2)
            row = int(falls.argmin())
            size = f"up to {attenuation['b_factors'][row]:.3g} Å²"
            if self.pixel_sizes is not None:
                size = f"amplitudes down to {falls[row]:.2g} at the Nyquist frequency"
            found.append(f"B factors ({size}{self._group(row)})")
        if "weights" in attenuation:
            low, high = attenuation["weights"].min(), attenuation["weights"].max()
            row = int(attenuation["weights"].argmin())
            found.append(f"scales from {low:.3g} to {high:.3g}{self._group(row)}")
        return found

    def _magnification(self) -> list[str]:
        matrices = self.metadata.magnifications()
        if matrices is None:
            return []
        sizes = np.abs(matrices - np.eye(2)).max((1, 2))
        row = int(sizes.argmax())
        size = f"up to {100 * sizes[row]:.2g} %{self._group(row)}"
        return [f"anisotropic magnifications (by {size})"]

    def _detector(self) -> list[str]:
        curves = self.metadata.detector_curves()
        if not curves:
            return []
        named = ", ".join(f"{name} of optics group {group}" for group, name in curves.items())
        words = (
            f"the detector's MTF ({named}), which weakens amplitudes of a group alike and is "
            "no error of phases (0° at the Nyquist frequency)"
        )
        return [words]

    def _scales(self) -> list[str]:
        found = self.metadata.refined_scales()
        if found is None:
            return []
        name, values = found
        words = (
            f"scales that the refinement gave to images ({name} from {values.min():.3g} to "
            f"{values.max():.3g}{self._group(int(values.argmin()))}), which are contrasts and "
            "no errors of phases (0° at the Nyquist frequency)"
        )
        return [words]

    def _nyquist(self) -> Float[np.ndarray, " particles"]:
        """Nyquist frequency of every image in 1/Å; of 1 Å/px where sizes are not known."""
        known = np.ones(len(self.metadata)) if self.pixel_sizes is None else self.pixel_sizes
        return 0.5 / known

    def _group(self, row: int) -> str:
        groups = self.metadata.categories().get("optics group")
        return "" if groups is None else f", optics group {groups[row]}"


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
