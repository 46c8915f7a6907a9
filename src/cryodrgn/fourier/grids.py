"""Grids of integer frequencies, in cycles per box.

Frequencies are vectors (kx, ky[, kz]) although arrays are (z, y, x): the last axis of an
array is x. Divide by the box size for cycles per pixel, by box size × pixel size for 1/Å.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class HalfPlaneFrequencies:
    """Half of a point-symmetric set of image frequencies.

    The transform of a real image obeys F(−k) = conj F(k), so half of its values say all.
    Of the whole set in raster order (ky slow, kx fast, both ascending) the first half is
    kept, and behind it the origin where the set contains it; reversing the raster order
    takes k to −k. Values on the lattice are pairs (real, imaginary).

    Attributes:
        box_size: Side of the images in pixels, even.
        points: The integer frequencies (kx, ky) kept.
        has_origin: Whether the last point is the origin.
    """

    box_size: int
    points: Int[Tensor, "points 2"]
    has_origin: bool

    @classmethod
    def disc(cls, box_size: int, radius: int | None = None) -> "HalfPlaneFrequencies":
        """All frequencies with 0 < |k| ≤ ``radius``, which is the Nyquist radius by default."""
        square = cls.square(box_size)
        limit = box_size // 2 if radius is None else radius
        squared = square.points.square().sum(-1)
        inside = (squared <= limit**2) & (squared > 0)
        return cls(box_size=box_size, points=square.points[inside], has_origin=False)

    @classmethod
    def square(cls, box_size: int) -> "HalfPlaneFrequencies":
        """The square |kx|, |ky| ≤ ``box_size / 2``, the origin among its frequencies."""
        axis = torch.arange(-(box_size // 2), box_size // 2 + 1)
        ky, kx = torch.meshgrid(axis, axis, indexing="ij")
        raster = torch.stack([kx, ky], dim=-1).reshape(-1, 2)
        first_half = raster[: len(raster) // 2 + 1]
        return cls(box_size=box_size, points=first_half, has_origin=True)

    def __len__(self) -> int:
        return len(self.points)

    def by_radius(self) -> "HalfPlaneFrequencies":
        """These points ordered by |k|, so that every smaller disc is a prefix.

        Values on it cannot be turned into Hartley values, which need the raster order.
        """
        order = self.points.square().sum(-1).argsort(stable=True)
        return HalfPlaneFrequencies(self.box_size, self.points[order], has_origin=False)

    @property
    def num_values(self) -> int:
        """Number of real values the lattice stands for, that is of points of the whole set."""
        return 2 * len(self) - self.has_origin

    @property
    def frequencies(self) -> Float[Tensor, "points 2"]:
        """The points in cycles per pixel."""
        return self.points / self.box_size

    def positions_within(self, radius: int) -> Int[Tensor, " inner"]:
        """Positions of the points of ``disc(box_size, radius)`` among these points."""
        squared = self.points.square().sum(-1)
        return torch.nonzero((squared <= radius**2) & (squared > 0)).squeeze(-1)

    def to_hartley(
        self, values: Float[Tensor, "*batch points 2"]
    ) -> Float[Tensor, "*batch values"]:
        """Hartley values Re − Im on the whole set, in raster order."""
        return half_to_hartley(values, has_origin=self.has_origin)

    def whole(self) -> Int[Tensor, "values 2"]:
        """The points of the whole set, in raster order."""
        mates = self.points[: len(self) - self.has_origin]
        return torch.cat([self.points, -mates.flip(0)])


def half_to_hartley(
    values: Float[Tensor, "*batch points 2"], *, has_origin: bool = False
) -> Float[Tensor, "*batch values"]:
    """Hartley values on a whole point-symmetric set from pairs on its first half."""
    real, imaginary = values.unbind(-1)
    mates = (real + imaginary)[..., : real.shape[-1] - has_origin]
    return torch.cat([real - imaginary, mates.flip(-1)], dim=-1)


def hartley_to_half(values: Float[Tensor, "*batch values"]) -> Float[Tensor, "*batch points 2"]:
    """Pairs (real, imaginary) on the first half of a set without origin: F = Re + i Im."""
    first, mates = values.chunk(2, dim=-1)
    mates = mates.flip(-1)
    return torch.stack([(mates + first) / 2, (mates - first) / 2], dim=-1)


def volume_frequencies(box_size: int, plane: int) -> Int[Tensor, "points 3"]:
    """Frequencies (kx, ky, kz) of one symmetric plane of a volume's transform.

    Args:
        box_size: Side of the volume in voxels, even.
        plane: The integer kz of the plane.

    Returns:
        All (box_size + 1)² points with |kx|, |ky| ≤ ``box_size / 2``, in raster order.
    """
    axis = torch.arange(-(box_size // 2), box_size // 2 + 1)
    ky, kx = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([kx, ky, torch.full_like(kx, plane)], dim=-1).reshape(-1, 3)
