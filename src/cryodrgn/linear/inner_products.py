"""Inner products of images and slices of volumes, shell by shell.

They are all that the E step needs of the images: latents, their uncertainty and what is left of
the images follow from them, whatever the noise. Compiled by numba where it is installed.
"""

from itertools import pairwise
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.training_set import Batch
from cryodrgn.fourier import compiled
from cryodrgn.fourier.gridding import interpolate
from cryodrgn.fourier.half_grid import HalfGrid


@compiled.compile_loop
@no_type_check
def _fill(
    table: np.ndarray,
    points: np.ndarray,
    images: np.ndarray,
    ctf: np.ndarray,
    box_size: float,
    grid_shape: tuple[int, int, int],
    design: np.ndarray,
) -> None:
    """Slices of all volumes times the CTF and, behind them, the image, at some points.

    A row of ``design`` holds the real parts of one of them, then the imaginary parts.
    """
    rows, columns = grid_shape[1], grid_shape[2]
    count, width = len(points), table.shape[1]
    half = width // 2
    values = np.empty(width, np.float32)
    for p in range(count):
        i, fx, fy, fz, sign = compiled.place(
            points[p, 0] * box_size,
            points[p, 1] * box_size,
            points[p, 2] * box_size,
            rows // 2,
            rows,
            columns,
        )
        compiled.mix(table, i, fx, fy, fz, rows, columns, values)
        real, imaginary = ctf[p], ctf[p] * sign
        for c in range(half):
            design[c, p] = values[c] * real
            design[c, count + p] = values[half + c] * imaginary
        design[half, p] = images[p, 0]
        design[half, count + p] = images[p, 1]


@compiled.compile_loop
@no_type_check
def _inner_products(
    table: np.ndarray,
    points: np.ndarray,
    images: np.ndarray,
    ctf: np.ndarray,
    starts: np.ndarray,
    box_size: float,
    grid_shape: tuple[int, int, int],
    out: np.ndarray,
) -> None:
    columns = table.shape[1] // 2 + 1
    most = 0
    for s in range(len(starts) - 1):
        most = max(most, starts[s + 1] - starts[s])
    design = np.empty((columns, 2 * most), np.float32)
    for b in range(len(points)):
        for s in range(len(starts) - 1):
            first, last = starts[s], starts[s + 1]
            _fill(
                table,
                points[b, first:last],
                images[b, first:last],
                ctf[b, first:last],
                box_size,
                grid_shape,
                design,
            )
            for i in range(columns):
                for j in range(i + 1):
                    total = np.float32(0)
                    for p in range(2 * (last - first)):
                        total += design[i, p] * design[j, p]
                    out[b, s, i, j] = out[b, s, j, i] = total


def inner_products(
    grid: HalfGrid,
    table: Float[Tensor, "voxels columns"],
    batch: Batch,
    starts: list[int],
    box_size: int,
) -> Float[Tensor, "images shells vectors vectors"]:
    """Inner products of slices (times the CTF) of volumes and the image, the image last.

    Args:
        grid: The grid of the volumes' transforms.
        table: These, see :func:`cryodrgn.fourier.gridding.slice_table`.
        batch: The images.
        starts: First point of every shell, and the number of all points.
        box_size: Side of the images.
    """
    images, coordinates, transfer = batch.images, batch.coordinates, batch.transfer()
    ctf = images.new_ones(images.shape[:2]) if transfer is None else transfer
    shape = (len(images), len(starts) - 1, *2 * (table.shape[1] // 2 + 1,))
    if compiled.IS_AVAILABLE and table.device.type == "cpu":
        out = np.empty(shape, np.float32)
        tensors = (table, coordinates, images, ctf, torch.tensor(starts))
        voxels, *arrays, bounds = (tensor.contiguous().numpy() for tensor in tensors)

        def work(first: int, last: int) -> None:
            parts = [array[first:last] for array in arrays]
            _inner_products(
                voxels, *parts, bounds, np.float32(box_size), grid.shape, out[first:last]
            )

        compiled.in_threads(work, compiled.even_bounds(len(images)))
        return torch.from_numpy(out)
    slices = interpolate(grid, table, coordinates.reshape(-1, 3) * box_size)
    slices = slices.view(*images.shape[:2], 2, -1) * ctf[..., None, None]
    design = torch.cat([slices, images[..., None]], dim=-1)
    parts = [design[:, first:last].flatten(1, 2) for first, last in pairwise(starts)]
    return torch.stack([part.mT @ part for part in parts], dim=1)
