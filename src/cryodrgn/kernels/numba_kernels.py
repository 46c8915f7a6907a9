"""The operations as compiled loops on processors; see :mod:`cryodrgn.kernels.backends`."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.shifts import phases
from cryodrgn.kernels import torch_kernels
from cryodrgn.kernels.loops import gridding, nearby, products, systems, transforms

# Images whose phases are held at once: enough to occupy some threads.
IMAGES_AT_ONCE = 64


def read_slices(
    grid: RfftVolumeGrid,
    table: Float[Tensor, "voxels columns"],
    points: Float[Tensor, "points 3"],
) -> Float[Tensor, "points columns"]:
    """Trilinear values of a table on a half grid."""
    return torch.from_numpy(gridding.interpolate(table.numpy(), _array(points), grid.shape))


def read_transform(
    transform: Float[Tensor, "z y x 2"], points: Float[Tensor, "points 3"]
) -> Float[Tensor, "points 2"]:
    """Trilinear values of the transform of a real volume."""
    return torch.from_numpy(transforms.read_transform(transform.numpy(), _array(points)))


def add_slices(
    grid: RfftVolumeGrid,
    sums: Float[Tensor, "voxels sums"],
    points: Float[Tensor, "images points 3"],
    columns: Float[Tensor, "images points 3"],
    coefficients: Float[Tensor, "images coefficients"],
    products: Float[Tensor, "images products"],
) -> None:
    """Add images to the eight neighbours of where their slices stand."""
    gridding.spread(
        sums.numpy(),
        grid.shape,
        _array(points),
        _array(columns),
        _array(coefficients),
        _array(products),
    )


def inner_products(
    grid: RfftVolumeGrid,
    table: Float[Tensor, "voxels columns"],
    points: Float[Tensor, "images points 3"],
    images: Float[Tensor, "images points 2"],
    transfer: Float[Tensor, "images points"],
    starts: list[int],
    box_size: int,
) -> Float[Tensor, "images shells vectors vectors"]:
    """Inner products of slices and images, image by image."""
    found = products.inner_products(
        _array(table),
        grid.shape,
        _array(points),
        _array(images),
        _array(transfer),
        np.array(starts),
        box_size,
    )
    return torch.from_numpy(found)


def solve_systems(
    table: Float[Tensor, "rows columns"],
    voxels: Int[Tensor, " voxels"],
    shells: Int[Tensor, " voxels"],
    damping: Float[Tensor, "volumes shells"],
    *,
    with_inverses: bool,
) -> tuple[Float[Tensor, "voxels volumes 2"], Float[Tensor, "voxels volumes volumes"] | None]:
    """Solutions, and inverses, voxel by voxel."""
    spectra, inverses = systems.solve_systems(
        _array(table),
        _array(voxels),
        _array(shells),
        _array(damping),
        with_inverses=with_inverses,
    )
    return torch.from_numpy(spectra), torch.from_numpy(inverses) if with_inverses else None


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
    """Comparison with slices that are never stored."""
    # The loop looks at no borders.
    reach = padding * float(points.norm(dim=-1).max())
    stretch = float(torch.linalg.matrix_norm(axes, 2).max()) if axes.shape[-2] == 2 else 1.0
    if stretch > 1 and stretch * reach >= grid.box_size // 2:
        return torch_kernels.local_pose_search(
            grid, table, padding, points, images, weights, axes, shifts, steps
        )
    assert reach < grid.box_size // 2, "points beyond the grid"
    # Neighbours in a row of the slice find their voxels in the processor's cache.
    order = points[:, 0].argsort(stable=True)
    order = order[points[order, 1].argsort(stable=True)]
    points = points[order]
    planar = _array((padding * points).T)
    turns = _array(phases(points, steps).mT)
    found = []
    for rows in torch.arange(len(shifts)).split(IMAGES_AT_ONCE):
        of_part = nearby.local_pose_search(
            table.numpy(),
            grid.shape,
            planar,
            _array(axes[rows]),
            _array(images[rows][:, order]),
            _array(weights[rows][:, order]),
            _array(phases(points, shifts[rows])),
            turns,
        )
        found.append(of_part)
    values = torch.cat([torch.from_numpy(part) for part, _ in found])
    return values, torch.cat([torch.from_numpy(part) for _, part in found])


def _array(tensor: Tensor) -> np.ndarray:
    """The values of a tensor, in the order of its indices."""
    return tensor.contiguous().numpy()


def residual_layer(
    values: Float[Tensor, "*rows width"],
    weight: Float[Tensor, "width width"],
    bias: Float[Tensor, " width"],
    slope: float,
) -> Float[Tensor, "*rows width"]:
    """W h + b + h; no loop of ours multiplies matrices as fast as libraries do."""
    return torch_kernels.residual_layer(values, weight, bias, slope)
