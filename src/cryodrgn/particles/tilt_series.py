"""Tilt series of particles: order of their images, and dose and tilt that follow from it."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Float, Int, Shaped

from cryodrgn.errors import ConfigError
from cryodrgn.particles.options import TiltSeriesSettings

# Relative difference up to which a dose or angle per tilt agrees with that of a file. Ranks of
# series with a few missing tilts stretch angles by some percent.
DOSE_TOLERANCE, ANGLE_TOLERANCE = 0.05, 0.15


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TiltImages:
    """Images of tilt series as a file lists them, a row each.

    Attributes:
        particle_of_row: Number of the particle that a row shows; particles are numbered in the
            order in which they first appear.
        names: Name of every particle.
        tomograms: Name of the tomogram of every particle; None where the file does not say.
        places: Rank of a row's stack and frame among those of all rows: the order of images of
            which nothing else is known.
        doses: Exposure before each image in e/Å²; None where it is not known.
        scales: Factor of the signal of each image; None where it is not known.
        tilt_angles: Tilt of the stage in radians, where the scale does not contain its effect.
        b_factors_are_doses: Whether the file's B factors say the dose, and damp nothing more.
        source: The file, for messages.
    """

    particle_of_row: Int[np.ndarray, " rows"]
    names: Shaped[np.ndarray, " particles"]
    tomograms: Shaped[np.ndarray, " particles"] | None
    places: Int[np.ndarray, " rows"]
    doses: Float[np.ndarray, " rows"] | None
    scales: Float[np.ndarray, " rows"] | None
    tilt_angles: Float[np.ndarray, " rows"] | None
    b_factors_are_doses: bool
    source: str

    def __len__(self) -> int:
        return len(self.particle_of_row)

    @property
    def order(self) -> Int[np.ndarray, " rows"]:
        """Rows by particle and, of each particle, the best image first.

        The best image is that of the smallest dose; of equal or unknown doses, that of the
        smallest tilt (the largest scale); of equal tilts, the first in its stack.
        """
        keys = [self.places]
        if self.tilt_angles is not None:
            keys.append(np.abs(self.tilt_angles))
        if self.scales is not None:
            keys.append(-self.scales)
        if self.doses is not None:
            keys.append(self.doses)
        return np.lexsort([*keys, self.particle_of_row])

    @property
    def ranks(self) -> Int[np.ndarray, " rows"]:
        """Place of every row among the images of its particle, 0 for the best."""
        order = self.order
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        ranks = np.empty(len(self), dtype=np.int64)
        ranks[order] = np.arange(len(self)) - starts[self.particle_of_row[order]]
        return ranks

    @property
    def counts(self) -> Int[np.ndarray, " particles"]:
        """Number of images of every particle."""
        return np.bincount(self.particle_of_row, minlength=len(self.names))

    def completed(self, settings: TiltSeriesSettings) -> Self:
        """Images with dose and tilt that follow from their ranks, where the file says none.

        The image of rank r had the dose r · dose per tilt and the tilt ⌈r / 2⌉ · angle per
        tilt, of a dose-symmetric series (cryoDRGN-ET).

        Raises:
            ConfigError: A given value contradicts the file, or the file says nothing by which
                images could be ranked.
        """
        dose, angle = settings.dose_per_tilt, settings.angle_per_tilt_deg
        changes = {}
        if dose is not None:
            if self.doses is None:
                changes["doses"] = self._require_ranks("dose_per_tilt") * dose
            else:
                self._require_dose(dose)
        if angle is not None:
            if self.scales is None and self.tilt_angles is None:
                angles = np.deg2rad(angle) * half_ranks(
                    self._require_ranks("angle_per_tilt_deg")
                )
                changes["tilt_angles"] = angles
            else:
                self._require_angle(angle)
        return replace(self, **changes)

    def _require_ranks(self, setting: str) -> Int[np.ndarray, " rows"]:
        if self.doses is None and self.scales is None and self.tilt_angles is None:
            msg = (
                f"`{setting}` needs the order of the exposures, but {self.source} has neither "
                "rlnMicrographPreExposure nor an rlnCtfScalefactor that differs between tilts; "
                "add one of these columns"
            )
            raise ConfigError(msg)
        return self.ranks

    def _require_dose(self, given: float) -> None:
        assert self.doses is not None
        found = _median_step(self.doses, self.particle_of_row)
        if found is not None and abs(found / given - 1) > DOSE_TOLERANCE:
            msg = (
                f"`dose_per_tilt` {given:g} contradicts {self.source}, whose exposures are "
                f"{found:.4g} e/Å² apart (rlnMicrographPreExposure, or −rlnCtfBfactor / 4); "
                "leave out `dose_per_tilt`, or correct the file"
            )
            raise ConfigError(msg)

    def _require_angle(self, given: float) -> None:
        if self.tilt_angles is not None:
            angles = np.abs(self.tilt_angles)
        else:
            assert self.scales is not None
            angles = np.arccos(self.scales.clip(0, 1))
        by_angle = replace(self, doses=None, scales=None, tilt_angles=angles)
        steps = half_ranks(by_angle.ranks)
        if not steps.any():
            return
        found = float(np.rad2deg(np.median(angles[steps > 0] / steps[steps > 0])))
        if abs(found / given - 1) > ANGLE_TOLERANCE:
            msg = (
                f"`angle_per_tilt_deg` {given:g} contradicts {self.source}, whose tilts are "
                f"{found:.3g}° apart (by rlnCtfScalefactor, the cosine of the tilt, or "
                "rlnTomoNominalStageTiltAngle); leave out `angle_per_tilt_deg`, or correct the "
                "file"
            )
            raise ConfigError(msg)


def half_ranks(ranks: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Number of tilt steps from zero at a rank of a dose-symmetric series, ⌈r / 2⌉."""
    return (ranks + 1) // 2


def _median_step(
    values: Float[np.ndarray, " rows"], groups: Int[np.ndarray, " rows"]
) -> float | None:
    """The median difference of successive values within groups; None if all are equal."""
    order = np.lexsort((values, groups))
    steps = np.diff(values[order])[np.diff(groups[order]) == 0]
    steps = steps[steps > 1e-6]
    return float(np.median(steps)) if len(steps) else None
