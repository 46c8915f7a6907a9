"""Conversions between units at the program's boundary.

Inside the program lengths are Å and angles radians; a quantity in any other unit
carries its unit as a suffix of its name.
"""

import logging
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray
    from torch import Tensor

# A number, or an array of either library, which formulas here treat alike.
Numbers = TypeVar("Numbers", float, "Float[ndarray, '...']", "Float[Tensor, '...']")

logger = logging.getLogger(__name__)

ANGSTROM_PER_MM = 1e7
ANGSTROM_PER_MICRON = 1e4
VOLT_PER_KV = 1e3


def pixel_size_or_one(
    source: object, first: float | None = None, second: float | None = None
) -> float:
    """The first pixel size in Å that is known, or else 1 Å, which the log then says.

    Only for what is right at any pixel size, or is told to the user in units of it.

    Args:
        source: The file that should give it, for the message.
        first: What an option or a header says; None or 0 is unknown.
        second: What is taken where that is unknown.
    """
    if known := first or second:
        return known
    logger.warning("%s gives no pixel size: taken as 1 Å", source)
    return 1.0


def electron_wavelengths(voltages_kv: Numbers) -> Numbers:
    """Relativistic wavelength of the electron in Å at accelerating voltages in kV.

    λ = 12.2639 / sqrt(V + 0.97845e-6 V²), V in volts. The constants are those of CTFFIND and
    cryoDRGN, so that parameters and weights of those programs carry over; CODATA's value is
    larger by 3e-5 of itself.
    """
    volts: Any = voltages_kv * VOLT_PER_KV
    return 12.2639 / (volts + 0.97845e-6 * volts**2) ** 0.5
