"""Settings of the pose search."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError

# A shift is told from the next one by a quarter of the shortest wave that is compared.
STEPS_PER_WAVE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class GridSettings:
    """Grids of rotations and shifts, and how they are refined around the best poses.

    Attributes:
        radius_start: Radius in cycles per box of the frequencies compared on the first grid.
        radius_end: The same on the last one, where the network has learnt as much.
        num_levels: Times that both grids are refined, each time to half their spacing.
        num_kept: Rotations of each image that are refined.
        base_level: Level of the first grid of rotations, which is searched whole.
        shift_extent_px: Largest shift along x and y in pixels; 0 searches none.
        num_shifts: Shifts along each axis, for a grid of rotations of level 1; twice as many
            for every further level, but no finer than the frequencies compared can tell.
        shift_centre_px: Middle (x, y) of the shifts that are searched.
    """

    radius_start: int = 12
    radius_end: int = 32
    num_levels: int = 4
    num_kept: int = 8
    base_level: int = 2
    shift_extent_px: float = 10.0
    num_shifts: int = 7
    shift_centre_px: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Refuse grids that cannot be searched.

        Raises:
            ConfigError: A number is out of range.
        """
        at_least = {
            "`l_start`": (self.radius_start, 4),
            "`l_end`": (self.radius_end, self.radius_start),
            "`grid_subdivisions`": (self.num_levels, 0),
            "`kept_poses`": (self.num_kept, 1),
            "`shift_extent_px`": (self.shift_extent_px, 0),
            "`num_shifts`": (self.num_shifts, 1),
        }
        for option, (value, least) in at_least.items():
            if not value >= least:
                msg = f"{option} must be at least {least}, got {value}"
                raise ConfigError(msg)
        if not 1 <= self.base_level <= 4:
            msg = f"`base_level` must lie between 1 and 4, got {self.base_level}"
            raise ConfigError(msg)

    def radii(self, learnt: int) -> list[int]:
        """Radius on the first grid and on every refined one.

        Args:
            learnt: Radius up to which the reference is known.
        """
        start, end = min(self.radius_start, learnt), min(self.radius_end, learnt)
        levels = max(self.num_levels, 1)
        steps = range(self.num_levels + 1)
        return [start + step * (end - start) // levels for step in steps]

    def shifts(
        self, level: int, radius: int, box_size: int
    ) -> tuple[Float[Tensor, "shifts 2"], float]:
        """The grid of shifts that is searched whole, and its spacing.

        Args:
            level: Level of the grid of rotations.
            radius: Of the frequencies compared, in cycles per box.
            box_size: Side of the images in pixels.

        Returns:
            (x, y) as fractions of the box, and the distance of neighbours.
        """
        extent = self.shift_extent_px / box_size
        centre = torch.tensor(self.shift_centre_px) / box_size
        if extent == 0:
            return centre[None], 0.0
        told_apart = math.ceil(2 * extent * STEPS_PER_WAVE * radius)
        count = max(1, min(self.num_shifts * 2 ** (level - 1), told_apart))
        spacing = 2 * extent / count
        axis = (torch.arange(count) + 0.5) * spacing - extent
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        return torch.stack([x, y], dim=-1).reshape(-1, 2) + centre, spacing
