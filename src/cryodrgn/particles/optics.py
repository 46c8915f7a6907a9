"""CTF parameters of particles."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import MetadataError

# What no microscope exceeds: lowest, highest, and the unit, by parameter.
PHYSICAL = {
    "voltage_kv": (10.0, 5000.0, "kV"),
    "defocus_u": (-1e6, 1e6, "Å"),
    "defocus_v": (-1e6, 1e6, "Å"),
    "spherical_aberration_mm": (-50.0, 50.0, "mm"),
}


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

    def __len__(self) -> int:
        return len(self.defocus_u)

    def columns(self) -> dict[str, Float[np.ndarray, " particles"]]:
        """The parameters by name."""
        names = [field.name for field in fields(self) if field.name != "source"]
        return {name: getattr(self, name) for name in names}

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The parameters of some of the particles."""
        selected = {name: values[rows] for name, values in self.columns().items()}
        return type(self)(**selected, source=self.source)

    def _require(
        self, holds: np.ndarray, name: str, values: np.ndarray, expectation: str
    ) -> None:
        if not holds.all():
            row = int(np.flatnonzero(~holds)[0])
            msg = f"{self.source}: {name} of row {row} is {values[row]}, expected {expectation}"
            raise MetadataError(msg)
