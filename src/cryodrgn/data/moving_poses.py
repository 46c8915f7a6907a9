"""Poses that change while images are compared with slices."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.particles.particle_set import ParticleSet


@runtime_checkable
class PoseSource(Protocol):
    """Poses that are looked up anew for every batch, because they change."""

    def at(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 2"]]:
        """Rotations, and shifts in Å, of some particles."""
        ...


def relative_poses(
    particles: ParticleSet, device: torch.device
) -> tuple[Float[Tensor, "images 3 3"], Float[Tensor, "images 2"]] | None:
    """Rotation X and shift of every image beyond those of its particle's first image.

    An image of a particle whose first image has the orientation R has the orientation X R.
    """
    if particles.offsets is None:
        return None
    poses, first = particles.images.require_poses(), particles.particle_of_image
    rows = particles.offsets[first]
    turns = poses.rotations @ poses.rotations[rows].transpose(0, 2, 1)
    shifts = poses.shifts - poses.shifts[rows]
    return torch.from_numpy(turns).to(device), torch.from_numpy(shifts).to(device)
