"""Several first maps from different seeds: the best of them, and how far the others agree."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import NumericalError
from cryodrgn.geometry.so3_grid import healpix_directions
from cryodrgn.orientation.initial import InitialMap, Sample, initial_map
from cryodrgn.orientation.pose_alignment import align_poses
from cryodrgn.orientation.settings import GridSettings

logger = logging.getLogger(__name__)

# Standard errors by which a structure must explain held-out images better than a blob.
LEAST_ERRORS = 3.0
# Log-likelihood ratio beyond which an image counts as certain, and counts no more.
CERTAIN = 10.0
# All of them together must favour the structure a thousand times: the few images that are held
# out of a small set may agree with one another by chance.
LEAST_EVIDENCE = math.log(1000)
# Directions are told apart on HEALPix's 48 pixels; poses on fewer of them have collapsed.
DIRECTION_LEVEL, LEAST_DIRECTIONS = 1, 3.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Starts:
    """First maps, the best one first.

    Attributes:
        best: The map with the highest score on images that made none of the maps.
        others: The other ones.
        distances_deg: Median angle of their poses to those of the best after global alignment,
            in degrees.
    """

    best: InitialMap
    others: list[InitialMap]
    distances_deg: list[float]


def compare_starts(
    sample: Sample,
    settings: GridSettings,
    seeds: list[int],
    num_classes: int = 1,
    check: Callable[[], None] = lambda: None,
) -> Starts:
    """Make a first map from every seed and report how they compare.

    Args:
        sample: The images.
        settings: Grids of the search.
        seeds: One per start.
        num_classes: Maps of every start.
        check: Called after every iteration; may raise to stop.

    Raises:
        NumericalError: All starts have collapsed.
    """
    found = [initial_map(sample, settings, seed, num_classes, check) for seed in seeds]
    reasons = [why_collapsed(start.advantages, start.rotations) for start in found]
    for start, reason in zip(found, reasons, strict=True):
        logger.info(
            "start %d: held-out images favour its map by %.2f ± %.2f per image%s",
            start.seed,
            start.score,
            start.score_error,
            f"; collapsed: {reason}" if reason else "",
        )
    usable = [start for start, reason in zip(found, reasons, strict=True) if reason is None]
    if not usable:
        msg = (
            f"no first map can be made of these images: {reasons[0]}; look at them, check "
            "their sign (`invert`) and CTF, allow for larger shifts (`shift_extent_px`), begin "
            "with another `seed` or more first maps (`num_starts`), or give `poses`"
        )
        raise NumericalError(msg)
    best = max(usable, key=lambda start: start.score)
    others = [start for start in found if start is not best]
    distances = [
        align_poses((best.rotations.cpu(), None), (start.rotations.cpu(), None)).median_deg
        for start in others
    ]
    for start, distance in zip(others, distances, strict=True):
        logger.info(
            "start %d agrees with start %d to %.1f° (median, after global alignment)",
            start.seed,
            best.seed,
            distance,
        )
    return Starts(best=best, others=others, distances_deg=distances)


def why_collapsed(
    advantages: Float[Tensor, " images"], rotations: Float[Tensor, "poses 3 3"]
) -> str | None:
    """Evidence that poses have collapsed; None if there is none.

    The ratios of images without noise lie in the hundreds, and differ by as much: their plain
    mean has a standard error that refuses maps of which every single image is certain. Bounded,
    a ratio is a vote, and certain images are one another's equals.

    Args:
        advantages: Log-likelihood ratio of each image of the map over a blob, see
            :class:`~cryodrgn.orientation.initial.InitialMap`.
        rotations: The poses.
    """
    votes = advantages.clamp(-CERTAIN, CERTAIN)
    error = float(votes.std()) / len(votes) ** 0.5
    is_evident = float(votes.sum()) > LEAST_EVIDENCE
    if not (is_evident and float(votes.mean()) > LEAST_ERRORS * error):
        return "a map explains held-out images no better than a featureless blob does"
    return why_too_alike(rotations)


def why_too_alike(rotations: Float[Tensor, "poses 3 3"]) -> str | None:
    """Evidence that poses are concentrated on few viewing directions; None if there is none."""
    directions = effective_directions(rotations)
    if directions < min(LEAST_DIRECTIONS, len(rotations) / 2):
        return f"all images came to look along the same {directions:.1f} directions"
    return None


def effective_directions(rotations: Float[Tensor, "poses 3 3"]) -> float:
    """Number of directions of view that are used, of 48: the exponential of their entropy.

    Opposite directions see mirror images and count as one.
    """
    angles = torch.from_numpy(healpix_directions(DIRECTION_LEVEL)).float()
    polar, longitude = angles.T
    centres = torch.stack(
        [polar.sin() * longitude.cos(), polar.sin() * longitude.sin(), polar.cos()], dim=-1
    )
    views = rotations[:, 2].cpu()
    nearest = (views @ centres.T).abs().argmax(1)
    shares = torch.bincount(nearest, minlength=len(centres)) / len(views)
    shares = shares[shares > 0]
    return math.exp(float(-(shares * shares.log()).sum()))
