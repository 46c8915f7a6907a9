"""Inner products of images and slices of volumes, shell by shell."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.kernels.loops.compiling import compile_loop, even_bounds, in_threads
from cryodrgn.kernels.loops.gridding import mix, place, require_whole


@compile_loop
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
        i, fx, fy, fz, sign = place(
            points[p, 0] * box_size,
            points[p, 1] * box_size,
            points[p, 2] * box_size,
            rows // 2,
            rows,
            columns,
        )
        mix(table, i, fx, fy, fz, rows, columns, values)
        real, imaginary = ctf[p], ctf[p] * sign
        for c in range(half):
            design[c, p] = values[c] * real
            design[c, count + p] = values[half + c] * imaginary
        design[half, p] = images[p, 0]
        design[half, count + p] = images[p, 1]


@compile_loop
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
    table: Float[np.ndarray, "voxels columns"],
    shape: tuple[int, int, int],
    points: Float[np.ndarray, "images points 3"],
    images: Float[np.ndarray, "images points 2"],
    transfer: Float[np.ndarray, "images points"],
    starts: Int[np.ndarray, " bounds"],
    box_size: int,
) -> Float[np.ndarray, "images shells vectors vectors"]:
    """Inner products of slices (times the transfer) and images, the image last."""
    require_whole(table, shape)
    columns = table.shape[1] // 2 + 1
    out = np.empty((len(images), len(starts) - 1, columns, columns), np.float32)

    def work(first: int, last: int) -> None:
        parts = [array[first:last] for array in (points, images, transfer)]
        _inner_products(table, *parts, starts, np.float32(box_size), shape, out[first:last])

    in_threads(work, even_bounds(len(images)))
    return out
