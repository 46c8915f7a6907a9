"""Conversions between units at the program's boundary.

Inside the program lengths are Å and angles radians; a quantity in any other unit
carries its unit as a suffix of its name.
"""

import logging

logger = logging.getLogger(__name__)

ANGSTROM_PER_MM = 1e7
ANGSTROM_PER_MICRON = 1e4
VOLT_PER_KV = 1e3


def pixel_size_or_one(source: object, *known: float | None) -> float:
    """The first pixel size in Å that is known, or else 1 Å, which the log then says.

    Only for what is right at any pixel size, or is told to the user in units of it.

    Args:
        source: The file that should give it, for the message.
        known: What options and headers say; None or 0 is unknown.
    """
    for value in known:
        if value:
            return value
    logger.warning("%s gives no pixel size: taken as 1 Å", source)
    return 1.0
