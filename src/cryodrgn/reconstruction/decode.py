"""Volumes from a trained decoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfLattice, half_to_hartley, volume_frequencies
from cryodrgn.fourier.resample import check_new_box_size, downsample_volume
from cryodrgn.fourier.transforms import centred_fft, centred_ifft, inverse_hartley
from cryodrgn.io.mrc import write_volume
from cryodrgn.models.basis import BasisModel
from cryodrgn.models.decoders import Decoder
from cryodrgn.progress import track

POINTS_PER_BATCH = 100_000


@runtime_checkable
class VolumeSource(Protocol):
    """What makes volumes of latents: the decoder of a network, or another model."""

    @property
    def box_size(self) -> int:
        """Side of the volumes in voxels, unless a smaller one is asked for."""
        ...

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent; 0 for a single structure."""
        ...

    def volume(
        self, latent: Float[Tensor, " z"], box_size: int | None = None
    ) -> Float[Tensor, "box box box"]:
        """The volume at one point of the latent space."""
        ...


class VolumeDecoder:
    """Evaluates a decoder on the grid of a volume.

    Args:
        decoder: The network.
        offset: Added to the Hartley values after scaling.
        scale: What the network's values are multiplied with to be those of images.
        device: Where to compute.
        whole_cube: Whether to ask the decoder also beyond the Nyquist sphere, where no image
            has told it anything. cryoDRGN does so with decoders of Hartley values.
    """

    def __init__(
        self,
        decoder: Decoder,
        offset: float,
        scale: float,
        device: torch.device,
        *,
        whole_cube: bool = False,
    ) -> None:
        self._decoder = decoder.to(device).eval()
        self._offset, self._scale = offset, scale
        self._device = device
        self._whole_cube = whole_cube

    @property
    def box_size(self) -> int:
        """Side of the volumes in voxels, unless a smaller one is asked for."""
        return self._decoder.box_size

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent."""
        return self._decoder.latent_dim

    @torch.inference_mode()
    def volume(
        self, latent: Float[Tensor, " z"], box_size: int | None = None
    ) -> Float[Tensor, "box box box"]:
        """The volume at one point of the latent space.

        Args:
            latent: The point.
            box_size: A smaller even side, which leaves out the frequencies beyond it; the
                values of the transform are kept.
        """
        box_size = box_size or self.box_size
        check_new_box_size(self.box_size, box_size)
        side, half = box_size + 1, box_size // 2
        transform = torch.zeros(side, side, side)
        for plane in range(-half, 0):
            values = self._plane(volume_frequencies(box_size, plane), latent, half)
            first, mates = half_to_hartley(values).view(2, side, side)
            transform[half + plane], transform[half - plane] = first, mates
        lattice = HalfLattice.square(box_size)
        centre = torch.cat([lattice.points, torch.zeros_like(lattice.points[:, :1])], dim=1)
        values = self._plane(centre, latent, half)
        transform[half] = half_to_hartley(values, has_origin=True).view(side, side)
        return inverse_hartley(transform[:-1, :-1, :-1], 3)

    def _plane(
        self, points: Tensor, latent: Float[Tensor, " z"], radius: int
    ) -> Float[Tensor, "points 2"]:
        """Scaled transform at integer frequencies, zero where it is not asked for."""
        within = torch.ones(len(points), dtype=torch.bool)
        if not self._whole_cube:
            within = points.square().sum(-1) <= radius**2
        values = torch.zeros(len(points), 2)
        asked = (points[within] / self.box_size).to(self._device)
        decoded = [
            self._decoder(part[None], latent[None].to(self._device))[0]
            for part in asked.split(POINTS_PER_BATCH)
        ]
        offset = torch.tensor([self._offset, 0.0])
        values[within] = torch.cat(decoded).cpu() * self._scale + offset
        return values


class BasisVolumes:
    """Adds up the volumes of a model that is a sum over functions of the latent.

    Args:
        model: The model.
        device: Where to compute.
    """

    def __init__(self, model: BasisModel, device: torch.device) -> None:
        self._model = model.to(device).eval()
        self._device = device

    @property
    def box_size(self) -> int:
        """Side of the volumes in voxels, unless a smaller one is asked for."""
        return self._model.box_size

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent."""
        return self._model.latent_dim

    @torch.inference_mode()
    def volume(
        self, latent: Float[Tensor, " z"], box_size: int | None = None
    ) -> Float[Tensor, "box box box"]:
        """The volume at one point of the latent space.

        Args:
            latent: The point.
            box_size: A smaller even side.

        Raises:
            ConfigError: The side is odd or too large.
        """
        volume = self._model.combined(latent[None].to(self._device))[0]
        if box_size is not None and box_size != self.box_size:
            volume = downsample_volume(volume, box_size)
        return volume.cpu()


