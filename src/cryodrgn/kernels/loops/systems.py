"""Many small symmetric systems, one for each voxel."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.kernels.loops.compiling import compile_loop, even_bounds, in_threads


@compile_loop
@no_type_check
def _factorise(matrix: np.ndarray) -> None:
    """Cholesky's L of a matrix, in its lower triangle; the inverse of L on the diagonal."""
    for i in range(len(matrix)):
        for j in range(i):
            left = matrix[i, j]
            for k in range(j):
                left -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = left * matrix[j, j]
        pivot = matrix[i, i]
        for k in range(i):
            pivot -= matrix[i, k] ** 2
        matrix[i, i] = 1 / np.sqrt(pivot)


@compile_loop
@no_type_check
def _substitute(factor: np.ndarray, x: np.ndarray) -> None:
    """Replace x by the solution of L Lᵀ y = x."""
    for i in range(len(x)):
        left = x[i]
        for k in range(i):
            left -= factor[i, k] * x[k]
        x[i] = left * factor[i, i]
    for i in range(len(x) - 1, -1, -1):
        x[i] *= factor[i, i]
        for k in range(i):
            x[k] -= factor[i, k] * x[i]


@compile_loop
@no_type_check
def _invert(factor: np.ndarray, inverse: np.ndarray, out: np.ndarray) -> None:
    """(L Lᵀ)⁻¹ = L⁻ᵀ L⁻¹; ``inverse`` is room for L⁻¹."""
    count = len(factor)
    for i in range(count):
        inverse[i, i] = factor[i, i]
        for j in range(i):
            left = 0.0
            for k in range(j, i):
                left -= factor[i, k] * inverse[k, j]
            inverse[i, j] = left * factor[i, i]
    for i in range(count):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, count):
                total += inverse[k, i] * inverse[k, j]
            out[i, j] = out[j, i] = total


@compile_loop
@no_type_check
def _solve(
    table: np.ndarray,
    voxels: np.ndarray,
    shells: np.ndarray,
    damping: np.ndarray,
    spectra: np.ndarray,
    inverses: np.ndarray,
) -> None:
    """Solutions in double precision; inverses only if there is room for them."""
    count = damping.shape[0]
    factor, inverse = np.zeros((count, count)), np.zeros((count, count))
    right = np.empty(count)
    for v in range(len(voxels)):
        row = table[voxels[v]]
        place = 2 * count
        for i in range(count):
            for j in range(i, count):
                factor[j, i] = row[place]
                place += 1
            factor[i, i] += damping[i, shells[v]]
        _factorise(factor)
        for part in range(2):
            for i in range(count):
                right[i] = row[part * count + i]
            _substitute(factor, right)
            for i in range(count):
                spectra[v, i, part] = right[i]
        if len(inverses) > 0:
            _invert(factor, inverse, inverses[v])


def solve_systems(
    table: Float[np.ndarray, "rows columns"],
    voxels: Int[np.ndarray, " voxels"],
    shells: Int[np.ndarray, " voxels"],
    damping: Float[np.ndarray, "volumes shells"],
    *,
    with_inverses: bool,
) -> tuple[Float[np.ndarray, "voxels volumes 2"], Float[np.ndarray, "_ volumes volumes"]]:
    """Solutions of (A + damping) x = b, and inverses, of which there are none if not wanted."""
    count = len(damping)
    spectra = np.empty((len(voxels), count, 2), np.float32)
    inverses = np.empty((len(voxels) if with_inverses else 0, count, count), np.float32)

    def work(first: int, last: int) -> None:
        part = slice(first, last)
        _solve(table, voxels[part], shells[part], damping, spectra[part], inverses[part])

    in_threads(work, even_bounds(len(voxels)))
    return spectra, inverses
