"""Projections and rotations of volumes by way of their transforms."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.devices import to_device
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid, interpolation_envelope
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.kernels.backends import kernels_for

# Interpolation errors fall with the square of the padding, its memory grows with the cube.
PADDING, PADDING_OF_LARGE_BOXES, LARGE_BOX = 3, 2, 160
POINTS_PER_BATCH = 1_000_000


class VolumeSlicer:
    """Slices of the transform of one volume.

    The volume is divided by the envelope of trilinear interpolation and padded with zeros to
    three times its box (twice, if that is large) before its transform is interpolated.

    Args:
        volume: The volume.
    """

    def __init__(self, volume: Float[Tensor, "box box box"]) -> None:
        self.box_size = volume.shape[0]
        self._padding = PADDING if self.box_size < LARGE_BOX else PADDING_OF_LARGE_BOXES
        padded = self._padding * self.box_size
        envelope = interpolation_envelope(self.box_size, padded, volume.device)
        transform = torch.fft.rfftn(_origin_first(volume / envelope, padded))
        self._transform = torch.view_as_real(transform)

    def slices(
        self, lattice: HalfPlaneFrequencies, rotations: Float[Tensor, "batch 3 3"]
    ) -> Float[Tensor, "batch points 2"]:
        """The transforms of projections.

        Args:
            lattice: Frequencies wanted, for images of the volume's box size.
            rotations: From the volume's frame to the image's.
        """
        points = to_device(lattice.points.float(), rotations.device)
        points = slice_coordinates(points, rotations)
        return self.values_at(points.reshape(-1, 3)).reshape(len(rotations), -1, 2)

    def values_at(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 2"]:
        """The transform as pairs (real, imaginary).

        Args:
            points: (kx, ky, kz) in cycles per box, within Nyquist.
        """
        kernels = kernels_for(points.device)
        return kernels.read_transform(self._transform, self._padding * points)


def _origin_first(
    volume: Float[Tensor, "box box box"], side: int
) -> Float[Tensor, "side side side"]:
    """A volume padded with zeros, its origin at the first voxel of every axis."""
    half, padded = len(volume) // 2, volume.new_zeros((side,) * 3)
    halves = ((slice(0, half), slice(half, None)), (slice(-half, None), slice(0, half)))
    for parts in itertools.product(halves, repeat=3):
        to, of = zip(*parts, strict=True)
        padded[to] = volume[of]
    return padded


def move_volume(
    volume: Float[Tensor, "box box box"],
    rotation: Float[Tensor, "3 3"],
    shift: Float[Tensor, " 3"],
) -> Float[Tensor, "box box box"]:
    """Rotate a volume about its origin, then shift it.

    What stood at x stands at R x + t afterwards. Frequencies beyond the Nyquist sphere are
    left out.

    Args:
        volume: The volume.
        rotation: R.
        shift: t = (x, y, z) in voxels.
    """
    box_size = len(volume)
    grid = RfftVolumeGrid(box_size)
    radii = grid.radii()
    within = radii <= box_size // 2
    z, y, x = torch.nonzero(within).unbind(-1)
    points = torch.stack([x, y - box_size // 2, z - box_size // 2], dim=-1).float()
    slicer = VolumeSlicer(volume)
    spectrum = torch.zeros(grid.shape, dtype=torch.complex64)
    # F'(k) = F(Rᵀ k) exp(−2πi k·t / n).
    parts = [slicer.values_at(part @ rotation) for part in points.split(POINTS_PER_BATCH)]
    ramp = torch.exp(-2j * torch.pi / box_size * (points @ shift))
    spectrum[within] = torch.view_as_complex(torch.cat(parts)) * ramp
    return grid.volume_of(spectrum)
