"""The verdict on poses and CTF: which convention fits the images, and whether it is clear."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cryodrgn.diagnosis.conventions import (
    STATED,
    Convention,
    alternatives,
    pixel_words,
)
from cryodrgn.diagnosis.fit import Fit, QuickImages
from cryodrgn.fourier.shells import ShellCurve, fourier_shell_correlation, weight_shells
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.progress import track

logger = logging.getLogger(__name__)

# Standard errors by which one convention must fit better than another to count as better, and
# the least share of its gain that the difference must make up.
CLEAR, LEAST_SHARE = 5.0, 0.01
# The same for the images' own poses over shuffled ones.
LEAST_SHARE_OVER_CONTROL = 0.1
# Skewness of a map from which its sign is told, in both half maps.
LEAST_SKEWNESS = 0.15
MAX_CHANGES = 3
WRONG_SIGN = "density comes out negative, the sign must be inverted (add or drop `invert`)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One convention against the stated one.

    Attributes:
        words: What the convention says is wrong with the file.
        convention: The convention.
        gain: Mean gain of an image, in nats.
        difference: By how much that is more than under the stated convention.
        error: Standard error of the difference.
    """

    words: str
    convention: Convention
    gain: float
    difference: float
    error: float

    @property
    def is_better(self) -> bool:
        """True if images fit this convention clearly better than the stated one."""
        share = LEAST_SHARE * max(self.gain, 0.0)
        return self.difference > max(CLEAR * self.error, share)

    @property
    def is_worse(self) -> bool:
        """True if images fit this convention clearly worse than the stated one."""
        return self.difference < -CLEAR * self.error


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verdict:
    """Verdict on poses, CTF and sign.

    Attributes:
        passed: Whether the file is right as it stands.
        sentence: The verdict in words.
        changes: What is wrong with the file, in words; empty if nothing is.
        convention: The convention that fits best.
        fit: How the images fit it.
        comparisons: All conventions that were compared with the stated one.
        stated_gain: Mean gain of an image under the stated convention, in nats.
        control_gain: The same with the rows of the tables shuffled.
        skewness: Of the map, positive if density is positive; None if no map was found.
        fsc: Fourier shell correlation of the half maps of the best convention.
    """

    passed: bool
    sentence: str
    changes: tuple[str, ...]
    convention: Convention
    fit: Fit
    comparisons: tuple[Comparison, ...]
    stated_gain: float
    control_gain: float
    skewness: float | None
    fsc: ShellCurve


def judge(images: QuickImages, *, seed: int = 0) -> Verdict:
    """Compare the stated convention with all others, and say which one fits.

    Args:
        images: A sample of the images.
        seed: Of the shuffled control.
    """
    table = images.table
    order = np.random.default_rng(seed).permutation(len(table))
    stated = images.fit(STATED)
    others = alternatives(
        has_ctf=table.ctf is not None,
        has_shifts=bool(np.abs(table.require_poses().shifts).max(initial=0) > 0),
        is_corrected=table.ctf is not None and table.ctf.correction is not None,
    )
    found = compare_all(images, stated, STATED, others)
    comparisons = list(found.values())

    best, changes, convention = stated, [], STATED
    for _ in range(MAX_CHANGES):
        better = {words: c for words, c in found.items() if c.is_better}
        if not better:
            break
        words = max(better, key=lambda name: better[name].gain)
        convention = better[words].convention
        if convention.pixel_scale != 1.0:
            convention, words = _finer_scale(images, convention)
        changes.append(words)
        best = images.fit(convention)
        if not belong_together(best, images.fit(convention, order)):
            break
        found = compare_all(images, best, convention, others)
    control = images.fit(convention, order)
    return _verdict(stated, control, best, tuple(changes), convention, comparisons)


def compare_all(
    images: QuickImages, base: Fit, start: Convention, others: Mapping[str, Convention]
) -> dict[str, Comparison]:
    """Every change that a convention does not have yet, against that convention."""
    results = {}
    for words, change in track(others.items(), len(others), "comparing conventions", ""):
        convention = start.combined(change)
        is_searched = change.pixel_scale != 1.0 and start.pixel_scale != 1.0
        if convention == start or is_searched:
            continue
        fit = images.fit(convention)
        difference, error = fit.beyond(base)
        results[words] = Comparison(
            words=words,
            convention=convention,
            gain=fit.mean_gain,
            difference=difference,
            error=error,
        )
    return results


def _finer_scale(images: QuickImages, convention: Convention) -> tuple[Convention, str]:
    """The pixel scale about that of a convention under which images fit best."""
    scales = convention.pixel_scale * np.array([0.93, 0.965, 1.0, 1.035, 1.07])
    conventions = [replace(convention, pixel_scale=float(scale)) for scale in scales]
    gains = [images.fit(candidate).mean_gain for candidate in conventions]
    winner = conventions[int(np.argmax(gains))]
    return winner, pixel_words(winner.pixel_scale)


def belong_together(fit: Fit, control: Fit) -> bool:
    """True if images fit their own poses clearly better than those of other images."""
    difference, error = fit.beyond(control)
    return difference > max(CLEAR * error, LEAST_SHARE_OVER_CONTROL * control.mean_gain)


def _verdict(
    stated: Fit,
    control: Fit,
    best: Fit,
    changes: tuple[str, ...],
    convention: Convention,
    comparisons: list[Comparison],
) -> Verdict:
    fsc = fourier_shell_correlation(*best.half_maps)
    fits = belong_together(best, control)
    skewness = _skewness(best) if fits else None
    if not fits:
        changes = ("poses do not belong to these images (as if rows were shuffled)",)
        sentence = (
            "The images fit their poses no better than poses of other images, under any "
            "convention: the rows of poses and stack do not belong together, or there are too "
            "few images for their noise."
        )
    else:
        if skewness is not None and skewness < 0:
            changes = (*changes, WRONG_SIGN)
        sentence = _sentence(stated, control, changes, skewness)
    return Verdict(
        passed=not changes,
        sentence=sentence,
        changes=changes,
        convention=convention,
        fit=best,
        comparisons=tuple(comparisons),
        stated_gain=stated.mean_gain,
        control_gain=control.mean_gain,
        skewness=skewness,
        fsc=fsc,
    )


def _sentence(
    stated: Fit, control: Fit, changes: tuple[str, ...], skewness: float | None
) -> str:
    if changes:
        return f"The file does not fit its images as it stands: {'; '.join(changes)}."
    sign = "" if skewness is not None else " The sign of the data could not be told."
    return (
        "Poses and CTF fit the images as they stand: every image gains "
        f"{stated.mean_gain:.3g} nats of likelihood, {control.mean_gain:.3g} with shuffled "
        f"rows, and no other convention fits better.{sign}"
    )


def _skewness(fit: Fit) -> float | None:
    """Skewness of the map within a ball; None if the half maps do not agree on its sign.

    Molecules fill a small part of the box densely, so the density of a map of the right sign
    has a long tail towards positive values.
    """
    box_size = len(fit.half_maps[0])
    inside = soft_sphere(box_size, 0.4 * box_size, 1.0) > 0.5
    curve = fourier_shell_correlation(*fit.half_maps).values.clamp(0, 1)
    filtered = [weight_shells(half, curve)[inside] for half in fit.half_maps]
    values = []
    for voxels in filtered:
        centred = voxels - voxels.mean()
        values.append(float(centred.pow(3).mean() / centred.square().mean().pow(1.5)))
    if min(abs(value) for value in values) < LEAST_SKEWNESS or values[0] * values[1] < 0:
        return None
    return sum(values) / 2
