"""Settings of reconstructions from images: symmetry, and curvature of the Ewald sphere."""

from typing import TYPE_CHECKING

from cryodrgn.geometry.point_groups import NAMES, is_point_group
from cryodrgn.settings import Check, Settings, option, settings

if TYPE_CHECKING:
    from cryodrgn.imaging.ewald import Curvature

PHYSICS = "Symmetry and optics"


@settings
class SymmetryOptions(Settings):
    """Point group of the map."""

    symmetry: str = option(
        "--symmetry",
        default="C1",
        group=PHYSICS,
        metavar="GROUP",
        check=Check(words=f"a point group: {NAMES}", holds=is_point_group),
        help="Point group of the map, in RELION's setting of axes: every image is added at all "
        f"of its mates ({NAMES})",
    )


@settings
class EwaldOptions(Settings):
    """Curvature of the Ewald sphere."""

    ewald: int = option(
        "--ewald",
        default=0,
        group=PHYSICS,
        metavar="SIGN",
        check=Check(words="+1 or -1, or 0 for a flat sphere", holds=lambda x: x in (-1, 0, 1)),
        default_words="0, a flat sphere",
        help="Account for the curvature of the Ewald sphere, with sign +1 or -1; check tells "
        "which, where the data allow it",
    )


def curvature(sign: int) -> "Curvature":
    """A sign that was checked, as a type."""
    return 1 if sign > 0 else -1 if sign < 0 else 0
