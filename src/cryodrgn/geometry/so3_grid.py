"""Grids of rotations, each twice as fine as the one before.

A grid is the product of the HEALPix directions of view (Górski et al. 2005) and equally spaced
turns in the image plane (Yershova et al. 2010). The points of a level are numbered direction
by direction, in HEALPix's nested order, the turns of each direction in a row.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.geometry.conventions import matrices_from_relion_angles

# Ring and longitude of the base pixels: in units of nside and of 45 degrees.
_RING_OF_FACE = np.repeat([2, 3, 4], 4)
_LONGITUDE_OF_FACE = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])
TURNS_OF_LEVEL_0 = 6


def healpix_directions(
    level: int, pixels: Int[np.ndarray, " pixels"] | None = None
) -> Float[np.ndarray, "pixels 2"]:
    """Polar angle θ and longitude φ of HEALPix pixel centres, in radians.

    Args:
        level: log2 of HEALPix's ``nside``; there are 12 · 4^level pixels.
        pixels: Numbers in nested order; None stands for all of them.
    """
    side = 2**level
    pixels = np.arange(12 * side**2) if pixels is None else np.asarray(pixels)
    face, within = pixels // side**2, pixels % side**2
    x, y = _even_bits(within, level), _even_bits(within >> 1, level)

    # Rings count from the north pole; near the poles ring j holds 4 j pixels, between them
    # all rings hold 4 nside.
    ring = _RING_OF_FACE[face] * side - x - y - 1
    quarter = np.minimum(np.minimum(ring, 4 * side - ring), side)
    height = np.where(
        ring < side,
        1 - ring**2 / (3 * side**2),
        np.where(
            ring > 3 * side,
            (4 * side - ring) ** 2 / (3 * side**2) - 1,
            2 * (2 * side - ring) / (3 * side),
        ),
    )
    longitude = (_LONGITUDE_OF_FACE[face] * quarter + x - y) * np.pi / (4 * quarter)
    return np.stack([np.arccos(height), longitude % (2 * np.pi)], axis=-1)


def _even_bits(numbers: np.ndarray, count: int) -> np.ndarray:
    """The number that bits 0, 2, 4, … make."""
    return sum(
        ((numbers >> (2 * bit) & 1) << bit for bit in range(count)), np.zeros_like(numbers)
    )


@dataclass(frozen=True, slots=True)
class So3Grid:
    """One level of the hierarchy of rotation grids.

    Attributes:
        level: 0 holds 72 rotations about 60° apart; every further level eight times as many,
            half as far apart.
    """

    level: int

    @property
    def num_directions(self) -> int:
        """Number of directions of view."""
        return 12 * 4**self.level

    @property
    def num_turns(self) -> int:
        """Number of turns in the plane for each direction."""
        return TURNS_OF_LEVEL_0 * 2**self.level

    @property
    def spacing(self) -> float:
        """Angle between neighbouring turns in radians, about that between directions too."""
        return 2 * np.pi / self.num_turns

    def __len__(self) -> int:
        return self.num_directions * self.num_turns

    def finer(self) -> "So3Grid":
        """The next level."""
        return So3Grid(self.level + 1)

    def rotations(
        self, points: Int[Tensor, " points"] | None = None
    ) -> Float[Tensor, "points 3 3"]:
        """Rotations from the frame of the volume to the frame of the image.

        Point (direction, turn) has RELION's angles rot = φ, tilt = θ and
        psi = (turn + ½) · spacing.

        Args:
            points: Numbers of grid points; None stands for all of them.
        """
        points = torch.arange(len(self)) if points is None else points
        directions, turns = points // self.num_turns, points % self.num_turns
        return self._matrices(directions.numpy(), turns.numpy()).float()

    def children(self, points: Int[Tensor, " points"]) -> Int[Tensor, "points 8"]:
        """The points of the next level that lie in the cells of some points.

        Every point of the next level is the child of exactly one point: the four pixels of a
        pixel, and in each the two turns that come nearest to the parent's rotation. (The plain
        halves of its turn would not do: where longitudes converge at the poles, a turn of one
        direction is far from the same turn of the next.)

        Args:
            points: Numbers of grid points.

        Returns:
            Numbers in the grid of :meth:`finer`.
        """
        fine = self.finer()
        directions = 4 * (points // self.num_turns)[:, None] + torch.arange(4)
        return fine._nearest_turns(self.rotations(points), directions, 2).flatten(1)

    def neighbours(self, points: Int[Tensor, " points"]) -> Int[Tensor, "points 26"]:
        """The points around some points: nearest directions × nearest turns, without itself."""
        directions = torch.from_numpy(_unit_vectors(healpix_directions(self.level)))
        own = points // self.num_turns
        closeness = directions[own] @ directions.T
        around = closeness.topk(min(9, self.num_directions), dim=1).indices
        nearest = self._nearest_turns(self.rotations(points), around, 3).flatten(1)
        others = nearest != points[:, None]
        return nearest[others].view(len(points), -1)

    def _nearest_turns(
        self,
        rotations: Float[Tensor, "points 3 3"],
        directions: Int[Tensor, "points directions"],
        count: int,
    ) -> Int[Tensor, "points directions count"]:
        """Of each direction the points whose turns come nearest to a rotation."""
        zero = np.zeros(directions.numel(), dtype=np.int64)
        frames = self._matrices(directions.flatten().numpy(), zero, offset=0.0)
        frames = frames.view(*directions.shape, 3, 3)
        # trace(Rz(−ψ) M), M = frame · rotationᵀ, is largest at this angle.
        product = torch.einsum("pdij,pkj->pdik", frames, rotations.double())
        sine = product[..., 1, 0] - product[..., 0, 1]
        best = torch.atan2(sine, product[..., 0, 0] + product[..., 1, 1]) / self.spacing
        # Turn j stands at j + ½: the turns nearest to x are round(x − count / 2) and on.
        first = torch.round(best - count / 2).long()
        turns = (first[..., None] + torch.arange(count)) % self.num_turns
        return directions[..., None] * self.num_turns + turns

    def _matrices(
        self, directions: np.ndarray, turns: np.ndarray, offset: float = 0.5
    ) -> Float[Tensor, "points 3 3"]:
        polar, longitude = healpix_directions(self.level, directions).T
        angles = np.stack([longitude, polar, (turns + offset) * self.spacing], axis=-1)
        return torch.from_numpy(matrices_from_relion_angles(np.rad2deg(angles)))


def _unit_vectors(angles: Float[np.ndarray, "pixels 2"]) -> Float[np.ndarray, "pixels 3"]:
    polar, longitude = angles.T
    sine = np.sin(polar)
    return np.stack(
        [sine * np.cos(longitude), sine * np.sin(longitude), np.cos(polar)], axis=-1
    )
