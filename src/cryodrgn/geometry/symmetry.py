"""Point groups: the rotations under which a map is the same, in the setting of RELION's axes.

==========  =========================================================================
C*n*        n-fold axis on z
D*n*        n-fold axis on z, two-fold axis on x
D*n*Y       n-fold axis on z, two-fold axis on y, as cryoSPARC has it; another group
            than D*n* where n is odd
T           three-fold axis on z, two-fold axis in the yz plane, at z > 0 and y > 0
O           four-fold axes on x, y and z
I1          two-fold axes on x, y and z, front-most five-fold axes in the yz plane
            (Heymann, Chagoyen & Belnap, J. Struct. Biol. 151, 196, 2005)
I2, I       the same turned by 90° about z: front-most five-fold axes in the xz plane
            (Crowther's setting)
I3          five-fold axis on z, two-fold axis on y, a neighbouring five-fold axis in the
            xz plane at x < 0
I4          the same with the neighbouring five-fold axis at x > 0
==========  =========================================================================

Settings of C, D, O and I1 are those of Heymann et al.; T, I2 to I4 and their names are those of
the documentation of Xmipp (wiki, Symmetry), which RELION follows: its I is I2, and its T
"deviates from Heymann et al.". cryoSPARC has the same T, O, I1 and I2, and the two-fold axis
of its D on y (discuss.cryosparc.com, topic 12482).
"""

from itertools import product

import numpy as np
from jaxtyping import Float

from cryodrgn.geometry.conventions import matrices_from_cryosparc_poses
from cryodrgn.geometry.point_groups import canonical_name

_X, _Y, _Z = np.eye(3)
_THIRD, _TWO_THIRDS = np.sqrt(1 / 3), np.sqrt(2 / 3)
# Sine and cosine of the angle between a five-fold axis and the nearest two-fold axis, 31.72°:
# (cosine, sine) is (τ, 1) / |(τ, 1)| with the golden ratio τ.
_SINE, _COSINE = np.sin(np.arctan(2) / 2), np.cos(np.arctan(2) / 2)
# Axes that generate a group, with their orders.
_GENERATORS: dict[str, list[tuple[int, np.ndarray]]] = {
    "T": [(3, _Z), (2, np.array([0, _TWO_THIRDS, _THIRD]))],
    "O": [(4, _Z), (3, np.array([_THIRD, _THIRD, _THIRD]))],
    "I1": [(2, _Z), (2, _X), (5, np.array([0, _SINE, _COSINE]))],
    "I2": [(2, _Z), (2, _X), (5, np.array([_SINE, 0, _COSINE]))],
    "I3": [(5, _Z), (2, _Y), (5, np.array([-2 * _SINE * _COSINE, 0, 1 - 2 * _SINE**2]))],
    "I4": [(5, _Z), (2, _Y), (5, np.array([2 * _SINE * _COSINE, 0, 1 - 2 * _SINE**2]))],
}


def point_group(name: str) -> Float[np.ndarray, "order 3 3"]:
    """The rotations of a point group, the identity first.

    A map V of this symmetry has V(S x) = V(x) for every rotation S of the group. An image of
    pose R is then one of pose R S, too.

    Args:
        name: Schoenflies symbol in the setting of the table above, in any case.

    Raises:
        ConfigError: There is no such group.
    """
    name = canonical_name(name)
    if name[0] in "CD":
        return _axial(int(name.strip("CDY")), dihedral=name[0] == "D", on_y=name[-1] == "Y")
    return _closure([_turn(axis, 2 * np.pi / order) for order, axis in _GENERATORS[name]])


def _axial(order: int, *, dihedral: bool, on_y: bool) -> Float[np.ndarray, "order 3 3"]:
    turns = np.stack([_turn(_Z, 2 * np.pi * step / order) for step in range(order)])
    if not dihedral:
        return turns
    return np.concatenate([turns, turns @ _turn(_Y if on_y else _X, np.pi)])


def _turn(axis: Float[np.ndarray, " 3"], angle: float) -> Float[np.ndarray, "3 3"]:
    """Right-handed rotation about an axis."""
    return matrices_from_cryosparc_poses(angle * axis[None])[0].T


def _closure(generators: list[np.ndarray]) -> Float[np.ndarray, "order 3 3"]:
    """All products of some rotations."""
    found = [np.eye(3)]
    fresh = found
    while fresh:
        products = [first @ second for first, second in product(fresh, generators)]
        fresh = []
        for rotation in products:
            if not any(np.abs(rotation - other).max() < 1e-6 for other in found):
                found.append(rotation)
                fresh.append(rotation)
    return np.stack(found)
