"""Half of the grid of a real volume's transform, and trilinear access to it.

Since F(−k) = conj F(k), the points with kx ≥ 0 say all. Axes z and y run over −n/2 … n/2, axis
x over 0 … n/2 and one point beyond, so that every point within Nyquist has eight neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RfftVolumeGrid:
    """The layout of a half grid.

    Attributes:
        box_size: Side n of the volume in voxels, even.
    """

    box_size: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of points along z, y and x."""
        return self.box_size + 1, self.box_size + 1, self.box_size // 2 + 2

    def neighbours(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[
        Float[Tensor, " points"],
        Iterator[tuple[Int[Tensor, " points"], Float[Tensor, " points"]]],
    ]:
        """The eight grid points around each of some points, and their trilinear shares.

        Args:
            points: (kx, ky, kz) in cycles per box, within Nyquist.

        Returns:
            The sign +1 or −1 that takes each point to kx ≥ 0 (where it is −1, values are to be
            conjugated), and the eight neighbours one after another, as positions in the
            flattened grid with the share of each.
        """
        half = self.box_size // 2
        sign = torch.where(points[:, 0] < 0, -1.0, 1.0)
        position = points * sign[:, None]
        position[:, 1:] += half
        corner = position.floor().clamp_max(self.box_size - 1)
        return sign, self._corners(corner, position - corner)

    def _corners(
        self, corner: Float[Tensor, "points 3"], upper: Float[Tensor, "points 3"]
    ) -> Iterator[tuple[Int[Tensor, " points"], Float[Tensor, " points"]]]:
        _, rows, columns = self.shape
        x, y, z = corner.long().unbind(-1)
        first = (z * rows + y) * columns + x
        shares = torch.stack([1 - upper, upper])
        for dz in (0, 1):
            for dy in (0, 1):
                plane = shares[dz, :, 2] * shares[dy, :, 1]
                for dx in (0, 1):
                    offset = (dz * rows + dy) * columns + dx
                    yield first + offset, plane * shares[dx, :, 0]

    def spectrum_of(self, volume: Float[Tensor, "box box box"]) -> Complex[Tensor, "z y x"]:
        """The centred transform of a real volume on this grid."""
        half_plane = torch.fft.rfftn(torch.fft.ifftshift(volume))
        centred = torch.fft.fftshift(half_plane, dim=(0, 1))
        spectrum = torch.zeros(self.shape, dtype=centred.dtype, device=volume.device)
        spectrum[:-1, :-1, :-1] = centred
        # At +n/2 stands what stands at −n/2.
        spectrum[-1] = spectrum[0]
        spectrum[:, -1] = spectrum[:, 0]
        return spectrum

    def volume_of(
        self, spectrum: Complex[Tensor, "z y x"], side: int | None = None
    ) -> Float[Tensor, "side side side"]:
        """The real volume whose transform is given; inverse of :meth:`spectrum_of`.

        Args:
            spectrum: The transform.
            side: Even side of the middle of the volume that is returned; None returns all.
        """
        if side is None:
            half_plane = torch.fft.ifftshift(spectrum[:-1, :-1, :-1], dim=(0, 1))
            return torch.fft.fftshift(torch.fft.irfftn(half_plane, s=(self.box_size,) * 3))
        # Axis by axis, so that only lines that lead to the middle are transformed, and without
        # moving the origin: that it stands at n/2 changes the sign of every other plane.
        offsets = torch.arange(-side // 2, side // 2, device=spectrum.device)
        kept = offsets % self.box_size
        lines = torch.fft.ifft(spectrum[:-1, :-1, :-1], dim=0)[kept]
        lines = torch.fft.ifft(lines, dim=1)[:, kept]
        volume = torch.fft.irfft(lines, n=self.box_size)[..., kept]
        signs = 1.0 - 2 * (offsets % 2)
        return volume * signs[:, None, None] * signs[:, None]

    def radii(self, device: torch.device | None = None) -> Float[Tensor, "z y x"]:
        """Distance of the grid's points from the origin, in cycles per box."""
        axis, half_axis = self._squares(device)
        return (axis[:, None, None] + axis[:, None] + half_axis).sqrt()

    def planes(self, device: torch.device | None = None) -> Iterator[Float[Tensor, "y x"]]:
        """These points, plane after plane along z."""
        axis, half_axis = self._squares(device)
        within = axis[:, None] + half_axis
        return ((square + within).sqrt() for square in axis)

    def _squares(
        self, device: torch.device | None
    ) -> tuple[Float[Tensor, " z"], Float[Tensor, " x"]]:
        half = self.box_size // 2
        axis = torch.arange(-half, half + 1, device=device).float().square()
        return axis, torch.arange(half + 2, device=device).float().square()


def interpolation_envelope(
    box_size: int, padded_size: int, device: torch.device | None = None
) -> Float[Tensor, "box box box"]:
    """Factor by which trilinear interpolation of a transform multiplies the volume.

    The triangle of the weights has the transform sinc², on each axis.

    Args:
        box_size: Side of the volume.
        padded_size: Side of the zero-padded volume whose transform is interpolated.
        device: Where the result is made.
    """
    offset = (torch.arange(box_size, device=device) - box_size // 2) / padded_size
    envelope = torch.sinc(offset).square()
    return envelope[:, None, None] * envelope[:, None] * envelope
