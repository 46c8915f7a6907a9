"""Images per second of the gather and spread kernels, against other ways to do the same.

python benchmarks/gridding.py
"""

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.kernels import backends
from cryodrgn.kernels.gridding import SliceAccumulator, interpolate

CASES = ((8, 8, 256), (12, 8, 256), (16, 8, 256), (31, 12, 64), (31, 20, 64))
BOX_SIZE = 64


def main() -> None:
    print(f"{torch.get_num_threads()} threads; images/s")
    for radius, components, images in CASES:
        case = Case(radius, components, images)
        ways = {"gather": case.gather, "spread": case.spread, "spread, CSR": case.sparse}
        for name, way in ways.items():
            for is_compiled in (True, False) if name != "spread, CSR" else (False,):
                backends.HAS_NUMBA = is_compiled
                rate = images / _seconds(way)
                kind = "numba" if is_compiled else "torch"
                print(f"radius {radius:2} K {components:2} {name:12} {kind:6} {rate:9.0f}")


class Case:
    """Random slices to be gathered and spread."""

    def __init__(self, radius: int, components: int, images: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self._grid = RfftVolumeGrid(min(2 * (radius + 2), BOX_SIZE))
        lattice = HalfPlaneFrequencies.disc(BOX_SIZE, radius)
        rotations = random_rotations(images, generator)
        self._points = slice_coordinates(lattice.points.float(), rotations)
        shape, volumes = self._points.shape[:2], components + 1
        self._values = torch.randn(*shape, 2, generator=generator)
        self._weights = torch.rand(shape, generator=generator)
        self._coefficients = torch.randn(images, volumes, generator=generator)
        pairs = volumes * (volumes + 1) // 2
        self._products = torch.randn(images, pairs, generator=generator)
        voxels = math.prod(self._grid.shape)
        self._table = torch.randn(voxels, 2 * volumes, generator=generator)
        self._sums = SliceAccumulator(self._grid, volumes, pairs, torch.device("cpu"))

    def gather(self) -> None:
        """Read the slices of all volumes."""
        interpolate(self._grid, self._table, self._points.reshape(-1, 3))

    def spread(self) -> None:
        """Add all images to the sums."""
        self._sums.add(
            self._points, self._values, self._weights, self._coefficients, self._products
        )

    def sparse(self) -> None:
        """The same as the product of a sparse matrix, made for the batch, and a dense one."""
        sign, neighbours = self._grid.neighbours(self._points.reshape(-1, 3))
        places, shares = (torch.cat(part) for part in zip(*neighbours, strict=True))
        count, images = len(sign), len(self._points)
        columns = torch.arange(count).repeat(8)
        size = (len(self._table), count)
        matrix = torch.sparse_coo_tensor(torch.stack([places, columns]), shares, size)
        image = torch.arange(images).repeat_interleave(count // images)
        real, imaginary = self._values.reshape(-1, 2, 1).unbind(1)
        dense = torch.cat(
            [
                real * self._coefficients[image],
                imaginary * sign[:, None] * self._coefficients[image],
                self._weights.reshape(-1, 1) * self._products[image],
            ],
            dim=1,
        )
        matrix.coalesce().to_sparse_csr() @ dense


def _seconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.min(times))


if __name__ == "__main__":
    main()
