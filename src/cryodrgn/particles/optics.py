"""CTF parameters and aberrations of particles."""

import logging
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError, MetadataError
from cryodrgn.particles.options import Correction
from cryodrgn.units import ANGSTROM_PER_MM, electron_wavelengths

logger = logging.getLogger(__name__)

# What no microscope exceeds: lowest, highest, and the unit, by parameter.
PHYSICAL = {
    "voltage_kv": (10.0, 5000.0, "kV"),
    "defocus_u": (-1e6, 1e6, "Å"),
    "defocus_v": (-1e6, 1e6, "Å"),
    "spherical_aberration_mm": (-50.0, 50.0, "mm"),
}
# Number in a table of each state in which the images of a file may be.
CORRECTIONS: dict[Correction, int] = {"none": 0, "flipped": 1, "multiplied": 2}

_OPTIONAL = ("odd_zernike", "even_zernike", "correction")


def correction_of_record(name: str | None) -> Correction | None:
    """The state of images that a run recorded; None where the particle file says it.

    Raises:
        ConfigError: There is no such state.
    """
    for known in CORRECTIONS:
        if name == known:
            return known
    if name is not None:
        msg = f"ctf_applied of the config is {name!r}, expected {', '.join(CORRECTIONS)}"
        raise ConfigError(msg)
    return None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CtfTable:
    """CTF parameters, one row per particle.

    Attributes:
        defocus_u: Larger-axis defocus in Å, positive is underfocus.
        defocus_v: Defocus across it in Å.
        defocus_angle: Direction of ``defocus_u`` from the x axis towards y, in radians.
        voltage_kv: Accelerating voltage in kV.
        spherical_aberration_mm: Cs in mm.
        amplitude_contrast: Fraction in [0, 1).
        phase_shift: Phase shift of a phase plate, in radians.
        odd_zernike: Coefficients of the antisymmetric aberrations in radians: the phase of the
            image's transform is their sum over Zernike polynomials of odd degree, see
            :func:`cryodrgn.imaging.aberrations.zernike_phases`; None means none.
        even_zernike: Coefficients of the symmetric aberrations, of even degree, which are
            added to the phase of the CTF; None means none.
        correction: State of the images, by the numbers of :data:`CORRECTIONS`: as recorded,
            phases flipped, or multiplied by the CTF; None means as recorded.
        source: Where the parameters come from, for messages.
    """

    defocus_u: Float[np.ndarray, " particles"]
    defocus_v: Float[np.ndarray, " particles"]
    defocus_angle: Float[np.ndarray, " particles"]
    voltage_kv: Float[np.ndarray, " particles"]
    spherical_aberration_mm: Float[np.ndarray, " particles"]
    amplitude_contrast: Float[np.ndarray, " particles"]
    phase_shift: Float[np.ndarray, " particles"]
    source: str
    odd_zernike: Float[np.ndarray, "particles odd"] | None = None
    even_zernike: Float[np.ndarray, "particles even"] | None = None
    correction: Int[np.ndarray, " particles"] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that describe no microscope.

        Raises:
            MetadataError: A number is not finite, or beyond what any microscope has.
        """
        for name, values in self.columns().items():
            self._require(np.isfinite(values), name, values, "finite")
        contrast = self.amplitude_contrast
        inside = (contrast >= 0) & (contrast < 1)
        self._require(inside, "amplitude_contrast", contrast, "in [0, 1)")
        for name, (low, high, unit) in PHYSICAL.items():
            values = getattr(self, name)
            inside = (values >= low) & (values <= high)
            self._require(inside, name, values, f"between {low:g} and {high:g} {unit}")
        for name, values in self.optional_columns().items():
            finite = np.asarray(np.isfinite(values).reshape(len(values), -1).all(1))
            self._require(finite, name, values, "finite")

    def __len__(self) -> int:
        return len(self.defocus_u)

    def columns(self) -> dict[str, Float[np.ndarray, " particles"]]:
        """The parameters that every CTF has, by name."""
        others = ("source", *_OPTIONAL)
        names = [field.name for field in fields(self) if field.name not in others]
        return {name: getattr(self, name) for name in names}

    def optional_columns(self) -> dict[str, np.ndarray]:
        """Aberrations and the state of the images, those that are there, by name."""
        found = {name: getattr(self, name) for name in _OPTIONAL}
        return {name: values for name, values in found.items() if values is not None}

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The parameters of some of the particles."""
        columns = self.columns() | self.optional_columns()
        selected = {name: values[rows] for name, values in columns.items()}
        return type(self)(**selected, source=self.source)

    def _require(
        self, holds: np.ndarray, name: str, values: np.ndarray, expectation: str
    ) -> None:
        if not holds.all():
            row = int(np.flatnonzero(~holds)[0])
            msg = f"{self.source}: {name} of row {row} is {values[row]}, expected {expectation}"
            raise MetadataError(msg)


