"""Aberrations, attenuation and state of the images in RELION's particle files.

Columns stand in the optics table or, in RELION 3.0 and files of other programs, in that of the
particles. Conventions are those of RELION's manual ("Conventions").
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import MetadataError
from cryodrgn.particles.optics import (
    CORRECTIONS,
    Correction,
    beam_tilt_coefficients,
    sum_of_coefficients,
)

logger = logging.getLogger(__name__)

BEAM_TILT = ("rlnBeamTiltX", "rlnBeamTiltY")
ODD, EVEN = "rlnOddZernike", "rlnEvenZernike"
B_FACTOR, SCALE = "rlnCtfBfactor", "rlnCtfScalefactor"
CORRECTED: dict[str, Correction] = {
    "rlnCtfDataArePhaseFlipped": "flipped",
    "rlnCtfDataAreCtfPremultiplied": "multiplied",
}
# Coefficients up to degree nine are more than any refinement has.
MOST_COEFFICIENTS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Access to the columns of a file, joined with its optics groups.

    Attributes:
        path: The file, for messages.
        has: Whether there is a column of a name.
        numbers: A column of numbers, for every particle.
        vectors: A column of vectors such as ``[0.1,0.2]``, for every particle.
    """

    path: Path
    has: Callable[[str], bool]
    numbers: Callable[[str], Float[np.ndarray, " particles"]]
    vectors: Callable[[str], Float[np.ndarray, "particles count"]]


def has_both(path: Path, pair: tuple[str, str], has: Callable[[str], bool], said: str) -> bool:
    """True if a file has the columns of both axes, False if it has neither.

    Args:
        path: The file, for messages.
        pair: The columns.
        has: Whether there is a column of a name.
        said: Beginning of a sentence on what they hold.

    Raises:
        MetadataError: It has one of them alone.
    """
    given = [name for name in pair if has(name)]
    if len(given) == 1:
        (missing,) = set(pair) - set(given)
        msg = (
            f"{path} has a column {given[0]}, but no {missing}: {said} known along one axis "
            "only; add the other, or remove both to have none"
        )
        raise MetadataError(msg)
    return bool(given)


def aberrations(
    columns: Columns,
    microscope: Callable[[str], Float[np.ndarray, " particles"]],
) -> dict[str, np.ndarray]:
    """Aberrations as columns of a table of the CTF; nothing where there are none.

    A beam tilt counts beside the coefficients of rlnOddZernike, as in RELION.

    Args:
        columns: Of the file.
        microscope: Voltage and spherical aberration of every particle, by field of the table;
            asked for where there is a beam tilt.

    Raises:
        MetadataError: There is one of the two columns of the beam tilt alone.
    """
    found: dict[str, np.ndarray] = {}
    odd = columns.vectors(ODD) if columns.has(ODD) else None
    if has_both(columns.path, BEAM_TILT, columns.has, "the tilt is"):
        tilts = np.stack([columns.numbers(name) for name in BEAM_TILT], axis=1)
        if tilts.any():
            length = microscope("spherical_aberration_mm")
            turned = beam_tilt_coefficients(tilts, microscope("voltage_kv"), length)
            odd = sum_of_coefficients(odd, turned)
    even = columns.vectors(EVEN) if columns.has(EVEN) else None
    for name, values in {"odd_zernike": odd, "even_zernike": even}.items():
        if values is not None and values.any():
            last = int(np.flatnonzero(values.any(0))[-1])
            found[name] = values[:, : last + 1].astype(np.float32)
    return found


def correction(columns: Columns) -> dict[str, Int[np.ndarray, " particles"]]:
    """State of the images as a column of a table of the CTF; nothing where all are recorded.

    Raises:
        MetadataError: Images are said to be phase flipped and multiplied by the CTF.
    """
    states = None
    for name, state in CORRECTED.items():
        if not columns.has(name):
            continue
        rows = columns.numbers(name) != 0
        states = np.zeros(len(rows), np.int64) if states is None else states
        if (states[rows] != 0).any():
            msg = (
                f"{columns.path}: images are said to be both phase flipped and multiplied by "
                f"the CTF ({', '.join(CORRECTED)}); leave the one that holds, and set the "
                "other to 0"
            )
            raise MetadataError(msg)
        states[rows] = CORRECTIONS[state]
    return {} if states is None or not states.any() else {"correction": states}


def attenuation(columns: Columns) -> dict[str, Float[np.ndarray, " particles"]]:
    """B factors and scales as columns of a table of images; nothing where there are none.

    RELION's B factor damps by exp(−B s² / 4). Warp and M write those of tilt images with the
    opposite sign: a column without any positive number is taken to be theirs.

    Raises:
        MetadataError: B factors have both signs, a scale is negative, or all scales are 0.
    """
    found = {}
    if columns.has(B_FACTOR):
        values = columns.numbers(B_FACTOR)
        if (values > 0).any() and (values < 0).any():
            row = int(np.flatnonzero(values < 0)[0])
            msg = (
                f"{columns.path}: {B_FACTOR} of row {row} is {values[row]:g}, but others are "
                "positive: a B factor that raises amplitudes is none of an image; set it to 0"
            )
            raise MetadataError(msg)
        if (values < 0).any():
            words = (
                "%s: %s is negative, as Warp and M write it: its size is taken, and that of "
                "tilt images for their dose alone"
            )
            logger.info(words, columns.path, B_FACTOR)
        if values.any():
            found["b_factors"] = np.abs(values).astype(np.float32)
    if columns.has(SCALE):
        values = columns.numbers(SCALE)
        if (values < 0).any():
            row = int(np.flatnonzero(values < 0)[0])
            msg = f"{columns.path}: {SCALE} of row {row} is {values[row]:g}, expected 0 or more"
            raise MetadataError(msg)
        _say_what_counts_nothing(values, columns.path)
        if (values != 1).any():
            found["weights"] = values.astype(np.float32)
    return found


def _say_what_counts_nothing(scales: Float[np.ndarray, " particles"], path: Path) -> None:
    """Name images of scale 0, which count nothing, and refuse a file of such alone."""
    num_idle = int((scales == 0).sum())
    if num_idle and num_idle == len(scales):
        msg = (
            f"{path}: {SCALE} is 0 for every image that is read, so that none counts; remove "
            "the column, or set it to 1"
        )
        raise MetadataError(msg)
    if num_idle:
        words = "%s: %s is 0 for %d of %d images, which count nothing"
        logger.warning(words, path, SCALE, num_idle, len(scales))


def parse_vector(text: str, path: Path, name: str) -> list[float]:
    """The numbers of a vector that RELION writes as ``[0.1,0.2]``.

    Raises:
        MetadataError: It is no such vector.
    """
    inside = text.strip().removeprefix("[").removesuffix("]")
    try:
        numbers = [float(word) for word in inside.split(",")] if inside.strip() else []
    except ValueError:
        numbers = [np.nan]
    if len(numbers) > MOST_COEFFICIENTS or not np.isfinite(numbers).all():
        shown = text if len(text) < 80 else f"{text[:80]}…"
        msg = (
            f"{path}: column {name} holds {shown!r}, expected up to {MOST_COEFFICIENTS} "
            "numbers in brackets, such as [0.1,0.2]"
        )
        raise MetadataError(msg)
    return numbers
