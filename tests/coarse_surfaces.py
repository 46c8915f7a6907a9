"""Pictures of surfaces made in a tenth of the time: coarse, and with jagged edges."""

import pytest

from cryodrgn.analysis import surfaces

COARSE = {"RESAMPLED_SIDE": 32, "SUPERSAMPLING": 1}
FINE = {name: getattr(surfaces, name) for name in COARSE}


def draw(patch: pytest.MonkeyPatch, numbers: dict[str, int]) -> None:
    """Draw surfaces with some numbers from now on."""
    for name, number in numbers.items():
        patch.setattr(surfaces, name, number)
