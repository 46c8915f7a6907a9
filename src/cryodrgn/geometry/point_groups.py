"""Names of point groups, without their rotations and without numpy.

Options are checked by them before a command loads anything.
"""

import re

from cryodrgn.errors import ConfigError

POLYHEDRAL = ("T", "O", "I1", "I2", "I3", "I4")
NAMES = "C1, C2, …, D2, D3, … (D7Y with a two-fold axis on y, as in cryoSPARC), T, O, I1 to I4"


def is_point_group(text: str) -> bool:
    """True for names of point groups."""
    try:
        canonical_name(text)
    except ConfigError:
        return False
    return True


def canonical_name(text: str) -> str:
    """The name of a point group as it is written here: ``d7`` is D7, ``I`` is I2.

    Raises:
        ConfigError: There is no such group.
    """
    name = text.strip().upper()
    if name == "I":
        return "I2"
    match = re.fullmatch(r"C([1-9]\d{0,2})|D([1-9]\d{0,2})Y?", name)
    if name in POLYHEDRAL or match is not None:
        return name
    msg = f"there is no point group {text!r}; expected one of {NAMES}"
    raise ConfigError(msg)
