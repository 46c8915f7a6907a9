"""The B factor of a map, fitted to the amplitudes of its signal (Guinier plot).

Amplitudes of the mean of two half maps are weighted by sqrt(2C / (1 + C)), where C is the
Fourier shell correlation of the half maps (Rosenthal & Henderson 2003). A B factor is that of
the exponential exp(−B s² / 4) by which amplitudes at the spatial frequency s are multiplied:
negative ones sharpen.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.shells import ShellCurve

THRESHOLD = 0.143
# Structure factors of proteins fall like a Gaussian from this resolution on, in Å.
GUINIER_FROM = 10.0
FEWEST_SHELLS = 4
# A slope needs a range: the last frequency fitted is at least so many times the first, squared.
LEAST_RANGE = 2.0
# The coarsest resolution in Å, 7.1, at which there is a fit, wherever it begins.
COARSEST_FITTED = GUINIER_FROM / LEAST_RANGE**0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GuinierFit:
    """A line through the logarithms of amplitudes against the square of the frequency.

    Attributes:
        b_factor: Four times its slope, Å²: the B factor that makes amplitudes level.
        error: Standard error of that, Å².
        intercept: The line's value at frequency zero.
        frequencies: First and last frequency of the fit, 1/Å.
    """

    b_factor: float
    error: float
    intercept: float
    frequencies: tuple[float, float]


@dataclass(frozen=True, slots=True)
class NoFit:
    """A map whose amplitudes are too few, or too coarse, for a line.

    Attributes:
        reason: Why there is no fit, as a clause.
    """

    reason: str


def fsc_weights(curve: ShellCurve) -> Float[Tensor, " shells"]:
    """C_ref = sqrt(2 C / (1 + C)) by shell (Rosenthal & Henderson 2003).

    The correlation of the mean of two half maps with the structure, if C is that of the half
    maps; 0 where C is negative, and from where C first falls below 0.143 on.
    """
    values = curve.values.double().clamp(0, 1)
    weights = (2 * values / (1 + values)).sqrt()
    below = torch.nonzero(curve.values < THRESHOLD)
    if len(below):
        weights[int(below[0]) :] = 0
    return weights.float()


def guinier_fit(
    signal: ShellCurve,
    correlation: ShellCurve,
    box_size: int,
    pixel_size: float,
    coarsest: float = GUINIER_FROM,
) -> GuinierFit | NoFit:
    """Fit the fall of the amplitudes of the signal with resolution.

    ln F = a + B s² / 4 over the shells from ``coarsest`` to the resolution, weighted by how
    well the amplitude of a shell is known.

    Args:
        signal: Root mean square amplitude of the signal by shell.
        correlation: Corrected correlation of the half maps.
        box_size: Side in voxels.
        pixel_size: Å/px.
        coarsest: Resolution in Å from which on amplitudes are fitted.

    Returns:
        The fit, or why there is none: it would have fewer than four shells, or end at a
        resolution coarser than 7.1 Å, or before the square of the frequency has doubled.
    """
    frequencies = signal.frequencies.double() / pixel_size
    weights = fsc_weights(correlation)
    has_signal = (weights > 0) & (signal.values > 0)
    used = (frequencies >= 1 / coarsest) & has_signal
    reason = _why_no_fit(frequencies[has_signal], frequencies[used], coarsest)
    if reason:
        return NoFit(reason)
    squares, logarithms = frequencies[used].square(), signal.values[used].double().log()
    precision = _precision(correlation.values[used].double(), frequencies[used] * pixel_size)
    precision = precision * box_size**2
    total = precision.sum()
    mean_x, mean_y = (precision * squares).sum() / total, (precision * logarithms).sum() / total
    from_mean = squares - mean_x
    spread = (precision * from_mean.square()).sum()
    slope = (precision * from_mean * (logarithms - mean_y)).sum() / spread
    left = logarithms - mean_y - slope * from_mean
    # What a line leaves is more than noise: structure factors are those of one molecule.
    excess = (precision * left.square()).sum() / max(1, len(squares) - 2)
    return GuinierFit(
        b_factor=4 * float(slope),
        error=4 * float((excess.clamp_min(1) / spread).sqrt()),
        intercept=float(mean_y - slope * mean_x),
        frequencies=(float(frequencies[used][0]), float(frequencies[used][-1])),
    )


def _why_no_fit(
    known: Float[Tensor, " shells"], used: Float[Tensor, " used"], coarsest: float
) -> str | None:
    """Reason why no line is fitted to shells of these frequencies, in 1/Å; None if one is.

    Args:
        known: Of all shells with signal.
        used: Of those among them that are no coarser than ``coarsest``.
        coarsest: Resolution in Å at which the fit begins.
    """
    if not len(known):
        return "the half maps agree at no resolution"
    finest = 1 / float(known[-1])
    # As squares, of which that of the limit is exact.
    if finest**2 * LEAST_RANGE > GUINIER_FROM**2:
        found, needed = _told_apart(finest, COARSEST_FITTED)
        return f"too coarse for a fit: {found} Å, and {needed} Å are needed"
    if len(used) < FEWEST_SHELLS:
        return (
            f"too few shells for a fit: {len(used)} from {coarsest:g} to {finest:.1f} Å, and "
            f"{FEWEST_SHELLS} are needed"
        )
    if (coarsest / finest) ** 2 < LEAST_RANGE:
        found, needed = _told_apart(finest, coarsest / LEAST_RANGE**0.5)
        return (
            f"too short a range for a fit: from {coarsest:g} to {found} Å, and {needed} Å are "
            "needed"
        )
    return None


def _told_apart(first: float, second: float) -> tuple[str, str]:
    """Two resolutions with as many decimals, one at least, as they need to look different."""
    texts = [(f"{first:.{n}f}", f"{second:.{n}f}") for n in range(1, 7)]
    return next((pair for pair in texts if pair[0] != pair[1]), texts[-1])


def _precision(
    correlation: Float[Tensor, " shells"], radii: Float[Tensor, " shells"]
) -> Float[Tensor, " shells"]:
    """One over the variance of ln F of a shell, but for a factor of all shells.

    That of ln sqrt(Σ|F|²) of n values, 1 / 2n, and that of ln C_ref with an error (1 − C²)/√n
    of the correlation C.
    """
    of_weight = (1 - correlation.square()) / (2 * correlation * (1 + correlation))
    return radii.square() / (0.5 + of_weight.square())
