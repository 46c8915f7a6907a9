"""Comparison of images with slices around their best poses.

Every slice is read and compared with its image at all nearby shifts while it is in the cache,
and never stored. Images are shared by threads; the result does not depend on their number.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.kernels.loops.compiling import compile_loop, even_bounds, in_threads
from cryodrgn.kernels.loops.gridding import require_whole


@compile_loop
@no_type_check
def _read_slice(
    table: np.ndarray,
    points: np.ndarray,
    rotation: np.ndarray,
    rows: int,
    columns: int,
    firsts: np.ndarray,
    shares: np.ndarray,
    out: np.ndarray,
) -> None:
    """Trilinear values along a slice: first all places, without branches, then all values."""
    one, half = np.float32(1.0), np.float32(rows // 2)
    width, plane = 2 * columns, 2 * rows * columns
    for p in range(points.shape[1]):
        kx, ky = points[0, p], points[1, p]
        x = kx * rotation[0, 0] + ky * rotation[1, 0]
        y = kx * rotation[0, 1] + ky * rotation[1, 1]
        z = kx * rotation[0, 2] + ky * rotation[1, 2]
        sign = -one if x < 0 else one
        x, y, z = x * sign, y * sign + half, z * sign + half
        ix, iy, iz = np.int32(x), np.int32(y), np.int32(z)
        firsts[p] = iz * np.int32(plane) + iy * np.int32(width) + np.int32(2) * ix
        shares[0, p], shares[1, p] = x - np.float32(ix), y - np.float32(iy)
        shares[2, p], shares[3, p] = z - np.float32(iz), sign
    for p in range(points.shape[1]):
        i = np.int64(firsts[p])
        j, k, m = i + width, i + plane, i + plane + width
        fx, fy, fz = shares[0, p], shares[1, p], shares[2, p]
        low = (one - fz) * (one - fy)
        near, far, high = (one - fz) * fy, fz * (one - fy), fz * fy
        real = low * table[i] + near * table[j] + far * table[k] + high * table[m]
        i, j, k, m = i + 1, j + 1, k + 1, m + 1
        imaginary = low * table[i] + near * table[j] + far * table[k] + high * table[m]
        i, j, k, m = i + 1, j + 1, k + 1, m + 1
        next_real = low * table[i] + near * table[j] + far * table[k] + high * table[m]
        i, j, k, m = i + 1, j + 1, k + 1, m + 1
        next_imaginary = low * table[i] + near * table[j] + far * table[k] + high * table[m]
        out[0, p] = real + fx * (next_real - real)
        out[1, p] = (imaginary + fx * (next_imaginary - imaginary)) * shares[3, p]


@compile_loop
@no_type_check
def _compare(
    slice_values: np.ndarray,
    moved: np.ndarray,
    weights: np.ndarray,
    turns: np.ndarray,
    products: np.ndarray,
) -> tuple[float, int]:
    """The largest gain of one slice over the shifts that the turns stand for, and which."""
    power = np.float32(0.0)
    for p in range(moved.shape[1]):
        real, imaginary = slice_values[0, p], slice_values[1, p]
        products[0, p] = moved[0, p] * real + moved[1, p] * imaginary
        products[1, p] = moved[1, p] * real - moved[0, p] * imaginary
        power += weights[p] * (real * real + imaginary * imaginary)
    # No infinity: arithmetic is compiled as if there were none.
    best, which = np.float32(-3e38), 0
    for s in range(turns.shape[0]):
        overlap = np.float32(0.0)
        for p in range(moved.shape[1]):
            overlap += products[0, p] * turns[s, 0, p] + products[1, p] * turns[s, 1, p]
        if overlap > best:
            best, which = overlap, s
    return best - np.float32(0.5) * power, which


@compile_loop
@no_type_check
def _best_of_shifts(
    table: np.ndarray,
    rows: int,
    columns: int,
    points: np.ndarray,
    rotations: np.ndarray,
    images: np.ndarray,
    weights: np.ndarray,
    phases: np.ndarray,
    turns: np.ndarray,
    values: np.ndarray,
    which: np.ndarray,
) -> None:
    count = points.shape[1]
    firsts, shares = np.empty(count, np.int32), np.empty((4, count), np.float32)
    moved, read = np.empty((2, count), np.float32), np.empty((2, count), np.float32)
    products = np.empty((2, count), np.float32)
    for b in range(rotations.shape[0]):
        for a in range(rotations.shape[1]):
            for p in range(count):
                real, imaginary = images[b, p, 0], images[b, p, 1]
                cosine, sine = phases[b, a, p, 0], phases[b, a, p, 1]
                moved[0, p] = real * cosine + imaginary * sine
                moved[1, p] = imaginary * cosine - real * sine
            for c in range(rotations.shape[2]):
                _read_slice(
                    table, points, rotations[b, a, c], rows, columns, firsts, shares, read
                )
                values[b, a, c], which[b, a, c] = _compare(
                    read, moved, weights[b], turns, products
                )


def local_pose_search(
    table: Float[np.ndarray, "voxels 2"],
    shape: tuple[int, int, int],
    points: Float[np.ndarray, "2 points"],
    axes: Float[np.ndarray, "batch kept parts axes 3"],
    images: Float[np.ndarray, "batch points 2"],
    weights: Float[np.ndarray, "batch points"],
    phases: Float[np.ndarray, "batch kept points 2"],
    turns: Float[np.ndarray, "steps 2 points"],
) -> tuple[Float[np.ndarray, "batch kept parts"], Int[np.ndarray, "batch kept parts"]]:
    """Log-likelihood ratio of each slice at the best of several shifts, and which shift it is.

    Args:
        table: Transform of one reference.
        shape: Of its half grid.
        points: Where slices are read, in cycles per box of that grid, within Nyquist. They are
            best ordered by rows, so that neighbours find their voxels in the cache.
        axes: Of the slices, see :func:`~cryodrgn.imaging.slices.slice_axes`.
        images: C y / σ², not shifted.
        weights: C² / σ².
        phases: Of the shift around which those of each image and kept pose lie.
        turns: Phases of the steps from there.
    """
    require_whole(table, shape)
    rows, columns = shape[1:]
    found = np.empty(axes.shape[:3], np.float32)
    which = np.empty(axes.shape[:3], np.int64)
    flat, arrays = table.reshape(-1), (axes, images, weights, phases)

    def work(first: int, last: int) -> None:
        own = [array[first:last] for array in arrays]
        part = slice(first, last)
        _best_of_shifts(flat, rows, columns, points, *own, turns, found[part], which[part])

    in_threads(work, even_bounds(len(found)))
    return found, which
