"""Whitened images, for comparison with many slices at many shifts.

The comparison itself, |y − C x|² expanded into products of matrices, is
:func:`~cryodrgn.imaging.likelihood.log_likelihood_ratios`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.likelihood import matched_terms


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrequencyDisc:
    """Frequencies within a radius ordered by it, so that every smaller disc stands in front.

    Attributes:
        positions: Where they stand on the lattice of the images.
        points: (kx, ky) in cycles per box.
        shells: Their radius rounded to whole cycles per box.
    """

    positions: Int[Tensor, " points"]
    points: Float[Tensor, "points 2"]
    shells: Int[Tensor, " points"]

    @classmethod
    def of(
        cls, lattice: HalfPlaneFrequencies, radius: int, device: torch.device
    ) -> "FrequencyDisc":
        """The frequencies of a lattice within a radius."""
        positions = lattice.positions_within(radius)
        points = lattice.points[positions].float()
        order = points.square().sum(-1).argsort(stable=True)
        points = points[order].to(device)
        shells = points.norm(dim=-1).round().long()
        return cls(positions=positions[order].to(device), points=points, shells=shells)

    def count(self, radius: int) -> int:
        """Number of the frequencies within a smaller radius."""
        return int((self.points.square().sum(-1) <= radius**2).sum())

    def within(self, radius: int) -> "FrequencyDisc":
        """Those of the frequencies that lie within a smaller radius."""
        count = self.count(radius)
        return FrequencyDisc(
            positions=self.positions[:count],
            points=self.points[:count],
            shells=self.shells[:count],
        )

    def shell_means(self, values: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
        """At each of the first points, the mean of the values in its shell."""
        shells = self.shells[: len(values)]
        sums = values.new_zeros(int(shells[-1]) + 1).index_add_(0, shells, values)
        counts = torch.zeros_like(sums).index_add_(0, shells, torch.ones_like(values))
        return (sums / counts.clamp_min(1))[shells]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WhitenedImages:
    """Images made ready for comparison.

    Attributes:
        images: Transforms as pairs (real, imaginary), multiplied by the CTF and divided by the
            variance of the noise.
        weights: Squared CTF divided by the variance of the noise.
    """

    images: Float[Tensor, "batch points 2"]
    weights: Float[Tensor, "batch points"]

    @classmethod
    def of(
        cls,
        images: Float[Tensor, "batch points 2"],
        ctf: Float[Tensor, "batch points"] | None,
        variance: Float[Tensor, " points"],
    ) -> "WhitenedImages":
        """Images with their CTF, and the variance of the noise at each point."""
        matched, weights = matched_terms(images, ctf, 1 / variance)
        return cls(images=matched, weights=weights)

    def within(self, count: int) -> "WhitenedImages":
        """The images at the first points alone."""
        return WhitenedImages(images=self.images[:, :count], weights=self.weights[:, :count])
