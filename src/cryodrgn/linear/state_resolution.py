"""Resolution of the map of a state, forecast from the views, the noise and its share."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid

# FSC of half maps at which a map ends (Rosenthal & Henderson 2003).
THRESHOLD = 0.143
# Half the opening angle of the cone of frequencies that counts as one direction.
CONE = math.radians(25)
NUM_DIRECTIONS = 24
# A voxel with less than this share of its shell's mean coverage counts as empty.
SPARSE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class StateResolution:
    """Forecast resolution of a state's map in Å; infinite where half maps would not agree.

    Attributes:
        mean: Over all directions.
        best: In the best direction.
        worst: In the worst direction.
    """

    mean: float
    best: float
    worst: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coverage:
    """Coverage of Fourier space by the views of a set.

    Attributes:
        grid: The half grid.
        weights: Mean of C² / σ² that a particle adds to every point of the grid, flattened.
        side: Side of the box in Å.
        radius: Last shell.
    """

    grid: RfftVolumeGrid
    weights: Float[Tensor, " voxels"]
    side: float
    radius: int

    def information(self) -> Float[Tensor, " shells"]:
        """Mean weight of every shell from 0 to the radius."""
        return self._means(self.weights)

    def empty_share(self) -> float:
        """Share of Fourier space within the radius that next to no view reaches."""
        shells, inside = self._shells()
        inside &= shells > 0
        mean = self.information()[shells.clamp_max(self.radius)]
        return float((self.weights < SPARSE * mean)[inside].float().mean())

    def resolution(
        self, power: Float[Tensor, " shells"], num_images: float, mask_share: float
    ) -> StateResolution:
        """Resolution of a map from so many particles, all of which are told apart rightly.

        Half maps have noise of 1 / (n w) in every real number of their transforms, n being half
        the particles, of which a mask leaves its share of the box.

        Args:
            power: Mean square of a real number of the map's transform, by shell.
            num_images: Number of particles of the state.
            mask_share: Share of the box within the mask.
        """
        shells, inside = self._shells()
        strength = power[shells.clamp_max(self.radius)] * self.weights * num_images / 2
        strength = strength / mask_share
        wiener = strength / (1 + strength)
        half = self.grid.box_size // 2
        axis, half_axis = torch.arange(-half, half + 1), torch.arange(half + 2)
        z, y, x = torch.meshgrid(axis, axis, half_axis, indexing="ij")
        where = torch.stack([x, y, z], dim=-1).flatten(0, 2).float()
        where = where / where.norm(dim=1, keepdim=True).clamp_min(1e-9)
        found = [self._ends(wiener, shells, inside)]
        for direction in _directions(NUM_DIRECTIONS):
            near = (where @ direction).abs() >= math.cos(CONE)
            found.append(self._ends(wiener, shells, inside & near))
        return StateResolution(mean=found[0], best=min(found[1:]), worst=max(found[1:]))

    def _ends(self, wiener: Tensor, shells: Tensor, chosen: Tensor) -> float:
        """Resolution at which the FSC of half maps with a Wiener filter falls below 0.143."""
        size = self.radius + 1
        places, shares = shells[chosen].numpy(), wiener[chosen].double().numpy()
        # With weights w = x / (1 + x), signal w² and noise w² / x, all over the signal's power.
        signal = np.bincount(places, shares**2, minlength=size)
        fsc = signal / np.maximum(np.bincount(places, shares, minlength=size), 1e-12)
        # Narrow cones hold no point of the first shells.
        reached = np.bincount(places, minlength=size) > 0
        low = np.flatnonzero((fsc < THRESHOLD) & reached)
        low = low[low > 0]
        if not len(low):
            return self.side / self.radius
        first = int(low[0])
        above, below = float(fsc[first - 1]), float(fsc[first])
        if first == 1 or above < THRESHOLD:
            return math.inf
        return self.side / (first - 1 + (above - THRESHOLD) / max(above - below, 1e-9))

    def _shells(self) -> tuple[Tensor, Tensor]:
        radii = self.grid.radii().flatten()
        shells = radii.round().long()
        return shells.clamp_max(self.radius), shells <= self.radius

    def _means(self, values: Float[Tensor, " voxels"]) -> Float[Tensor, " shells"]:
        shells, inside = self._shells()
        sums = torch.zeros(self.radius + 1).index_add_(0, shells[inside], values[inside])
        return sums / torch.bincount(shells[inside], minlength=self.radius + 1).clamp_min(1)


def _directions(count: int) -> Float[Tensor, "directions 3"]:
    """Directions spread evenly over half a sphere, on a spiral (Vogel 1979)."""
    number = torch.arange(count) + 0.5
    height = number / count
    angle = math.pi * (1 + math.sqrt(5)) * number
    radius = (1 - height.square()).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=1)
