"""The choice of an implementation, by device and by what is installed."""

import importlib
import importlib.util
import os
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.kernels import torch_kernels

# numba takes half a second to load, so it is loaded by the first operation that wants it.
HAS_NUMBA = importlib.util.find_spec("numba") is not None


class Kernels(Protocol):
    """The operations; each implementation is a module that has them all."""

    def read_slices(
        self,
        grid: RfftVolumeGrid,
        table: Float[Tensor, "voxels columns"],
        points: Float[Tensor, "points 3"],
    ) -> Float[Tensor, "points columns"]:
        """Trilinear values of a table on a half grid; its second half of columns is odd in k.

        Args:
            grid: The grid.
            table: A row for every point of it.
            points: (kx, ky, kz) in cycles per box.
        """
        ...

    def read_transform(
        self, transform: Float[Tensor, "z y x 2"], points: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points 2"]:
        """Trilinear values of the transform of a real volume, as pairs.

        All implementations give the same bits.

        Args:
            transform: What :func:`torch.fft.rfftn` returns, as pairs: frequency 0 stands first
                on every axis, and half of the x axis is left out.
            points: (kx, ky, kz) in cycles per box, within Nyquist.
        """
        ...

    def add_slices(
        self,
        grid: RfftVolumeGrid,
        sums: Float[Tensor, "voxels sums"],
        points: Float[Tensor, "images points 3"],
        columns: Float[Tensor, "images points 3"],
        coefficients: Float[Tensor, "images coefficients"],
        products: Float[Tensor, "images products"],
    ) -> None:
        """Add images times coefficients to the neighbours of where their slices stand.

        Args:
            grid: The grid.
            sums: Is changed: real parts of Σ F a, then imaginary parts, then Σ w b.
            points: (kx, ky, kz) in cycles per box.
            columns: Real part of F, imaginary part of F, and w.
            coefficients: The vectors a.
            products: The vectors b.
        """
        ...

    def inner_products(
        self,
        grid: RfftVolumeGrid,
        table: Float[Tensor, "voxels columns"],
        points: Float[Tensor, "images points 3"],
        images: Float[Tensor, "images points 2"],
        transfer: Float[Tensor, "images points"],
        starts: list[int],
        box_size: int,
    ) -> Float[Tensor, "images shells vectors vectors"]:
        """Inner products of slices (times the transfer) and the image, shell by shell.

        They are all that the linear model needs of the images: latents, their uncertainty and
        what is left of the images follow from them, whatever the noise.

        Args:
            grid: The grid of the volumes' transforms.
            table: These, see :func:`cryodrgn.kernels.gridding.slice_table`.
            points: Where the slices stand, in cycles per pixel.
            images: The images there; they are last among the vectors.
            transfer: What slices are multiplied by.
            starts: First point of every shell, and the number of all points.
            box_size: Side of the images.
        """
        ...

    def solve_systems(
        self,
        table: Float[Tensor, "rows columns"],
        voxels: Int[Tensor, " voxels"],
        shells: Int[Tensor, " voxels"],
        damping: Float[Tensor, "volumes shells"],
        *,
        with_inverses: bool,
    ) -> tuple[
        Float[Tensor, "voxels volumes 2"], Float[Tensor, "voxels volumes volumes"] | None
    ]:
        """Solutions of (A + damping) x = b for some rows of a table, and the inverses.

        Args:
            table: Right sides b (real parts, then imaginary parts) and A, its upper
                triangle row by row.
            voxels: Rows that are solved.
            shells: Shell of each of them.
            damping: What is added to the diagonal, by shell.
            with_inverses: Whether inverses of A + damping are wanted, too.
        """
        ...

    def local_pose_search(
        self,
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
        """Log-likelihood ratio of each slice at the best of nearby shifts, and which it is.

        Args:
            grid: Of the reference, which is padded.
            table: The transform of one map on it.
            padding: How much larger than the images its box is.
            points: (kx, ky) in cycles per box of the images, within the grid.
            images: C y / σ² of the images there, not shifted.
            weights: C² / σ².
            axes: Of the slices that each image is compared with, several around each kept
                pose, see :func:`~cryodrgn.imaging.slices.slice_axes`.
            shifts: (x, y) of the kept poses as fractions of the box.
            steps: Shifts that are tried, from there.
        """
        ...

    def residual_layer(
        self,
        values: Float[Tensor, "*rows width"],
        weight: Float[Tensor, "width width"],
        bias: Float[Tensor, " width"],
        slope: float,
    ) -> Float[Tensor, "*rows width"]:
        """W h + b + h, where h is the activation of the values; with gradients.

        Args:
            values: Results of the layer before.
            weight: W.
            bias: b.
            slope: What negative values are multiplied with by the activation; 0 is ReLU.
        """
        ...


def is_compiled(device: torch.device) -> bool:
    """True if the operations on a device are compiled loops."""
    if not HAS_NUMBA or device.type != "cpu":
        return False
    from cryodrgn.kernels.loops.compiling import IS_AVAILABLE  # noqa: PLC0415

    return IS_AVAILABLE


def kernels_for(device: torch.device, *, fused: bool = False) -> Kernels:
    """The implementation for tensors of a device: compiled loops on processors, or torch.

    Args:
        device: Where they are.
        fused: Whether operations of networks are to be kernels of our own, where Triton is
            installed and runs on the device.
    """
    if fused and runs_triton(device):
        return importlib.import_module("cryodrgn.kernels.triton_kernels")  # type: ignore[return-value]
    if not is_compiled(device):
        return torch_kernels
    from cryodrgn.kernels import numba_kernels  # noqa: PLC0415

    return numba_kernels


def runs_triton(device: torch.device) -> bool:
    """True if Triton's kernels run on a device: a CUDA device, or any in its interpreter."""
    if importlib.util.find_spec("triton") is None:
        return False
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
