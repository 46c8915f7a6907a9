"""Poses that are refined by gradient descent."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.errors import InputFileError
from cryodrgn.geometry.rotations import (
    orthonormal_columns,
    quaternion_from_rotation,
    rotation_from_quaternion,
)
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.poses import Poses
from cryodrgn.training.options import PoseConfig, RotationNumbers
from cryodrgn.training.row_table import PerParticleParameters


class PoseTable:
    """Rotation and shift of every particle, as numbers that can be moved freely.

    Args:
        poses: Poses to begin with, of the first images of particles.
        side_lengths: Side of each of these images in Å.
        config: How they are refined.
        device: Where the table is kept.
        team: Processes that share the work.
        of_several: Whether particles have several images: in place of shifts the table then
            has steps in three dimensions, all 0 to begin with, see
            :class:`~cryodrgn.data.moving_poses.PoseSource`.
    """

    def __init__(
        self,
        poses: Poses,
        side_lengths: Float[np.ndarray, " particles"],
        config: PoseConfig,
        device: torch.device,
        team: Team = ALONE,
        *,
        of_several: bool = False,
    ) -> None:
        self.of_several = of_several
        self._embedding: RotationNumbers = config.embedding
        self._device = device
        # Turning by δ moves the rim of the image by δ · side / 2: shifts in units of half the
        # side are as sensitive as angles, and one learning rate serves both.
        self._units = torch.from_numpy(side_lengths).float()[:, None].to(device) / 2
        rotations, shifts = self._numbers(poses)
        self._rotations = PerParticleParameters(rotations, config.learning_rate, device, team)
        self._shifts = PerParticleParameters(shifts, config.learning_rate, device, team)

    def at(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch axes"]]:
        """Rotations, and shifts or steps in Å, of some particles."""
        rotations = _rotations(self._rotations.rows(rows), self._embedding)
        return rotations, self._shifts.rows(rows) * self._units[rows]

    def put(self, poses: Poses) -> None:
        """Replace all poses by others that were found anew."""
        rotations, shifts = self._numbers(poses)
        self._rotations.put(rotations)
        self._shifts.put(shifts)

    def hold(self, held: bool) -> None:  # noqa: FBT001 (it is what is said)
        """Say whether poses stay as they are for now, which spares their gradients."""
        self._rotations.is_held = self._shifts.is_held = held

    @property
    def leaves(self) -> list[Tensor]:
        """Numbers of the poses looked up since the last step."""
        return [*self._rotations.leaves, *self._shifts.leaves]

    def step(self) -> None:
        """Move the poses looked up since the last step."""
        self._rotations.step()
        self._shifts.step()

    def discard(self) -> None:
        """Forget the poses looked up since the last step."""
        self._rotations.discard()
        self._shifts.discard()

    def poses(self) -> Poses:
        """All poses as they are now, of particles of one image."""
        assert not self.of_several
        rotations = _rotations(self._rotations.values, self._embedding)
        shifts = self._shifts.values * self._units
        return Poses(
            rotations=rotations.cpu().numpy(),
            shifts=shifts.cpu().numpy(),
            source="refined poses",
        )

    def _numbers(
        self, poses: Poses
    ) -> tuple[Float[Tensor, "particles numbers"], Float[Tensor, "particles axes"]]:
        rotations = _embed(torch.from_numpy(poses.rotations), self._embedding)
        if self.of_several:
            return rotations.to(self._device), torch.zeros(len(poses), 3, device=self._device)
        shifts = torch.from_numpy(poses.shifts).float().to(self._device) / self._units
        return rotations.to(self._device), shifts

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Everything that must be remembered to go on exactly."""
        return {"rotations": self._rotations.state_dict(), "shifts": self._shifts.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Go on from a remembered state.

        Raises:
            InputFileError: It is of a version that moved all images of a particle alike.
        """
        if state["shifts"]["values"].shape != self._shifts.values.shape:
            msg = (
                "the run that is to go on moved all tilt images of a particle by one shift, "
                "which is wrong where it moves across the tilt axis or in depth; begin another "
                "run in another folder, from the weights of this one with `load` if you like"
            )
            raise InputFileError(msg)
        self._rotations.load_state_dict(state["rotations"])
        self._shifts.load_state_dict(state["shifts"])


def _embed(
    rotations: Float[Tensor, "particles 3 3"], embedding: RotationNumbers
) -> Float[Tensor, "particles numbers"]:
    if embedding == "quat":
        return quaternion_from_rotation(rotations)
    return rotations[:, :2].reshape(-1, 6)


def _rotations(
    numbers: Float[Tensor, "batch numbers"], embedding: RotationNumbers
) -> Float[Tensor, "batch 3 3"]:
    if embedding == "quat":
        return rotation_from_quaternion(numbers)
    # Gram–Schmidt makes columns orthonormal, we keep rows.
    rows = numbers.view(-1, 2, 3)
    return orthonormal_columns(rows.transpose(1, 2)).transpose(1, 2)
