"""Clean projections of one volume, with the poses at which they were made."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.geometry.so3_grid import So3Grid
from cryodrgn.io.mrc import stack_writer
from cryodrgn.kernels.projection import VolumeSlicer
from cryodrgn.particles.poses import Poses
from cryodrgn.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProjectionSettings:
    """From where a volume is projected.

    Attributes:
        rotations: Orientations.
        shift_extent_px: Shifts are uniform within ± this many pixels along x and y.
        tilt: Rotation X of the stage before the exposure; images show X R.
        batch_size: Images made at once.
        seed: Of the shifts.
    """

    rotations: Float[Tensor, "images 3 3"]
    shift_extent_px: float = 0.0
    tilt: Float[Tensor, "3 3"] | None = None
    batch_size: int = 100
    seed: int = 0


def chosen_rotations(
    num_projections: int | None, grid_level: int | None, seed: int
) -> Float[Tensor, "images 3 3"]:
    """Random rotations, or all of a grid.

    Args:
        num_projections: Number of random rotations.
        grid_level: Level of the grid of rotations.
        seed: Of the random rotations.

    Raises:
        ConfigError: Not exactly one of both is given, or it is out of range.
    """
    if (num_projections is None) == (grid_level is None):
        msg = (
            "give either the number of projections with `num_projections` or a grid of "
            "rotations with `grid_level`"
        )
        raise ConfigError(msg)
    if grid_level is not None:
        if not 0 <= grid_level <= 5:
            msg = f"`grid_level` must be a level from 0 (72 rotations) to 5, got {grid_level}"
            raise ConfigError(msg)
        return So3Grid(grid_level).rotations()
    if num_projections is None or num_projections < 1:
        msg = f"`num_projections` must be at least 1, got {num_projections}"
        raise ConfigError(msg)
    return random_rotations(num_projections, torch.Generator().manual_seed(seed))


def write_projections(
    volume: Float[np.ndarray, "box box box"],
    settings: ProjectionSettings,
    output: Path,
    pixel_size: float | None,
) -> Poses:
    """Write projections of a volume as a stack.

    Args:
        volume: The volume, of even side.
        settings: From where.
        output: The stack to write.
        pixel_size: Å/px, None if it is not known.

    Returns:
        The poses R and the shifts that centre the images, in Å (pixels, where the pixel size
        is not known); of a tilted exposure those of the untilted one.

    Raises:
        ConfigError: The side of the volume is odd.
    """
    if len(volume) % 2:
        msg = f"the volume must have an even side, got {len(volume)} voxels"
        raise ConfigError(msg)
    count = len(settings.rotations)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    moves = settings.shift_extent_px * (2 * torch.rand(count, 2, generator=generator) - 1)
    seen = settings.rotations if settings.tilt is None else settings.tilt @ settings.rotations
    slicer = VolumeSlicer(torch.from_numpy(volume))
    lattice = HalfPlaneFrequencies.disc(slicer.box_size)
    with (
        stack_writer(output, slicer.box_size, pixel_size) as writer,
        Progress(count, "projecting") as progress,
    ):
        for rows in torch.arange(count).split(settings.batch_size):
            values = slicer.slices(lattice, seen[rows])
            values = shift_transform(values, lattice.frequencies[None], moves[rows])
            # A lattice without the origin makes images of mean zero.
            mean = volume.sum(dtype=np.float64) / slicer.box_size**2
            writer.append((images_from_lattice(values, lattice) + float(mean)).numpy())
            progress.advance(len(rows))
    return Poses(
        rotations=settings.rotations.numpy(),
        shifts=(-moves * (pixel_size or 1.0)).numpy(),
        source=str(output),
    )
