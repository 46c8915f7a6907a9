"""Many small symmetric systems, one for each voxel, compiled by numba where it is installed."""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier import compiled


@compiled.compile_loop
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


@compiled.compile_loop
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


@compiled.compile_loop
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


@compiled.compile_loop
@no_type_check
def _solve(
    table: np.ndarray,
    voxels: np.ndarray,
    shells: np.ndarray,
    damping: np.ndarray,
    spectra: np.ndarray,
    inverses: np.ndarray,
) -> None:
    """:func:`solve_all` in double precision; inverses only if there is room for them."""
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


def solve_all(
    table: Float[Tensor, "rows columns"],
    voxels: Int[Tensor, " voxels"],
    shells: Int[Tensor, " voxels"],
    damping: Float[Tensor, "volumes shells"],
    *,
    with_inverses: bool,
) -> tuple[Float[Tensor, "voxels volumes 2"], Float[Tensor, "voxels volumes volumes"] | None]:
    """Solve (A + damping) x = b for some rows of a table.

    Args:
        table: Right sides b (real parts, then imaginary parts) and A, its upper triangle row by
            row.
        voxels: Rows that are solved.
        shells: Shell of each of them.
        damping: What is added to the diagonal, by shell.
        with_inverses: Whether inverses of A + damping are wanted, too.

    Returns:
        The solutions, and the inverses.
    """
    count = len(damping)
    if compiled.IS_AVAILABLE and table.device.type == "cpu":
        spectra = np.empty((len(voxels), count, 2), np.float32)
        inverses = np.empty((len(voxels) if with_inverses else 0, count, count), np.float32)
        arrays = [tensor.contiguous().numpy() for tensor in (table, voxels, shells, damping)]

        def work(first: int, last: int) -> None:
            part = slice(first, last)
            _solve(
                arrays[0],
                arrays[1][part],
                arrays[2][part],
                arrays[3],
                spectra[part],
                inverses[part],
            )

        compiled.in_threads(work, compiled.even_bounds(len(voxels)))
        found = torch.from_numpy(spectra)
        return found, torch.from_numpy(inverses) if with_inverses else None
    return _solved_by_torch(table[voxels], damping[:, shells].T, with_inverses=with_inverses)


def _solved_by_torch(
    rows: Float[Tensor, "voxels columns"],
    damping: Float[Tensor, "voxels volumes"],
    *,
    with_inverses: bool,
) -> tuple[Float[Tensor, "voxels volumes 2"], Float[Tensor, "voxels volumes volumes"] | None]:
    count, device = damping.shape[1], rows.device
    first, second = torch.triu_indices(count, count, device=device)
    precision = rows.new_zeros(len(rows), count, count)
    precision[:, first, second] = precision[:, second, first] = rows[:, 2 * count :]
    precision.diagonal(dim1=1, dim2=2).add_(damping)
    factor = torch.linalg.cholesky_ex(precision).L
    right = rows[:, : 2 * count].unflatten(1, (2, count)).mT
    spectra = torch.cholesky_solve(right, factor)
    return spectra, torch.cholesky_inverse(factor) if with_inverses else None
