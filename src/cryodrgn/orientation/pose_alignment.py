"""Poses of the same images that were found independently: brought into one frame, compared.

Images alone fix a structure up to a rotation, a shift of its origin and its hand. With the
rotations R of one set of poses and R' of another, these are: R ≈ H(R') Q, where Q is the same
for all images and H(R') = J R' J, J = diag(1, 1, −1), if the hands differ; and the shifts
differ by t − t' ≈ (R c)_xy, with c the same for all images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.geometry.rotations import nearest_rotation, rotation_distance
from cryodrgn.kernels.projection import move_volume

# Images whose rotations are tried for Q, and on which they are tried.
NUM_TRIED, NUM_TRIED_ON = 300, 1000
# Distances count up to this one, so that wrong poses do not outweigh the right ones.
LARGEST_DISTANCE = np.deg2rad(30.0)
LEAST_INLIER_DISTANCE = np.deg2rad(2.0)
REFINEMENTS = 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PoseAlignment:
    """Transformation that brings one set of poses into the frame of another.

    Attributes:
        rotation: Q, see the module.
        origin: c, in the unit of the shifts.
        is_mirrored: Whether the hands differ.
        distances: Angle between the rotations of each image afterwards, in radians.
        shift_distances: Distance of its shifts afterwards.
    """

    rotation: Float[Tensor, "3 3"]
    origin: Float[Tensor, " 3"]
    is_mirrored: bool
    distances: Float[Tensor, " images"]
    shift_distances: Float[Tensor, " images"]

    @property
    def median_deg(self) -> float:
        """Median angle between rotations, in degrees."""
        return float(np.rad2deg(float(self.distances.median())))

    def rotations_of(
        self, rotations: Float[Tensor, "images 3 3"]
    ) -> Float[Tensor, "images 3 3"]:
        """Rotations in the frame of the reference."""
        return (mirrored(rotations) if self.is_mirrored else rotations) @ self.rotation

    def shifts_of(
        self, rotations: Float[Tensor, "images 3 3"], shifts: Float[Tensor, "images 2"]
    ) -> Float[Tensor, "images 2"]:
        """Shifts with respect to the origin of the reference."""
        return shifts + (self.rotations_of(rotations) @ self.origin)[:, :2]

    def map_of(
        self, volume: Float[Tensor, "box box box"], unit: float = 1.0
    ) -> Float[Tensor, "box box box"]:
        """A map of these poses as it is in the frame of the reference.

        Args:
            volume: The map.
            unit: Voxels in a unit of the shifts.
        """
        if self.is_mirrored:
            # Index 0 stands at −n/2, which has no mate.
            volume = torch.roll(volume.flip(0), 1, 0)
        return move_volume(volume, self.rotation.T, self.origin * unit)


def mirrored(rotations: Float[Tensor, "images 3 3"]) -> Float[Tensor, "images 3 3"]:
    """Rotations with which the mirrored map predicts the same images."""
    flip = torch.diag(rotations.new_tensor([1.0, 1.0, -1.0]))
    return flip @ rotations @ flip


def align_poses(
    reference: tuple[Float[Tensor, "images 3 3"], Float[Tensor, "images 2"] | None],
    poses: tuple[Float[Tensor, "moved 3 3"], Float[Tensor, "moved 2"] | None],
    *,
    try_hands: bool = True,
) -> PoseAlignment:
    """Bring poses into the frame of others of the same images.

    Args:
        reference: Rotations and shifts to align to; None for shifts that are not known.
        poses: Rotations and shifts to be aligned.
        try_hands: Whether the hands may differ.

    Raises:
        ShapeMismatchError: The numbers of poses differ, or there are none.
    """
    wanted, rotations = reference[0].double(), poses[0].double()
    if len(wanted) != len(rotations) or not len(wanted):
        msg = (
            f"poses of {len(rotations)} images cannot be aligned to those of {len(wanted)}; "
            "both must be of the same images"
        )
        raise ShapeMismatchError(msg)
    candidates = []
    for is_mirrored in (False, True) if try_hands else (False,):
        turned = mirrored(rotations) if is_mirrored else rotations
        frame = _best_frame(wanted, turned)
        distances = rotation_distance(turned @ frame, wanted)
        loss = float(distances.clamp_max(LARGEST_DISTANCE).mean())
        candidates.append((loss, is_mirrored, frame, distances))
    _, is_mirrored, frame, distances = min(candidates, key=lambda found: found[0])
    origin = torch.zeros(3, dtype=torch.float64)
    left = torch.zeros(len(wanted), dtype=torch.float64)
    if reference[1] is not None and poses[1] is not None:
        turned = (mirrored(rotations) if is_mirrored else rotations) @ frame
        origin, left = _common_origin(turned, reference[1].double() - poses[1].double())
    return PoseAlignment(
        rotation=frame.float(),
        origin=origin.float(),
        is_mirrored=is_mirrored,
        distances=distances.float(),
        shift_distances=left.float(),
    )


def _best_frame(
    wanted: Float[Tensor, "images 3 3"], rotations: Float[Tensor, "images 3 3"]
) -> Float[Tensor, "3 3"]:
    """Q: that of the image with which most others agree, then the mean over those."""
    tried = _spread(len(wanted), NUM_TRIED)
    judges = _spread(len(wanted), NUM_TRIED_ON)
    frames = rotations[tried].mT @ wanted[tried]
    # tr(Rᵀ R' Q) = 1 + 2 cos of the angle between R and R' Q.
    traces = (wanted[judges].mT @ rotations[judges]).flatten(1) @ frames.mT.flatten(1).T
    angles = ((traces - 1) / 2).clamp(-1, 1).acos()
    losses = angles.clamp_max(LARGEST_DISTANCE).mean(0)
    frame = frames[losses.argmin()]
    for _ in range(REFINEMENTS):
        distances = rotation_distance(rotations @ frame, wanted)
        limit = max(2 * float(distances.median()), LEAST_INLIER_DISTANCE)
        near = distances <= min(limit, LARGEST_DISTANCE)
        if not near.any():
            break
        mean = (rotations[near].mT @ wanted[near]).mean(0)
        frame = nearest_rotation(mean)
    return frame


def _common_origin(
    rotations: Float[Tensor, "images 3 3"], differences: Float[Tensor, "images 2"]
) -> tuple[Float[Tensor, " 3"], Float[Tensor, " images"]]:
    """C by least squares over the images that agree on it, and what is left."""
    equations = rotations[:, :2]
    near = torch.ones(len(rotations), dtype=torch.bool)
    origin = torch.zeros(3, dtype=rotations.dtype)
    left = differences.norm(dim=1)
    for _ in range(REFINEMENTS):
        # The pseudo-inverse leaves alone what no image tells.
        inverse = torch.linalg.pinv(equations[near].flatten(0, 1))
        origin = inverse @ differences[near].flatten()
        left = (differences - equations @ origin).norm(dim=1)
        near = left <= 3 * left.median() + 1e-12
    return origin, left


def _spread(count: int, wanted: int) -> Tensor:
    """Up to so many numbers below ``count``, evenly spread."""
    return torch.linspace(0, count - 1, min(count, wanted)).long().unique()
