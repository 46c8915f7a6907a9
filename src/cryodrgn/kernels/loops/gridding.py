"""Trilinear reading and adding of slices on half grids."""

import math
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.kernels.loops.compiling import (
    compile_inline,
    compile_loop,
    even_bounds,
    in_threads,
)


@compile_loop
@no_type_check
def place(
    x: float, y: float, z: float, half: int, rows: int, columns: int
) -> tuple[int, float, float, float, float]:
    """First neighbour of a point, its upper shares, and the sign that takes it to x ≥ 0."""
    sign = np.float32(1.0)
    if x < 0:
        x, y, z, sign = -x, -y, -z, np.float32(-1.0)
    y += half
    z += half
    ix, iy, iz = int(x), min(int(y), rows - 2), min(int(z), rows - 2)
    first = (iz * rows + iy) * columns + ix
    return first, np.float32(x - ix), np.float32(y - iy), np.float32(z - iz), sign


@compile_inline
@no_type_check
def mix(
    table: np.ndarray,
    i: int,
    fx: float,
    fy: float,
    fz: float,
    rows: int,
    columns: int,
    out: np.ndarray,
) -> None:
    """Every column at a point that :func:`place` put among its eight neighbours."""
    gx, gy, gz = 1 - fx, 1 - fy, 1 - fz
    j = i + columns
    k, m = i + rows * columns, i + rows * columns + columns
    w0, w1, w2, w3 = gz * gy * gx, gz * gy * fx, gz * fy * gx, gz * fy * fx
    w4, w5, w6, w7 = fz * gy * gx, fz * gy * fx, fz * fy * gx, fz * fy * fx
    for c in range(table.shape[1]):
        out[c] = (
            w0 * table[i, c]
            + w1 * table[i + 1, c]
            + w2 * table[j, c]
            + w3 * table[j + 1, c]
            + w4 * table[k, c]
            + w5 * table[k + 1, c]
            + w6 * table[m, c]
            + w7 * table[m + 1, c]
        )


@compile_loop
@no_type_check
def _interpolate(
    table: np.ndarray,
    points: np.ndarray,
    half: int,
    rows: int,
    columns: int,
    out: np.ndarray,
) -> None:
    width = table.shape[1]
    imaginary = width // 2
    for p in range(points.shape[0]):
        i, fx, fy, fz, sign = place(
            points[p, 0], points[p, 1], points[p, 2], half, rows, columns
        )
        mix(table, i, fx, fy, fz, rows, columns, out[p])
        if sign < 0:
            for c in range(imaginary, width):
                out[p, c] = -out[p, c]