def beam_tilt_coefficients(
    tilts_mrad: Float[np.ndarray, "particles 2"],
    voltages_kv: Float[np.ndarray, " particles"],
    spherical_aberrations_mm: Float[np.ndarray, " particles"],
) -> Float[np.ndarray, "particles 5"]:
    """Coefficients of odd Zernike polynomials that describe a tilt of the beam.

    The image's transform has the phase −2π Cs λ² k² (t·k) (axial coma; RELION's sign). Since
    k³ cos α = (Z₃₁ + 2 Z₁₁) / 3, two thirds of it stand at the first degree.

    Args:
        tilts_mrad: Angles (x, y) in mrad.
        voltages_kv: Accelerating voltages.
        spherical_aberrations_mm: Cs.
    """
    lengths = (
        ANGSTROM_PER_MM * spherical_aberrations_mm * electron_wavelengths(voltages_kv) ** 2
    )
    along_x, along_y = (-2e-3 * np.pi * lengths[:, None] * tilts_mrad / 3).T
    none = np.zeros_like(along_x)
    return np.stack([2 * along_y, 2 * along_x, none, along_y, along_x], axis=1)


def sum_of_coefficients(
    first: Float[np.ndarray, "particles first"] | None,
    second: Float[np.ndarray, "particles second"],
) -> Float[np.ndarray, "particles count"]:
    """Sum of two aberrations of which one may have fewer coefficients; None is none."""
    if first is None:
        return second
    total = np.zeros((len(second), max(first.shape[1], second.shape[1])))
    total[:, : first.shape[1]] += first
    total[:, : second.shape[1]] += second
    return total


def common_correction(ctf: CtfTable | None) -> Correction | None:
    """The state of all images, which a table without a column of its own can say by a word.

    None if they are as they were recorded, or in several states.
    """
    if ctf is None or ctf.correction is None:
        return None
    found = np.unique(ctf.correction).tolist()
    names: dict[int, Correction] = {number: name for name, number in CORRECTIONS.items()}
    return names[found[0]] if len(found) == 1 and found[0] else None


def as_corrected(ctf: CtfTable | None, state: Correction, source: str) -> CtfTable:
    """CTF parameters of images that are all in one state, whatever their file says.

    Args:
        ctf: What is known of their CTF.
        state: How the images were corrected for it.
        source: Their file, for messages.

    Raises:
        MetadataError: There are no CTF parameters.
    """
    if ctf is None:
        msg = (
            f"{source} has no CTF parameters, without which `correction` {state} says "
            "nothing; give them with `ctf`"
        )
        raise MetadataError(msg)
    number = CORRECTIONS[state]
    if ctf.correction is not None and (ctf.correction != number).any():
        logger.warning(
            "%s says otherwise of its images: all are taken as `correction` %s says",
            source,
            state,
        )
    return replace(ctf, correction=np.full(len(ctf), number) if number else None)
