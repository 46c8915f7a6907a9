"""Slices of volumes on half grids: reading them off, and adding them up.

Both work on tables with a row for every point of a half grid, and for many volumes or
coefficients at once.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid, interpolation_envelope
from cryodrgn.kernels import torch_kernels
from cryodrgn.kernels.backends import kernels_for
from cryodrgn.parallel import Team


def slice_table(
    grid: RfftVolumeGrid, volumes: Float[Tensor, "volumes box box box"], radius: float
) -> Float[Tensor, "voxels columns"]:
    """Transforms of real volumes on a half grid, ready for :func:`interpolate`.

    Args:
        grid: The grid, of the volumes' box.
        volumes: Real volumes, already divided by the envelope of the interpolation.
        radius: Where the transforms end, in cycles per box.

    Returns:
        For every point of the grid the real parts of all volumes, then the imaginary parts.
    """
    spectra = torch.stack([grid.spectrum_of(volume) for volume in volumes])
    spectra = (spectra * (grid.radii(volumes.device) <= radius)).flatten(1)
    return torch.cat([spectra.real, spectra.imag]).T.contiguous()


def table_of_volumes(
    volumes: Float[Tensor, "volumes box box box"], radius: float, padding: int = 1
) -> Float[Tensor, "voxels columns"]:
    """:func:`slice_table` of real volumes on the grid of their own box, or of a larger one.

    Args:
        volumes: The volumes.
        radius: Where slices end, in cycles per box.
        padding: How many times larger the grid is than the volumes.
    """
    side = volumes.shape[-1]
    grid = RfftVolumeGrid(padding * side)
    flat = volumes / interpolation_envelope(side, grid.box_size, volumes.device)
    if padding > 1:
        flat = torch.nn.functional.pad(flat, 6 * [(padding - 1) * side // 2])
    return slice_table(grid, flat, padding * radius + 1.0)


def interpolate(
    grid: RfftVolumeGrid,
    table: Float[Tensor, "voxels columns"],
    points: Float[Tensor, "points 3"],
) -> Float[Tensor, "points columns"]:
    """Values of transforms between the points of a half grid, trilinear.

    They have gradients where the points or the table have.

    Args:
        grid: The grid.
        table: What :func:`slice_table` returns.
        points: (kx, ky, kz) in cycles per box.

    Returns:
        Real parts of all volumes, then imaginary parts, at every point.
    """
    if torch.is_grad_enabled() and (points.requires_grad or table.requires_grad):
        return torch_kernels.read_slices(grid, table, points)
    return kernels_for(table.device).read_slices(grid, table, points)


class SliceAccumulator:
    """Sums over images of their slices times coefficients, spread onto a half grid.

    With slices F and weights w of images i, the sums are Σ F_i a_i and Σ w_i b_i for vectors
    a_i and b_i of each image, at every point of the grid that the images reach.

    Args:
        grid: The grid.
        num_coefficients: Length of the vectors a.
        num_products: Length of the vectors b.
        device: Where the sums are kept.
        mates: Rotations of the volumes' point group, at all of which every image is added; None
            adds it once.
    """

    def __init__(
        self,
        grid: RfftVolumeGrid,
        num_coefficients: int,
        num_products: int,
        device: torch.device,
        mates: Float[Tensor, "mates 3 3"] | None = None,
    ) -> None:
        self.grid = grid
        self.device = device
        self._mates = mates
        self.num_coefficients = num_coefficients
        self._is_folded = False
        voxels = math.prod(grid.shape)
        self._sums = torch.zeros(voxels, 2 * num_coefficients + num_products, device=device)

    def add(
        self,
        points: Float[Tensor, "images points 3"],
        values: Float[Tensor, "images points 2"],
        weights: Float[Tensor, "images points"],
        coefficients: Float[Tensor, "images coefficients"],
        products: Float[Tensor, "images products"],
    ) -> None:
        """Add images to the eight neighbours of where their slices stand.

        Args:
            points: (kx, ky, kz) in cycles per box.
            values: The slices F as pairs (real, imaginary).
            weights: The weights w.
            coefficients: The vectors a.
            products: The vectors b.
        """
        assert not self._is_folded, "the totals were asked for already"
        columns = torch.cat([values, weights[..., None]], dim=-1)
        kernels = kernels_for(self.device)
        for mate in [None] if self._mates is None else self._mates:
            # An image of pose R is one of pose R S, whose slice has the points Sᵀ Rᵀ k.
            turned = points if mate is None else points @ mate
            kernels.add_slices(self.grid, self._sums, turned, columns, coefficients, products)

    def share(self, team: Team) -> None:
        """Replace the sums by those of all processes, each of which has added other images."""
        assert not self._is_folded, "the totals were asked for already"
        team.add([self._sums])

    def merged(self, other: "SliceAccumulator") -> "SliceAccumulator":
        """The sums of both."""
        width = self._sums.shape[1] - 2 * self.num_coefficients
        both = SliceAccumulator(self.grid, self.num_coefficients, width, self.device)
        both.absorb(self)
        both.absorb(other)
        return both

    def absorb(self, other: "SliceAccumulator") -> None:
        """Add the totals of another; nothing can be added image by image after that."""
        self._fold()
        self._sums += other.table()

    def totals(
        self,
    ) -> tuple[Float[Tensor, "voxels coefficients 2"], Float[Tensor, "voxels products"]]:
        """Σ F a and Σ w b on the flattened grid; nothing can be added after that."""
        table, split = self.table(), 2 * self.num_coefficients
        return table[:, :split].unflatten(1, (2, self.num_coefficients)).mT, table[:, split:]

    def table(self) -> Float[Tensor, "voxels columns"]:
        """The totals as one table: real parts of Σ F a, then imaginary parts, then Σ w b."""
        self._fold()
        return self._sums

    def _fold(self) -> None:
        """Add values on the plane kx = 0, conjugated, to their mates in that plane."""
        if self._is_folded:
            return
        self._is_folded = True
        plane = self._sums.view(*self.grid.shape, -1)[:, :, 0]
        mates = plane.flip(0, 1)
        mates[..., self.num_coefficients : 2 * self.num_coefficients] *= -1
        plane += mates
