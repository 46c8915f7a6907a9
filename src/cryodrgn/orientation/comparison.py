"""Comparison of images with slices, |y − C x|², for many rotations and shifts at once.

For an image y with CTF C, a shift t and a slice x, with noise of variance σ² on the real and
on the imaginary part of every frequency,

    ½ Σ |y_t − C x|² / σ²  =  ½ Σ |y|² / σ²  −  Re Σ (C y_t / σ²)* x  +  ½ Σ (C² / σ²) |x|²

The first term is the same for all poses, the second is one product of matrices, of shifted
images with rotations, the third one of images with rotations. Shifts and CTF stand on the
image, so that slices are those of the reference as they are, for all images alike.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.grids import HalfLattice


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Disc:
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
    def of(cls, lattice: HalfLattice, radius: int, device: torch.device) -> "Disc":
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

    def within(self, radius: int) -> "Disc":
        """Those of the frequencies that lie within a smaller radius."""
        count = self.count(radius)
        return Disc(
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
class Observed:
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
    ) -> "Observed":
        """Images with their CTF, and the variance of the noise at each point."""
        certainty = 1 / variance
        if ctf is None:
            weights = certainty.expand(len(images), -1)
            return cls(images=images * certainty[:, None], weights=weights)
        scaled = ctf * certainty
        return cls(images=images * scaled[..., None], weights=ctf * scaled)

    def within(self, count: int) -> "Observed":
        """The images at the first points alone."""
        return Observed(images=self.images[:, :count], weights=self.weights[:, :count])


def phases(
    points: Float[Tensor, "points 2"], shifts: Float[Tensor, "*some 2"]
) -> Float[Tensor, "*some points 2"]:
    """Cosine and sine of 2π k·t.

    Args:
        points: (kx, ky) in cycles per box.
        shifts: (x, y) as fractions of the box.
    """
    angle = 2 * math.pi * (shifts @ points.mT)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def shifted(
    images: Float[Tensor, "batch points 2"], turns: Float[Tensor, "#batch *shifts points 2"]
) -> Float[Tensor, "batch *shifts points 2"]:
    """Images moved by shifts, F exp(−2πi k·t), given the :func:`phases` of these."""
    between = (1,) * (turns.ndim - 3)
    real, imaginary = images.view(len(images), *between, -1, 2).unbind(-1)
    cosine, sine = turns.unbind(-1)
    return torch.stack(
        [real * cosine + imaginary * sine, imaginary * cosine - real * sine], dim=-1
    )


def overlaps(
    moved: Float[Tensor, "batch shifts points 2"], slices: Float[Tensor, "rotations points 2"]
) -> Float[Tensor, "batch shifts rotations"]:
    """The second term: how far shifted images of :class:`Observed` are along each slice.

    Args:
        moved: The images.
        slices: Of the reference, the same for all images. Their number type is that of the
            large product, and of the result.
    """
    images = moved.flatten(2).flatten(0, 1).to(slices.dtype)
    return (images @ slices.flatten(1).T).view(*moved.shape[:2], -1)


def costs(
    weights: Float[Tensor, "batch points"], power: Float[Tensor, "rotations points"]
) -> Float[Tensor, "batch rotations"]:
    """The third term, the same for all shifts of an image.

    Args:
        weights: Of :class:`Observed`.
        power: Squared absolute values of the slices.
    """
    return 0.5 * (weights @ power.T)


def gains(
    moved: Float[Tensor, "batch shifts points 2"],
    weights: Float[Tensor, "batch points"],
    slices: Float[Tensor, "rotations points 2"],
) -> Float[Tensor, "batch shifts rotations"]:
    """By how much each slice explains each image better than nothing, as log-likelihood ratio.

    Args:
        moved: Shifted images of :class:`Observed`.
        weights: Their weights.
        slices: Of the reference, the same for all images.
    """
    power = slices.square().sum(-1)
    return overlaps(moved, slices).sub_(costs(weights, power)[:, None])
