"""A made-up molecule of two domains that open and close about a hinge."""

import math

import gemmi
import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.geometry.rotations import rotation_about_x

# One residue of about 110 Da fills about 135 Å³ of protein.
CUBIC_ANGSTROM_PER_BEAD = 135.0

# Each lobe is an ellipsoid: centre and half axes (x, y, z) in Å from the hinge. Both domains
# are drawn along y; the body has a shoulder to the side, so that the hand shows.
BODY_LOBES = (
    ((0.0, 36.0, 0.0), (24.0, 34.0, 20.0)),
    ((24.0, 50.0, 6.0), (16.0, 13.0, 13.0)),
)
ARM_LOBES = (
    ((0.0, 26.0, 0.0), (13.0, 26.0, 13.0)),
    ((-8.0, 48.0, 0.0), (19.0, 15.0, 15.0)),
)
MIDDLE_ANGLE_DEG = 95.0


def hinge_models(angles: list[float]) -> list[gemmi.Model]:
    """Atomic models of the molecule, opened by some angles.

    Every residue is one bead (a carbon atom). The body stays in place; the arm turns about
    the x axis through the hinge.

    Args:
        angles: Angles between the domains in radians; at 0 the arm would lie in the body.
    """
    body, arms = _domains(angles)
    return [_model({"A": body, "B": arm}) for arm in arms]


def hinge_positions(angles: list[float]) -> list[Float[np.ndarray, "beads 3"]]:
    """Positions of the beads of :func:`hinge_models` in Å."""
    body, arms = _domains(angles)
    return [np.concatenate([body, arm]) for arm in arms]


def hinge_angles(count: int, range_deg: float) -> list[float]:
    """Equally spaced opening angles in radians, from closed to open."""
    middle, half = math.radians(MIDDLE_ANGLE_DEG), math.radians(range_deg) / 2
    return [middle] if count == 1 else np.linspace(middle - half, middle + half, count).tolist()


def _domains(
    angles: list[float],
) -> tuple[Float[np.ndarray, "beads 3"], list[Float[np.ndarray, "arm 3"]]]:
    """Beads of the body, and those of the arm at every angle."""
    body, arm = _fill(BODY_LOBES, seed=1), _fill(ARM_LOBES, seed=2)
    return body, [arm @ rotation_about_x(angle).double().numpy().T for angle in angles]


def _fill(
    lobes: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...], seed: int
) -> Float[np.ndarray, "beads 3"]:
    """Beads spread evenly at random over ellipsoids."""
    generator = torch.Generator().manual_seed(seed)
    beads = []
    for centre, half_axes in lobes:
        volume = 4 / 3 * math.pi * math.prod(half_axes)
        count = round(volume / CUBIC_ANGSTROM_PER_BEAD)
        directions = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        directions /= directions.norm(dim=1, keepdim=True)
        radii = torch.rand(count, 1, generator=generator, dtype=torch.float64) ** (1 / 3)
        beads.append((directions * radii).numpy() * np.array(half_axes) + np.array(centre))
    return np.concatenate(beads)


def _model(chains: dict[str, Float[np.ndarray, "beads 3"]]) -> gemmi.Model:
    model = gemmi.Model(1)
    for name, beads in chains.items():
        chain = gemmi.Chain(name)
        for number, position in enumerate(beads, start=1):
            residue = gemmi.Residue()
            residue.name = "ALA"
            residue.seqid = gemmi.SeqId(number, " ")
            atom = gemmi.Atom()
            atom.name = "CA"
            atom.element = gemmi.Element("C")
            atom.pos = gemmi.Position(*position)
            residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    return model
