"""Orientations and in-plane shifts of particles."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

from cryodrgn.errors import MetadataError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Poses:
    """One pose per particle.

    Attributes:
        rotations: Matrices that take (x, y, z) from the volume's frame to the image's.
        shifts: Translations (x, y) in Å that centre the particle in its image.
        source: Where the poses come from, for messages.
    """

    rotations: Float[np.ndarray, "particles 3 3"]
    shifts: Float[np.ndarray, "particles 2"]
    source: str

    def __post_init__(self) -> None:
        """Refuse numbers that are no poses.

        Raises:
            MetadataError: A number is not finite or a matrix is no rotation.
        """
        numbers = np.concatenate([self.rotations.reshape(-1, 9), self.shifts], axis=1)
        finite = np.asarray(np.isfinite(numbers).all(1))
        if not finite.all():
            msg = f"{self.source}: the pose of row {_first(~finite)} is not finite"
            raise MetadataError(msg)
        with np.errstate(all="ignore"):
            rotates = _are_rotations(self.rotations)
        if not rotates.all():
            msg = f"{self.source}: the matrix of row {_first(~rotates)} is no rotation"
            raise MetadataError(msg)

    def __len__(self) -> int:
        return len(self.rotations)

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The poses of some of the particles."""
        return type(self)(
            rotations=self.rotations[rows], shifts=self.shifts[rows], source=self.source
        )


def _are_rotations(
    matrices: Float[np.ndarray, "particles 3 3"],
) -> Bool[np.ndarray, " particles"]:
    products = matrices @ matrices.transpose(0, 2, 1)
    deviation = np.abs(products - np.eye(3)).max((1, 2), initial=0)
    return (deviation < 1e-2) & (np.linalg.det(matrices) > 0)


def _first(where: Bool[np.ndarray, " particles"]) -> int:
    return int(np.flatnonzero(where)[0])
