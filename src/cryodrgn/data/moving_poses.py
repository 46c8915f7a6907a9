"""Poses that change while images are compared with slices."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.imaging.slices import slice_axes
from cryodrgn.particles.particle_set import ParticleSet


@runtime_checkable
class PoseSource(Protocol):
    """Poses that are looked up anew for every batch, because they change."""

    def at(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch axes"]]:
        """Rotations of the first images of some particles, and shifts in Å.

        The shift of a particle of one image is that (x, y) of its image. Of particles of
        several images it is a step (x, y, z) of the particle in the frame of its first image,
        beyond the shifts that its images have in the table.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImagesOfParticles:
    """Poses of all images of particles, as they follow from those of the particles.

    An image of a particle whose first image has the orientation R has the orientation X R. A
    step of the particle in the frame of its first image is seen there from X: its depth moves
    tilted images, and its part across the tilt axis moves them by less.

    Attributes:
        turns: The rotation X of every image.
        axes: Vectors in the frame of the first image along which shifts of each image count.
        shifts: Of every image in the table, in Å.
    """

    turns: Float[Tensor, "images 3 3"]
    axes: Float[Tensor, "images 2 3"]
    shifts: Float[Tensor, "images 2"]

    @classmethod
    def of(cls, particles: ParticleSet, device: torch.device) -> "ImagesOfParticles | None":
        """The poses that images have in the table; None where particles have one image."""
        if particles.offsets is None:
            return None
        table, poses = particles.images, particles.images.require_poses()
        first = poses.rotations[particles.offsets[particles.particle_of_image]]
        turns = torch.from_numpy(poses.rotations @ first.transpose(0, 2, 1))
        magnifications = table.magnifications
        # An image shows at k what one without distortion shows at M k, phases of steps, too.
        seen = None if magnifications is None else torch.from_numpy(magnifications)
        return cls(
            turns=turns.to(device),
            axes=slice_axes(turns, seen)[:, :2].to(device),
            shifts=torch.from_numpy(poses.shifts).to(device),
        )

    def poses(
        self,
        images: Int[Tensor, " images"],
        rotations: Float[Tensor, "images 3 3"],
        steps: Float[Tensor, "images 3"],
    ) -> tuple[Float[Tensor, "images 3 3"], Float[Tensor, "images 2"]]:
        """Rotations, and shifts in Å, of some images.

        Args:
            images: Which ones.
            rotations: Of the first image of the particle that each of them shows.
            steps: Of that particle in the frame of its first image, in Å.
        """
        seen = (self.axes[images] @ steps[..., None])[..., 0]
        return self.turns[images] @ rotations, self.shifts[images] + seen
