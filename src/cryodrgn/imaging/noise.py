"""The spectrum of the noise, shell by shell, for every optics group."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.devices import sum_dtype
from cryodrgn.parallel import Team


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoiseModel:
    """Variance of the noise of every image.

    Attributes:
        groups: Optics group of every image.
        spectra: Variance of one real number, by group and shell, shell i holding the
            frequencies whose radius rounds to i.
        shells: Shell of every point of the lattice.
    """

    groups: Int[Tensor, " images"]
    spectra: Float[Tensor, "groups shells"]
    shells: Int[Tensor, " points"]

    def variances(self, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch shells"]:
        """σ² of some images by shell."""
        return self.spectra[self.groups[rows]]

    def points_of_shells(self, num_points: int) -> Int[Tensor, " shells"]:
        """Number of the lattice's first points in each shell that they reach."""
        return torch.bincount(self.shells[:num_points])

    def precision(
        self, rows: Int[Tensor, " batch"], num_points: int
    ) -> Float[Tensor, "batch points"]:
        """1 / σ² of some images at the first points of the lattice."""
        return 1 / self.variances(rows)[:, self.shells[:num_points]]


class ResidualPower:
    """Collects what is left of images once the model is subtracted.

    Args:
        noise: The model of noise whose groups and shells are kept apart.
        num_points: Points of the lattice that are looked at.
    """

    def __init__(self, noise: NoiseModel, num_points: int) -> None:
        self._noise = noise
        self._points = noise.points_of_shells(num_points)
        shape = (len(noise.spectra), len(self._points))
        device = noise.spectra.device
        self._sums = torch.zeros(shape, dtype=sum_dtype(device), device=device)
        self._counts = self._sums.new_zeros(len(noise.spectra))

    def add(self, rows: Int[Tensor, " batch"], power: Float[Tensor, "batch shells"]) -> None:
        """Take squares of residuals into account.

        Args:
            rows: The images.
            power: Squares, averaged over real and imaginary part, summed over points by shell.
        """
        groups = self._noise.groups[rows]
        self._sums.index_add_(0, groups, power.to(self._sums.dtype))
        self._counts.index_add_(0, groups, torch.ones_like(groups, dtype=self._sums.dtype))

    def share(self, team: Team) -> None:
        """Replace the sums by those of all processes."""
        team.add([self._sums, self._counts])

    def updated(self) -> NoiseModel:
        """The noise model with these powers in place of its variances.

        Shells beyond those that were looked at are scaled like the outermost of them. A group
        none of whose images were looked at keeps its variances.
        """
        return self._updated(self._noise.spectra)

    def first(self) -> NoiseModel:
        """First estimate of the noise; a group without images gets the mean of the others."""
        whole = self._sums.sum(0) / (self._counts.sum() * self._points).clamp_min(1)
        pooled = whole.to(self._noise.spectra.dtype)
        known = (self._counts[:, None] > 0) | (self._points == 0)
        old = self._noise.spectra.clone()
        reached = old[:, : len(self._points)]
        old[:, : len(self._points)] = torch.where(known, reached, pooled)
        return self._updated(old)

    def _updated(self, old: Float[Tensor, "groups shells"]) -> NoiseModel:
        last = len(self._points) - 1
        found = self._sums / (self._counts[:, None] * self._points).clamp_min(1)
        found = found.to(old.dtype)
        new = old.clone()
        seen = (self._points > 0) & (self._counts[:, None] > 0)
        new[:, : last + 1] = torch.where(seen, found, old[:, : last + 1])
        new[:, last + 1 :] *= (new[:, last] / old[:, last])[:, None]
        return NoiseModel(
            groups=self._noise.groups, spectra=new.clamp_min(1e-12), shells=self._noise.shells
        )
