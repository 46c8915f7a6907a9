"""The operations in torch, on any device; see :mod:`cryodrgn.kernels.backends`."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.shifts import phases, shifted
from cryodrgn.imaging.slices import slice_coordinates

# Points that are added together: each takes the memory of a voxel, several times over.
POINTS_AT_ONCE = 250_000


def read_slices(
    grid: RfftVolumeGrid,
    table: Float[Tensor, "voxels columns"],
    points: Float[Tensor, "points 3"],
) -> Float[Tensor, "points columns"]:
    """Trilinear values of a table on a half grid."""
    sign, neighbours = grid.neighbours(points)
    values = torch.zeros(len(points), table.shape[1], device=table.device)
    for places, shares in neighbours:
        values += table[places] * shares[:, None]
    values[:, table.shape[1] // 2 :] *= sign[:, None]
    return values


def read_transform(
    transform: Float[Tensor, "z y x 2"], points: Float[Tensor, "points 3"]
) -> Float[Tensor, "points 2"]:
    """Trilinear values of the transform of a real volume."""
    size, _, columns, _ = transform.shape
    half, table = size // 2, transform.flatten(0, 2)
    sign = torch.where(points[:, :1] < 0, -1.0, 1.0)
    position = points * sign
    position[:, 1:] += half
    corner = position.floor().clamp_max(size - 1)
    upper = position - corner
    shares = torch.stack([1 - upper, upper])
    x, y, z = corner.long().unbind(-1)
    values = torch.zeros(len(points), 2, device=points.device)
    for dz in (0, 1):
        for dy in (0, 1):
            line = (z + dz + half) % size * size + (y + dy + half) % size
            plane = shares[dz, :, 2] * shares[dy, :, 1]
            for dx in (0, 1):
                share = plane * shares[dx, :, 0] * (x + dx < columns)
                place = line * columns + (x + dx).clamp_max(half)
                values += table[place] * share[:, None]
    values[:, 1:] *= sign
    return values


def add_slices(
    grid: RfftVolumeGrid,
    sums: Float[Tensor, "voxels sums"],
    points: Float[Tensor, "images points 3"],
    columns: Float[Tensor, "images points 3"],
    coefficients: Float[Tensor, "images coefficients"],
    products: Float[Tensor, "images products"],
) -> None:
    """Add images to the eight neighbours of where their slices stand."""
    few = max(1, POINTS_AT_ONCE // points.shape[1])
    parts = (tensor.split(few) for tensor in (points, columns, coefficients, products))
    for part in zip(*parts, strict=True):
        _add(grid, sums, *part)


def _add(
    grid: RfftVolumeGrid,
    sums: Float[Tensor, "voxels sums"],
    points: Float[Tensor, "images points 3"],
    columns: Float[Tensor, "images points 3"],
    coefficients: Float[Tensor, "images coefficients"],
    products: Float[Tensor, "images products"],
) -> None:
    image = torch.arange(len(points), device=sums.device)
    image = image.repeat_interleave(points.shape[1])
    sign, neighbours = grid.neighbours(points.reshape(-1, 3))
    real, imaginary, weight = columns.reshape(-1, 3, 1).unbind(1)
    spread = torch.cat(
        [
            real * coefficients[image],
            imaginary * sign[:, None] * coefficients[image],
            weight * products[image],
        ],
        dim=1,
    )
    for places, shares in neighbours:
        sums.index_add_(0, places, spread * shares[:, None])


def inner_products(
    grid: RfftVolumeGrid,
    table: Float[Tensor, "voxels columns"],
    points: Float[Tensor, "images points 3"],
    images: Float[Tensor, "images points 2"],
    transfer: Float[Tensor, "images points"],
    starts: list[int],
    box_size: int,
) -> Float[Tensor, "images shells vectors vectors"]:
    """Inner products of slices and images by products of matrices."""
    slices = read_slices(grid, table, points.reshape(-1, 3) * box_size)
    slices = slices.view(*images.shape[:2], 2, -1) * transfer[..., None, None]
    return shell_products(slices, images, starts)


def shell_products(
    slices: Float[Tensor, "images points 2 volumes"],
    images: Float[Tensor, "images points 2"],
    starts: list[int],
) -> Float[Tensor, "images shells vectors vectors"]:
    """Inner products of predicted images of several volumes and the image, which is last.

    Args:
        slices: The predictions.
        images: The images.
        starts: First point of every shell, and the number of all points.
    """
    design = torch.cat([slices, images[..., None]], dim=-1)
    parts = [design[:, first:last].flatten(1, 2) for first, last in pairwise(starts)]
    return torch.stack([part.mT @ part for part in parts], dim=1)


def solve_systems(
    table: Float[Tensor, "rows columns"],
    voxels: Int[Tensor, " voxels"],
    shells: Int[Tensor, " voxels"],
    damping: Float[Tensor, "volumes shells"],
    *,
    with_inverses: bool,
) -> tuple[Float[Tensor, "voxels volumes 2"], Float[Tensor, "voxels volumes volumes"] | None]:
    """Solutions, and inverses, by batched Cholesky factors."""
    rows, added = table[voxels], damping[:, shells].T
    count, device = len(damping), rows.device
    first, second = torch.triu_indices(count, count, device=device)
    precision = rows.new_zeros(len(rows), count, count)
    precision[:, first, second] = precision[:, second, first] = rows[:, 2 * count :]
    precision.diagonal(dim1=1, dim2=2).add_(added)
    factor = torch.linalg.cholesky_ex(precision).L
    right = rows[:, : 2 * count].unflatten(1, (2, count)).mT
    spectra = torch.cholesky_solve(right, factor)
    return spectra, torch.cholesky_inverse(factor) if with_inverses else None


def local_pose_search(
    grid: RfftVolumeGrid,
    table: Float[Tensor, "voxels 2"],
    padding: int,
    points: Float[Tensor, "points 2"],
    images: Float[Tensor, "batch points 2"],
    weights: Float[Tensor, "batch points"],
    axes: Float[Tensor, "batch kept parts axes 3"],
    shifts: Float[Tensor, "batch kept 2"],
    steps: Float[Tensor, "steps 2"],
) -> tuple[Float[Tensor, "batch kept parts"], Int[Tensor, "batch kept parts"]]:
    """Comparison with slices by products of matrices."""
    flat = axes.reshape(-1, *axes.shape[-2:])
    coordinates = slice_coordinates(padding * points, flat, grid.box_size / 2)
    read = read_slices(grid, table, coordinates.reshape(-1, 3))
    read = read.view(*axes.shape[:3], len(points), 2)
    moved = shifted(images, phases(points, shifts[:, :, None] + steps))
    overlap = read.flatten(3) @ moved.flatten(3).mT
    power = read.square().sum(-1).flatten(1, 2)
    cost = 0.5 * (power @ weights[..., None]).view(overlap.shape[:3])
    values, which = overlap.max(-1)
    return values - cost, which


def residual_layer(
    values: Float[Tensor, "*rows width"],
    weight: Float[Tensor, "width width"],
    bias: Float[Tensor, " width"],
    slope: float,
) -> Float[Tensor, "*rows width"]:
    """W h + b + h, where h is the activation of the values."""
    active = torch.nn.functional.leaky_relu(values, slope)
    return torch.nn.functional.linear(active, weight, bias) + active