@compile_loop
@no_type_check
def _collect(
    points: np.ndarray,
    values: np.ndarray,
    half: int,
    rows: int,
    columns: int,
    slots: np.ndarray,
    voxels: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> None:
    """For every image, the voxels it reaches and what it brings there."""
    shares = np.empty(8, np.float32)
    offsets = np.empty(8, np.int64)
    for n in range(8):
        offsets[n] = ((n // 4) * rows + (n // 2) % 2) * columns + n % 2
    for b in range(points.shape[0]):
        count = 0
        for p in range(points.shape[1]):
            i, fx, fy, fz, sign = place(
                points[b, p, 0], points[b, p, 1], points[b, p, 2], half, rows, columns
            )
            real, weight = values[b, p, 0], values[b, p, 2]
            imaginary = values[b, p, 1] * sign
            gx, gy, gz = 1 - fx, 1 - fy, 1 - fz
            shares[0], shares[1] = gz * gy * gx, gz * gy * fx
            shares[2], shares[3] = gz * fy * gx, gz * fy * fx
            shares[4], shares[5] = fz * gy * gx, fz * gy * fx
            shares[6], shares[7] = fz * fy * gx, fz * fy * fx
            for n in range(8):
                voxel = i + offsets[n]
                slot = slots[voxel]
                if slot < 0:
                    slot = count
                    slots[voxel] = slot
                    voxels[b, slot] = voxel
                    sums[b, slot, 0] = sums[b, slot, 1] = sums[b, slot, 2] = 0
                    count += 1
                sums[b, slot, 0] += shares[n] * real
                sums[b, slot, 1] += shares[n] * imaginary
                sums[b, slot, 2] += shares[n] * weight
        for slot in range(count):
            slots[voxels[b, slot]] = -1
        counts[b] = count


@compile_loop
@no_type_check
def _count_by_voxel(voxels: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> None:
    """First entry of each voxel in a sorted list of entries, at ``starts[v + 1]``.

    ``starts`` has two elements to spare.
    """
    for b in range(len(counts)):
        for s in range(counts[b]):
            starts[voxels[b, s] + 2] += 1
    for v in range(2, len(starts)):
        starts[v] += starts[v - 1]


@compile_loop
@no_type_check
def _order_by_voxel(
    voxels: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    first: int,
    last: int,
    starts: np.ndarray,
    images: np.ndarray,
    entries: np.ndarray,
) -> None:
    """Counting sort of what :func:`_collect` found in some voxels.

    Voxel v then has the entries from ``starts[v]`` to ``starts[v + 1]``.
    """
    for b in range(len(counts)):
        for s in range(counts[b]):
            voxel = voxels[b, s]
            if voxel < first or voxel >= last:
                continue
            to = starts[voxel + 1]
            starts[voxel + 1] = to + 1
            images[to] = b
            entries[to, 0] = sums[b, s, 0]
            entries[to, 1] = sums[b, s, 1]
            entries[to, 2] = sums[b, s, 2]


@compile_loop
@no_type_check
def _accumulate(
    starts: np.ndarray,
    images: np.ndarray,
    entries: np.ndarray,
    coefficients: np.ndarray,
    products: np.ndarray,
    first: int,
    last: int,
    out: np.ndarray,
) -> None:
    width, extra = coefficients.shape[1], products.shape[1]
    for v in range(first, last):
        for e in range(starts[v], starts[v + 1]):
            b = images[e]
            real, imaginary, weight = entries[e, 0], entries[e, 1], entries[e, 2]
            for a in range(width):
                out[v, a] += real * coefficients[b, a]
            for a in range(width):
                out[v, width + a] += imaginary * coefficients[b, a]
            for a in range(extra):
                out[v, 2 * width + a] += weight * products[b, a]


@compile_loop
@no_type_check
def _sort_by_plane(
    points: np.ndarray,
    values: np.ndarray,
    half: int,
    rows: int,
    starts: np.ndarray,
    out: np.ndarray,
) -> None:
    """Counting sort of points by the lower of the planes z between which they lie.

    A point comes out as its place, counted from the grid's corner, and its value there.
    ``starts`` has two elements to spare: plane n comes out from ``starts[n]`` to
    ``starts[n + 1]``.
    """
    count = points.shape[0]
    planes = np.empty(count, np.int32)
    for p in range(count):
        z = points[p, 2] if points[p, 0] >= 0 else -points[p, 2]
        planes[p] = min(int(z + half), rows - 2)
        starts[planes[p] + 2] += 1
    for n in range(2, len(starts)):
        starts[n] += starts[n - 1]
    for p in range(count):
        sign = np.float32(1.0) if points[p, 0] >= 0 else np.float32(-1.0)
        to = starts[planes[p] + 1]
        starts[planes[p] + 1] = to + 1
        out[to, 0] = points[p, 0] * sign
        out[to, 1] = points[p, 1] * sign + half
        out[to, 2] = points[p, 2] * sign + half
        out[to, 3], out[to, 4], out[to, 5] = values[p, 0], values[p, 1] * sign, values[p, 2]


@compile_loop
@no_type_check
def _add_row(
    out: np.ndarray,
    v: int,
    fx: float,
    share: float,
    real: float,
    imaginary: float,
    weight: float,
) -> None:
    """Add a value to two neighbours along x."""
    low, high = share * (1 - fx), share * fx
    out[v, 0] += low * real
    out[v, 1] += low * imaginary
    out[v, 2] += low * weight
    out[v + 1, 0] += high * real
    out[v + 1, 1] += high * imaginary
    out[v + 1, 2] += high * weight


@compile_loop
@no_type_check
def _scatter(
    entries: np.ndarray,
    rows: int,
    columns: int,
    starts: np.ndarray,
    first: int,
    last: int,
    out: np.ndarray,
) -> None:
    """Add sorted values to their eight neighbours, where those lie in some of the planes z."""
    for lower in range(max(first - 1, 0), last):
        for e in range(starts[lower], starts[lower + 1]):
            x, y, z = entries[e, 0], entries[e, 1], entries[e, 2]
            real, imaginary, weight = entries[e, 3], entries[e, 4], entries[e, 5]
            ix, iy = int(x), min(int(y), rows - 2)
            fx, fy, fz = x - ix, y - iy, z - lower
            v = (lower * rows + iy) * columns + ix
            if lower >= first:
                _add_row(out, v, fx, (1 - fz) * (1 - fy), real, imaginary, weight)
                _add_row(out, v + columns, fx, (1 - fz) * fy, real, imaginary, weight)
            if lower + 1 < last:
                v += rows * columns
                _add_row(out, v, fx, fz * (1 - fy), real, imaginary, weight)
                _add_row(out, v + columns, fx, fz * fy, real, imaginary, weight)


def require_whole(
    table: Float[np.ndarray, "voxels columns"], shape: tuple[int, int, int]
) -> None:
    """Refuse a table without a row for every point of its grid: loops do not look.

    Raises:
        ValueError: It has more rows, or fewer.
    """
    if len(table) != math.prod(shape):
        msg = f"a table of {len(table)} rows does not belong to a grid of {shape}"
        raise ValueError(msg)


def interpolate(
    table: Float[np.ndarray, "voxels columns"],
    points: Float[np.ndarray, "points 3"],
    shape: tuple[int, int, int],
) -> Float[np.ndarray, "points columns"]:
    """Trilinear values of a table on a half grid; its second half of columns is odd in k."""
    require_whole(table, shape)
    out = np.empty((len(points), table.shape[1]), np.float32)
    rows, columns = shape[1:]

    def work(first: int, last: int) -> None:
        _interpolate(table, points[first:last], rows // 2, rows, columns, out[first:last])

    in_threads(work, even_bounds(len(points)))
    return out


def spread(
    sums: Float[np.ndarray, "voxels columns"],
    shape: tuple[int, int, int],
    points: Float[np.ndarray, "images points 3"],
    values: Float[np.ndarray, "images points 3"],
    coefficients: Float[np.ndarray, "images coefficients"],
    products: Float[np.ndarray, "images products"],
) -> None:
    """Add slices times coefficients to ``sums``."""
    require_whole(sums, shape)
    rows, columns = shape[1:]
    if coefficients.shape[1] == products.shape[1] == 1:
        factors = np.concatenate([coefficients, coefficients, products], axis=1)
        _scatter_all(sums, shape, points, values * factors[:, None])
        return
    count, capacity = points.shape[0], 8 * points.shape[1]
    voxels = np.empty((count, capacity), np.int32)
    found = np.empty((count, capacity, 3), np.float32)
    counts = np.empty(count, np.int64)

    def collect(first: int, last: int) -> None:
        part = slice(first, last)
        slots = np.full(len(sums), -1, np.int32)
        _collect(
            points[part],
            values[part],
            rows // 2,
            rows,
            columns,
            slots,
            voxels[part],
            found[part],
            counts[part],
        )

    in_threads(collect, even_bounds(count))
    starts = np.zeros(len(sums) + 2, np.int64)
    images = np.empty(counts.sum(), np.int32)
    entries = np.empty((len(images), 3), np.float32)
    _count_by_voxel(voxels, counts, starts)
    shares = np.linspace(0, len(images), torch.get_num_threads() + 1)
    bounds = [0, *np.searchsorted(starts[1:-1], shares[1:-1]).tolist(), len(sums)]

    def order(first: int, last: int) -> None:
        _order_by_voxel(voxels, found, counts, first, last, starts, images, entries)

    def accumulate(first: int, last: int) -> None:
        _accumulate(starts, images, entries, coefficients, products, first, last, sums)

    in_threads(order, bounds)
    in_threads(accumulate, bounds)


def _scatter_all(
    sums: Float[np.ndarray, "voxels 3"],
    shape: tuple[int, int, int],
    points: Float[np.ndarray, "images points 3"],
    values: Float[np.ndarray, "images points 3"],
) -> None:
    """Add slices as they are; every thread has planes of its own, with about as many points."""
    rows, columns = shape[1:]
    half, flat_points, flat_values = rows // 2, points.reshape(-1, 3), values.reshape(-1, 3)
    # Points of neighbouring planes one after another find their neighbours in the cache.
    starts = np.zeros(rows + 2, np.int64)
    entries = np.empty((len(flat_points), 6), np.float32)
    _sort_by_plane(flat_points, flat_values, half, rows, starts, entries)

    def scatter(first: int, last: int) -> None:
        _scatter(entries, rows, columns, starts, first, last, sums)

    shares = np.linspace(0, len(entries), torch.get_num_threads() + 1)
    bounds = np.searchsorted(starts[:rows], shares[1:-1]).tolist()
    in_threads(scatter, [0, *bounds, rows])
