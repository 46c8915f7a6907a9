"""Pixel sizes of the groups of a set, each tested against a map of all other images.

Images whose pixel size is s times what the file says show at the frequency k what a map of the
others holds at k / s. A group is predicted under several s, as conventions of poses are
(:mod:`cryodrgn.diagnosis.fit`); its own images have no part in the map. Coarse maps, whose
outer parts interpolation weakens, favour some s beside 1: which, one half of the most frequent
group tells by a map of its other half, and s counts from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.diagnosis.convention_verdict import CLEAR, Verdict
from cryodrgn.diagnosis.conventions import Convention
from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.imaging.likelihood import log_likelihood_ratios_of_shells, matched_terms, predict
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.particles.copies import (
    in_order_of_appearance,
    number_of_different,
    standard_error,
)
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.pixel_sizes import rows_by_pixel_size

# Highest frequency compared, in cycles per box: at it a molecule half as wide as the box is out
# of step by a third of a radian if its pixel size is wrong by 1 %.
RADIUS = 32
# Relative pixel sizes that are tried.
SCALES = np.arange(0.96, 1.0401, 0.005)
# Relative error that is told: calibrations are no better, nor are coarse maps.
LEAST_ERROR = 0.007
# Groups with fewer images in the sample tell nothing; of larger ones so many are compared.
LEAST, MOST = 50, 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSize:
    """The pixel size that fits a group of images best.

    Attributes:
        stated: What the file says, in Å.
        count: Number of images compared.
        scale: Best pixel size over the stated one.
        difference: Mean gain of an image over that of the stated size, in nats.
        error: Standard error of the difference.
    """

    stated: float
    count: int
    scale: float
    difference: float
    error: float

    @property
    def is_wrong(self) -> bool:
        """True if another size than the stated one fits clearly better."""
        return abs(self.scale - 1) > LEAST_ERROR and self.difference > CLEAR * self.error

    def in_words(self) -> str:
        """Sentence that names the wrong pixel size and its error."""
        return (
            f"images of {self.stated:.6g} Å/px fit a map of the others as images of "
            f"{self.stated * self.scale:.4g} Å/px ({100 * (self.scale - 1):+.1f} %)"
        )


def group_sizes(
    images: ImageTable,
    rows: Int[np.ndarray, " rows"],
    convention: Convention,
    *,
    invert: bool = False,
) -> list[GroupSize]:
    """The best pixel size of every group but the most frequent; none in a set of one.

    Args:
        images: The images, with poses.
        rows: A sample of them.
        convention: How to understand poses and CTF.
        invert: Whether to change the sign of the data.
    """
    groups = rows_by_pixel_size(images.pixel_sizes_in_files[rows])
    numbers = images.numbers[rows]
    groups = [
        places
        for places in groups
        if number_of_different(numbers[places], len(places)) >= LEAST
    ]
    if len(groups) < 2:
        return []
    quick = QuickImages(images, rows, RADIUS, invert=invert)
    everyone, found = np.arange(len(rows)), []
    is_first = in_order_of_appearance(quick.numbers[groups[0]]) % 2 == 0
    half = _map_of(quick, groups[0][is_first], convention)
    neutral = _best_scale(quick, half, groups[0][~is_first], convention)
    for places in groups[1:]:
        spectrum = _map_of(quick, np.setdiff1d(everyone, places), convention)
        chosen = places[np.linspace(0, len(places) - 1, min(len(places), MOST)).astype(int)]
        best = _best_scale(quick, spectrum, chosen, convention)
        difference, stated = (
            _gains(quick, spectrum, chosen, convention, scale) for scale in (best, neutral)
        )
        difference = difference - stated
        found.append(
            GroupSize(
                stated=float(images.pixel_sizes_in_files[rows[places[0]]]),
                count=len(chosen),
                scale=best / neutral,
                difference=float(difference.mean()),
                error=standard_error(difference, quick.numbers[chosen]),
            )
        )
    return found


def with_group_sizes(verdict: Verdict, found: Sequence[GroupSize]) -> Verdict:
    """A verdict that counts the pixel sizes of groups, too."""
    wrong = tuple(size.in_words() for size in found if size.is_wrong)
    sentence = verdict.sentence
    if wrong:
        sentence = f"{sentence} But pixel sizes do not fit together: {'; '.join(wrong)}."
    elif found:
        sentence = f"{sentence} The pixel sizes of all groups fit together."
    return replace(
        verdict,
        passed=verdict.passed and not wrong,
        sentence=sentence,
        changes=(*verdict.changes, *wrong),
    )


def _map_of(
    quick: QuickImages, places: Int[np.ndarray, " images"], convention: Convention
) -> torch.Tensor:
    sums = SliceAccumulator(quick.grid, 1, 1, torch.device("cpu"))
    for part in np.array_split(places, -(-len(places) // MOST)):
        values, transfer, points = quick.model(part, convention)
        weighted, weights = matched_terms(values, transfer)
        ones = torch.ones(len(weighted), 1)
        sums.add(points, weighted, weights, ones, ones)
    return quick.solve(sums)[0]


def _gains(
    quick: QuickImages,
    spectrum: torch.Tensor,
    places: Int[np.ndarray, " images"],
    convention: Convention,
    scale: float,
) -> Float[np.ndarray, " images"]:
    """Log-likelihood gained per image by a prediction at frequencies over a scale."""
    scales = np.full(len(places), scale)
    values, transfer, points = quick.model(places, convention, scales=scales)
    # Beyond the last frequency of the map there is none to read.
    inside = (points.norm(dim=-1) <= quick.radius).float()
    slices = quick.sample(spectrum, points * inside[..., None]) * inside[..., None]
    cross, power, total = quick.products(values, predict(slices, transfer))
    fitted = (cross.sum(0) / power.sum(0).clamp_min(1e-12)).clamp_min(0)
    variance = total.sum(0) / total.count_nonzero(0).clamp_min(1) / quick.points_of_shells
    gains = log_likelihood_ratios_of_shells(cross, power, variance.clamp_min(1e-30) / 2, fitted)
    return gains.double().numpy()


def _best_scale(
    quick: QuickImages,
    spectrum: torch.Tensor,
    places: Int[np.ndarray, " images"],
    convention: Convention,
) -> float:
    """Scale at the top of the parabola through the largest mean gain and its neighbours."""
    values = np.array(
        [_gains(quick, spectrum, places, convention, scale).mean() for scale in SCALES]
    )
    best = int(values.argmax())
    if not 0 < best < len(values) - 1:
        return float(SCALES[best])
    low, middle, high = values[best - 1 : best + 2]
    curvature = low - 2 * middle + high
    shift = 0.0 if curvature >= 0 else 0.5 * (low - high) / curvature
    return float(SCALES[best] + shift * (SCALES[1] - SCALES[0]))
