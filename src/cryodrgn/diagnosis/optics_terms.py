"""Signs of the aberrations that a file gives, tested on its images.

Every term is taken with the other sign, and left out; images are predicted under each from maps
of the other half, as for the conventions of poses (:mod:`cryodrgn.diagnosis.fit`), up to the
resolution at which the terms matter.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int

from cryodrgn.diagnosis.convention_verdict import Comparison, Verdict, compare_all
from cryodrgn.diagnosis.conventions import (
    ABSENT,
    WRONG_SIGN,
    Convention,
    term_alternatives,
)
from cryodrgn.diagnosis.fit import MAX_RADIUS, QuickImages
from cryodrgn.imaging.aberrations import zernike_phases
from cryodrgn.particles.image_table import ImageTable

# Phase in radians, or attenuation in nats, from which images can show a term; and the highest
# frequency up to which they are compared, in cycles per box.
VISIBLE, HIGHEST_RADIUS = 1.0, 60
NUM_ANGLES = 60


def term_comparisons(
    images: ImageTable,
    rows: Int[np.ndarray, " rows"],
    convention: Convention,
    *,
    invert: bool = False,
) -> list[Comparison]:
    """The optics of a file against other signs of its terms; none where it gives no term.

    Args:
        images: The images, with poses.
        rows: A sample of them, of one pixel size.
        convention: How to understand poses and CTF, as it fits best.
        invert: Whether to change the sign of the data.
    """
    table = images.ctf
    others = term_alternatives(
        has_odd=table is not None and table.odd_zernike is not None,
        has_even=table is not None and table.even_zernike is not None,
        has_attenuation=images.b_factors is not None or images.weights is not None,
    )
    if not others:
        return []
    quick = QuickImages(images, rows, radius_of_terms(images, rows), invert=invert)
    found = compare_all(quick, quick.fit(convention), convention, others)
    return list(found.values())


def radius_of_terms(images: ImageTable, rows: Int[np.ndarray, " rows"]) -> int:
    """Radius in cycles per box up to which images must be compared to show their terms.

    There the phases of their aberrations, and the attenuation by their B factors, have reached
    one and a half times a radian or a nat, or else a fixed limit.
    """
    side = float(images.side_lengths[rows[0]])
    for radius in range(MAX_RADIUS, HIGHEST_RADIUS):
        if _size_at(images, rows, radius / side) > 1.5 * VISIBLE:
            return radius
    return HIGHEST_RADIUS


def _size_at(images: ImageTable, rows: Int[np.ndarray, " rows"], frequency: float) -> float:
    """Largest phase in radians, or attenuation in nats, of any image on a ring in 1/Å."""
    sizes = [0.0]
    if images.ctf is not None:
        angles = torch.arange(NUM_ANGLES) * (2 * math.pi / NUM_ANGLES)
        ring = frequency * torch.stack([angles.cos(), angles.sin()], dim=-1)[None]
        coefficients = {True: images.ctf.odd_zernike, False: images.ctf.even_zernike}
        for is_odd, values in coefficients.items():
            if values is not None:
                different = torch.from_numpy(np.unique(values[rows], axis=0))
                phases = zernike_phases(ring, different, is_odd=is_odd)
                sizes.append(float(phases.abs().max()))
    if images.b_factors is not None:
        sizes.append(float(np.ptp(images.b_factors[rows])) / 4 * frequency**2)
    if images.weights is not None:
        sizes.append(2 * VISIBLE)
    return max(sizes)


def with_terms(
    verdict: Verdict, comparisons: Sequence[Comparison], wrong_state: Sequence[str] = ()
) -> Verdict:
    """A verdict that counts the optics of the file, too.

    Args:
        verdict: On poses, CTF and sign.
        comparisons: What :func:`term_comparisons` found.
        wrong_state: What is wrong with the stated correction of the images, in words.
    """
    # The other sign of a term says more than that the term is better left out.
    better = sorted((c for c in comparisons if c.is_better), key=lambda c: c.gain)
    by_term = {_term(c.words): c.words for c in better}
    wrong = (*wrong_state, *by_term.values())
    unclear = [c.words for c in comparisons if not c.is_better and not c.is_worse]
    sentence = verdict.sentence
    if wrong:
        sentence = f"{sentence} But the optics do not fit: {'; '.join(wrong)}."
    elif unclear:
        sentence = f"{sentence} The images do not tell if {', or if '.join(unclear)}."
    elif comparisons:
        sentence = f"{sentence} {borne_out(comparisons)}"
    return replace(
        verdict,
        passed=verdict.passed and not wrong,
        sentence=sentence,
        changes=(*verdict.changes, *wrong),
        comparisons=(*verdict.comparisons, *comparisons),
    )


def borne_out(comparisons: Sequence[Comparison]) -> str:
    """The sentence on terms that fit the images better than others do."""
    terms = " and ".join(dict.fromkeys(_term(c.words).strip() for c in comparisons))
    signs = any(c.words.endswith(WRONG_SIGN) for c in comparisons)
    return f"The images bear out the {terms} that the file gives{', and their signs' * signs}."


def _term(words: str) -> str:
    """The term that words are about, without what is wrong with it."""
    return words.removesuffix(WRONG_SIGN).removesuffix(ABSENT)
