"""Trilinear reading of the transform of one volume, as a transform leaves it."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float

from cryodrgn.kernels.loops.compiling import compile_exact_loop, even_bounds, in_threads


@compile_exact_loop
@no_type_check
def _sort_by_plane(
    points: np.ndarray, starts: np.ndarray, sorted_points: np.ndarray, order: np.ndarray
) -> None:
    """Counting sort of points by the lower of the planes z between which they lie.

    ``starts`` has two elements more than there are planes: points of plane n come out from
    ``starts[n]`` to ``starts[n + 1]``.
    """
    size = len(starts) - 2
    half = np.float32(size // 2)
    planes = np.empty(len(points), np.int32)
    for p in range(len(points)):
        z = points[p, 2] if points[p, 0] >= 0 else -points[p, 2]
        planes[p] = max(0, min(int(z + half), size - 1))
        starts[planes[p] + 2] += 1
    for n in range(2, len(starts)):
        starts[n] += starts[n - 1]
    for p in range(len(points)):
        to = starts[planes[p] + 1]
        starts[planes[p] + 1] = to + 1
        for axis in range(3):
            sorted_points[to, axis] = points[p, axis]
        order[to] = p


@compile_exact_loop
@no_type_check
def _read(
    table: np.ndarray, size: int, points: np.ndarray, order: np.ndarray, out: np.ndarray
) -> None:
    """Values at sorted points; the order of every sum is that of the form in torch."""
    half, columns, one = size // 2, size // 2 + 1, np.float32(1)
    for p in range(len(points)):
        x, y, z, sign = points[p, 0], points[p, 1], points[p, 2], one
        if x < 0:
            x, y, z, sign = -x, -y, -z, -one
        y, z = y + np.float32(half), z + np.float32(half)
        i = max(0, min(int(x), half))
        j, k = max(0, min(int(y), size - 1)), max(0, min(int(z), size - 1))
        fx, fy, fz = x - np.float32(i), y - np.float32(j), z - np.float32(k)
        gx, gy, gz = one - fx, one - fy, one - fz
        # Frequency 0 stands first, and there is nothing beyond the last column.
        j = j - half if j >= half else j + half
        k = k - half if k >= half else k + half
        below = 0 if j == size - 1 else j + 1
        behind = 0 if k == size - 1 else k + 1
        right = 1 if i < half else 0
        fx = fx if i < half else np.float32(0)
        a, b = (k * size + j) * columns + i, (k * size + below) * columns + i
        c, d = (behind * size + j) * columns + i, (behind * size + below) * columns + i
        real, imaginary = np.float32(0), np.float32(0)
        plane = gz * gy
        real += table[a, 0] * (plane * gx)
        imaginary += table[a, 1] * (plane * gx)
        real += table[a + right, 0] * (plane * fx)
        imaginary += table[a + right, 1] * (plane * fx)
        plane = gz * fy
        real += table[b, 0] * (plane * gx)
        imaginary += table[b, 1] * (plane * gx)
        real += table[b + right, 0] * (plane * fx)
        imaginary += table[b + right, 1] * (plane * fx)
        plane = fz * gy
        real += table[c, 0] * (plane * gx)
        imaginary += table[c, 1] * (plane * gx)
        real += table[c + right, 0] * (plane * fx)
        imaginary += table[c + right, 1] * (plane * fx)
        plane = fz * fy
        real += table[d, 0] * (plane * gx)
        imaginary += table[d, 1] * (plane * gx)
        real += table[d + right, 0] * (plane * fx)
        imaginary += table[d + right, 1] * (plane * fx)
        out[order[p], 0], out[order[p], 1] = real, imaginary * sign


def read_transform(
    transform: Float[np.ndarray, "z y x 2"], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 2"]:
    """Trilinear values of the transform of a real volume.

    Points are read plane after plane: the two planes between which they lie are in the cache,
    where a slice visits places all over a volume that is not.
    """
    size = len(transform)
    table, out = transform.reshape(-1, 2), np.empty((len(points), 2), np.float32)

    def work(first: int, last: int) -> None:
        part = points[first:last]
        starts = np.zeros(size + 2, np.int64)
        sorted_points, order = np.empty_like(part), np.empty(len(part), np.int32)
        _sort_by_plane(part, starts, sorted_points, order)
        _read(table, size, sorted_points, order, out[first:last])

    in_threads(work, even_bounds(len(points)))
    return out
