"""Alignment of one volume to another: all rotations on ever finer grids, all shifts at once.

The score is the normalised correlation of the transforms within a sphere of frequencies. For
one rotation the correlations at all shifts are the inverse transform of the product of both
transforms, so that shifts need no search of their own.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.geometry.rotations import orthonormal_columns, rotation_from_vector
from cryodrgn.geometry.so3_grid import So3Grid
from cryodrgn.kernels.projection import VolumeSlicer
from cryodrgn.progress import Progress
from cryodrgn.reconstruction.options import AlignmentOptions
from cryodrgn.settings import settings

FIRST_RADIUS = 6
RADIUS_STEP = 4
# Of the final climb: most steps of one size, and the gain in correlation that is worth one.
STEPS_OF_ONE_SIZE, LEAST_GAIN = 8, 1e-6
# Rotations from which the climb starts.
NUM_CLIMBS = 2


@settings
class AlignmentSettings(AlignmentOptions):
    """Settings of the alignment of two volumes.

    Attributes:
        num_levels: Times that the grid is refined, and half as many rotations are kept.
    """

    num_levels: int = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Alignment:
    """Rigid motion of a volume, see :func:`~cryodrgn.kernels.projection.move_volume`.

    Attributes:
        rotation: The rotation.
        shift: (x, y, z) in voxels, after the rotation.
        correlation: Of the transforms, within the frequencies that were compared.
    """

    rotation: Float[Tensor, "3 3"]
    shift: Float[Tensor, " 3"]
    correlation: float


def align_volume(
    reference: Float[Tensor, "box box box"],
    volume: Float[Tensor, "side side side"],
    *,
    max_shift: float | None = None,
    settings: AlignmentSettings | None = None,
) -> Alignment:
    """Find the rotation and shift that bring a volume closest to another one.

    Args:
        reference: What is aligned to.
        volume: What is to be moved.
        max_shift: Largest shift along each axis in voxels; a quarter of the box by default.
        settings: How thoroughly to search.

    Raises:
        ShapeMismatchError: The volumes differ in size.
    """
    if reference.shape != volume.shape:
        msg = (
            f"volumes of {len(reference)} and {len(volume)} voxels cannot be aligned; bring "
            "them to one box size with cryodrgn downsample --is-vol"
        )
        raise ShapeMismatchError(msg)
    settings = settings or AlignmentSettings()
    box_size = len(reference)
    small = min(settings.max_box_size // 2 * 2, box_size)
    pair = _Pair(downsample_volume(reference, small), downsample_volume(volume, small))
    scale = box_size / small
    limit = (box_size / 4 if max_shift is None else max_shift) / scale

    rotations, shifts = _search_grids(pair, limit, settings)
    best = max(
        (_refine(pair, *start, settings) for start in zip(rotations, shifts, strict=True)),
        key=lambda alignment: alignment.correlation,
    )
    return Alignment(
        rotation=best.rotation, shift=best.shift * scale, correlation=best.correlation
    )


class _Pair:
    """Correlations of a fixed volume with a moving one, both of a small box."""

    def __init__(
        self, reference: Float[Tensor, "box box box"], volume: Float[Tensor, "box box box"]
    ) -> None:
        self.box_size = len(reference)
        self._slicer = VolumeSlicer(volume)
        self._spectrum = RfftVolumeGrid(self.box_size).spectrum_of(reference)

    @property
    def max_radius(self) -> int:
        return self.box_size // 2 - 1

    def points(self, radius: int) -> Int[Tensor, "points 3"]:
        """Integer frequencies (kx, ky, kz) with kx ≥ 0 within a radius, without the origin."""
        axis = torch.arange(-radius, radius + 1)
        z, y, x = torch.meshgrid(axis, axis, axis[radius:], indexing="ij")
        points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
        squared = points.square().sum(-1)
        return points[(squared <= radius**2) & (squared > 0)]

    def products(
        self, points: Int[Tensor, "points 3"], rotations: Float[Tensor, "batch 3 3"]
    ) -> Complex[Tensor, "batch points"]:
        """conj(reference) × rotated volume, whose sum is the correlation without shift.

        A point of the plane kx = 0 stands there with its mate and counts half.
        """
        half = self.box_size // 2
        x, y, z = points.unbind(-1)
        fixed = self._spectrum[z + half, y + half, x]
        turned = (points.float() @ rotations).reshape(-1, 3)
        moving = torch.view_as_complex(self._slicer.values_at(turned)).view(len(rotations), -1)
        weight = torch.where(x == 0, 0.5, 1.0)
        norm = (weight * fixed.abs().square()).sum() * (weight * moving.abs().square()).sum(1)
        return weight * fixed.conj() * moving / norm.sqrt()[:, None]

    def best_shifts(
        self, radius: int, rotations: Float[Tensor, "batch 3 3"], limit: float
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch 3"]]:
        """The highest correlation of each rotation over all shifts, and where it is.

        Shifts are sampled twice as finely as the frequencies ask for.
        """
        points = self.points(radius)
        products = self.products(points, rotations)
        side = 4 * radius + 4
        grid = products.new_zeros(len(rotations), side, side, side // 2 + 1)
        x, y, z = points.unbind(-1)
        # A shift by t multiplies by exp(−2πi k·t / n): the conjugate of what irfft sums.
        grid[:, z % side, y % side, x] = products.conj()
        grid[:, :, :, 0] *= 2
        maps = torch.fft.irfftn(grid, s=(side,) * 3, dim=(1, 2, 3)) * (side**3 / 2)
        axis = torch.fft.fftfreq(side) * self.box_size
        within = axis.abs() <= max(limit, 1e-6)
        allowed = within[:, None, None] & within[:, None] & within
        scores, places = maps[:, allowed].max(1)
        indices = torch.nonzero(allowed)[places]
        return scores, axis[indices.flip(-1)]

    def correlation(
        self,
        points: Int[Tensor, "points 3"],
        rotations: Float[Tensor, "batch 3 3"],
        shifts: Float[Tensor, "batch 3"],
    ) -> Float[Tensor, " batch"]:
        """Correlations at given rotations and shifts in voxels of the small box."""
        angle = -2 * torch.pi / self.box_size * (shifts @ points.float().T)
        products = self.products(points, rotations)
        return (products.real * angle.cos() - products.imag * angle.sin()).sum(1)


def _search_grids(
    pair: _Pair, limit: float, settings: AlignmentSettings
) -> tuple[Float[Tensor, "kept 3 3"], Float[Tensor, "kept 3"]]:
    """The best few rotations after all levels, with their shifts."""
    grid, candidates = So3Grid(settings.first_level), None
    for level in range(settings.num_levels + 1):
        radius = min(FIRST_RADIUS + RADIUS_STEP * level, pair.max_radius)
        points = torch.arange(len(grid)) if candidates is None else candidates
        scores, shifts = [], []
        with Progress(len(points), f"rotations {grid.spacing * 57.3:.2g}° apart", "") as bar:
            for batch in points.split(settings.batch_size):
                found = pair.best_shifts(radius, grid.rotations(batch), limit)
                scores.append(found[0])
                shifts.append(found[1])
                bar.advance(len(batch))
        if level == settings.num_levels:
            kept = torch.cat(scores).topk(NUM_CLIMBS).indices
            return grid.rotations(points[kept]), torch.cat(shifts)[kept]
        num_kept = max(settings.num_kept // 2**level, NUM_CLIMBS)
        kept = torch.cat(scores).topk(min(num_kept, len(points))).indices
        candidates = grid.children(points[kept]).flatten().unique()
        grid = grid.finer()
    raise AssertionError


def _refine(
    pair: _Pair,
    rotation: Float[Tensor, "3 3"],
    shift: Float[Tensor, " 3"],
    settings: AlignmentSettings,
) -> Alignment:
    """Climb from a start by steps of rotation and shift that get ever smaller."""
    grid = So3Grid(settings.first_level + settings.num_levels)
    points = pair.points(pair.max_radius)
    steps = torch.cat([torch.eye(6), -torch.eye(6)])
    angle, length = grid.spacing / 2, 0.5
    best = float(pair.correlation(points, rotation[None], shift[None]))
    for _ in range(settings.num_halvings):
        for _ in range(STEPS_OF_ONE_SIZE):
            rotations = rotation_from_vector(angle * steps[:, :3]) @ rotation
            shifts = shift + length * steps[:, 3:]
            scores = pair.correlation(points, rotations, shifts)
            winner = int(scores.argmax())
            if scores[winner] < best + LEAST_GAIN:
                break
            best, rotation, shift = float(scores[winner]), rotations[winner], shifts[winner]
        angle, length = angle / 2, length / 2
    return Alignment(rotation=orthonormal_columns(rotation), shift=shift, correlation=best)