@dataclass(frozen=True, kw_only=True, slots=True)
class PostProcessing:
    """What is done to a decoded volume before it is written, in this order.

    Attributes:
        flip: Reverse the z axis, which changes the hand.
        invert: Change the sign.
        low_pass: Resolution in Å beyond which the transform is set to zero.
        crop: Side in voxels to which the volume is cut about its centre.
    """

    flip: bool = False
    invert: bool = False
    low_pass: float | None = None
    crop: int | None = None

    def check(self, box_size: int) -> None:
        """Refuse what cannot be done to volumes of a given side.

        Raises:
            ConfigError: The crop is larger than the volume, or the resolution not positive.
        """
        if self.crop is not None and not 0 < self.crop <= box_size:
            msg = f"--crop {self.crop} must lie between 1 and the box size of {box_size} voxels"
            raise ConfigError(msg)
        if self.low_pass is not None and not self.low_pass > 0:
            msg = f"--low-pass must be a positive resolution in Å, got {self.low_pass}"
            raise ConfigError(msg)

    def apply(
        self, volume: Float[Tensor, "box box box"], pixel_size: float
    ) -> tuple[Float[Tensor, "z y x"], float]:
        """The processed volume, and the position of its first voxel in Å on each axis."""
        if self.flip:
            volume = volume.flip(0)
        if self.invert:
            volume = -volume
        if self.low_pass is not None:
            volume = _low_pass(volume, pixel_size / self.low_pass)
        if self.crop is None:
            return volume, 0.0
        margin = (len(volume) - self.crop) // 2
        return volume[(slice(margin, margin + self.crop),) * 3], margin * pixel_size


def _low_pass(
    volume: Float[Tensor, "box box box"], cutoff: float
) -> Float[Tensor, "box box box"]:
    """Zero beyond a frequency in cycles per pixel."""
    box_size = len(volume)
    axis = (torch.arange(box_size) - box_size // 2) / box_size
    squares = axis.square()
    radius = (squares[:, None, None] + squares[:, None] + squares).sqrt()
    transform = centred_fft(volume, 3) * (radius <= cutoff)
    return centred_ifft(transform, 3).real


def straight_path(
    start: Float[Tensor, " z"], end: Float[Tensor, " z"], count: int
) -> Float[Tensor, "count z"]:
    """Equally spaced points from one latent to another, both included.

    Raises:
        ConfigError: There are fewer than two.
    """
    if count < 2:
        msg = f"a path from --z-start to --z-end needs at least 2 volumes, got -n {count}"
        raise ConfigError(msg)
    return start + torch.linspace(0, 1, count)[:, None] * (end - start)


def write_volumes(
    decoder: VolumeSource,
    latents: Float[Tensor, "volumes z"],
    paths: Sequence[Path],
    *,
    pixel_size: float,
    box_size: int | None = None,
    processing: PostProcessing | None = None,
) -> None:
    """Decode and write one volume per latent.

    Args:
        decoder: The decoder.
        latents: Points of the latent space.
        paths: Where the volumes go.
        pixel_size: Å/px at the decoder's own box size.
        box_size: A smaller even side to decode at.
        processing: What is done to the volumes before they are written.

    Raises:
        ConfigError: The latents have the wrong dimension, or a size is impossible.
    """
    if latents.shape[1] != decoder.latent_dim:
        msg = (
            f"the model has a latent of {decoder.latent_dim} dimensions, got {latents.shape[1]}"
        )
        raise ConfigError(msg)
    processing = processing or PostProcessing()
    size = box_size or decoder.box_size
    check_new_box_size(decoder.box_size, size)
    processing.check(size)
    sampling = pixel_size * decoder.box_size / size
    pairs = zip(latents, paths, strict=True)
    for latent, path in track(pairs, len(paths), "decoding", "volume"):
        volume, origin = processing.apply(decoder.volume(latent, size), sampling)
        write_volume(path, volume.numpy(), sampling, origin)
