"""Volumes from a trained decoder."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.compiled_code import can_compile
from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.fourier.transforms import centred_fft, centred_ifft
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import write_volume
from cryodrgn.models.protocols import VolumeModel
from cryodrgn.parallel import ALONE, Team
from cryodrgn.progress import track
from cryodrgn.reconstruction.options import DecodingCompilation, ProcessingOptions
from cryodrgn.settings import settings

# Operations from which on compiling pays: a minute of a card, which compiles in a third of it.
LEAST_OPERATIONS = 1e16


@runtime_checkable
class VolumeSource(Protocol):
    """Source of volumes for latents: the decoder of a network, or another model."""

    @property
    def box_size(self) -> int:
        """Side of the volumes in voxels, unless a smaller one is asked for."""
        ...

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent; 0 for a single structure."""
        ...

    @property
    def device(self) -> torch.device:
        """Device on which the volumes are computed."""
        ...

    def volume(
        self, latent: Float[Tensor, " z"], box_size: int | None = None
    ) -> Float[Tensor, "box box box"]:
        """The volume at one point of the latent space."""
        ...

    def volumes(
        self, latents: Float[Tensor, "volumes z"], box_size: int | None = None
    ) -> Iterator[Float[Tensor, "box box box"]]:
        """The volumes at points of the latent space, one after another."""
        ...


class VolumeDecoder:
    """The volumes of a model in units of the images on which it was trained.

    Args:
        decoder: The model.
        offset: Added to the Hartley values after scaling.
        scale: What its values are multiplied with to be those of images; a model whose values
            are in these units has no use for either.
        device: Where to compute.
        dtype: Number type of its matrix products.
        whole_cube: Whether to ask the model also beyond the Nyquist sphere, where no image
            has told it anything. cryoDRGN does so with decoders of Hartley values.
        mask: What volumes are multiplied by; None for nothing.
        compilation: ``on`` compiles the evaluation of the model, ``auto`` where it is on CUDA
            and long enough for that, ``off`` does not.
    """

    def __init__(
        self,
        decoder: VolumeModel,
        offset: float,
        scale: float,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        *,
        whole_cube: bool = False,
        mask: Float[Tensor, "box box box"] | None = None,
        compilation: DecodingCompilation = "off",
    ) -> None:
        self._compilation, self._can_compile = compilation, True
        self._mask = mask
        self._decoder = decoder.to(device).eval()
        self._norm = (offset, scale) if decoder.is_normalised else (0.0, 1.0)
        self.device = device
        self._dtype = dtype
        self._whole_cube = whole_cube

    @property
    def box_size(self) -> int:
        """Side of the volumes in voxels, unless a smaller one is asked for."""
        return self._decoder.box_size

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent."""
        return self._decoder.latent_dim

    def volume(
        self, latent: Float[Tensor, " z"], box_size: int | None = None
    ) -> Float[Tensor, "box box box"]:
        """The volume at one point of the latent space; see :meth:`volumes`."""
        return next(self.volumes(latent[None], box_size))

    def volumes(
        self, latents: Float[Tensor, "volumes z"], box_size: int | None = None
    ) -> Iterator[Float[Tensor, "box box box"]]:
        """The volumes at points of the latent space, one after another.

        Args:
            latents: The points.
            box_size: A smaller even side, which leaves out the frequencies beyond it; the
                values of the transform are kept.

        Raises:
            ConfigError: The side is odd or too large.
        """
        offset, scale = self._norm
        self._decoder.compile_evaluation(
            self._compiles(len(latents), box_size or self.box_size)
        )
        volumes = self._decoder.make_volumes(
            latents.to(self.device),
            box_size,
            dtype=self._dtype,
            offset=offset,
            scale=scale,
            whole_cube=self._whole_cube,
        )
        if self._mask is None:
            return volumes
        mask = resize_mask(self._mask, box_size or self.box_size)
        return (volume * mask for volume in volumes)

    def _compiles(self, count: int, box_size: int) -> bool:
        """True if so many volumes are to be decoded by compiled code, and can be."""
        if self._compilation == "off" or not self._can_compile:
            return False
        if self._compilation == "auto":
            if self.device.type != "cuda":
                return False
            model = self._decoder
            sizes = type(model).sizes(
                model.config, box_size=model.box_size, latent_dim=model.latent_dim
            )
            points = math.pi / 12 * box_size**3
            if 2 * sizes.volume_multiply_adds * points * count < LEAST_OPERATIONS:
                return False
        self._can_compile = can_compile(
            self._compilation, self.device, "volumes are decoded by code that is not"
        )
        return self._can_compile


def decode_volumes(
    source: VolumeSource,
    latents: Float[Tensor, "volumes z"],
    box_size: int | None = None,
    description: str = "decoding",
) -> Iterator[Float[Tensor, "box box box"]]:
    """The volumes at points of the latent space, one after another, with their progress.

    Args:
        source: What makes them.
        latents: The points.
        box_size: A smaller even side to decode at.
        description: What is being done.

    Raises:
        ConfigError: The latents have the wrong dimension or are not finite, there are none, or
            the side is impossible.
    """
    if latents.shape[1] != source.latent_dim:
        own = counted(source.latent_dim, "dimension")
        given = counted(latents.shape[1], "coordinate")
        msg = f"the model has a latent of {own}, but a point of {given} was given"
        raise ConfigError(msg)
    _require_finite(latents)
    check_new_box_size(source.box_size, box_size or source.box_size)
    volumes = source.volumes(latents, box_size)
    return track(volumes, len(latents), description, "volume")


def _require_finite(latents: Float[Tensor, "volumes z"]) -> None:
    if not len(latents):
        msg = "there are no points of the latent space to decode at; give one row at least"
        raise ConfigError(msg)
    wrong = (~latents.isfinite()).any(1).nonzero()
    if len(wrong):
        row = int(wrong[0])
        msg = f"z must be finite, got {latents[row].tolist()} for volume {row}"
        raise ConfigError(msg)


@settings
class PostProcessing(ProcessingOptions):
    """Processing of a decoded volume before it is written, in this order."""

    def check(self, box_size: int) -> None:
        """Validate the settings for volumes of a given side.

        Raises:
            ConfigError: The crop is larger than the volume.
        """
        if self.crop is not None and self.crop > box_size:
            msg = f"`crop` {self.crop} must lie between 1 and the box size of {box_size} voxels"
            raise ConfigError(msg)

    def apply(
        self, volume: Float[Tensor, "box box box"], geometry: MapGeometry
    ) -> tuple[Float[Tensor, "z y x"], MapGeometry]:
        """The processed volume, and its sampling and place."""
        if self.flip:
            volume = volume.flip(0)
        if self.invert:
            volume = -volume
        if self.low_pass is not None:
            volume = _low_pass(volume, (geometry.pixel_size or 1.0) / self.low_pass)
        if self.crop is None:
            return volume, geometry
        margin = (len(volume) - self.crop) // 2
        inner = slice(margin, margin + self.crop)
        return volume[inner, inner, inner], geometry.cropped(margin)


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
        msg = (
            "a path from `z_start` to `z_end` needs at least 2 volumes, got `num_volumes` "
            f"{count}"
        )
        raise ConfigError(msg)
    return start + torch.linspace(0, 1, count)[:, None] * (end - start)


def write_volumes(
    decoder: VolumeSource,
    latents: Float[Tensor, "volumes z"],
    paths: Sequence[Path],
    *,
    geometry: MapGeometry,
    box_size: int | None = None,
    processing: PostProcessing | None = None,
    team: Team = ALONE,
) -> None:
    """Decode and write one volume per latent.

    Args:
        decoder: The decoder.
        latents: Points of the latent space.
        paths: Where the volumes go.
        geometry: Sampling and place of volumes of the decoder's own box size.
        box_size: A smaller even side to decode at.
        processing: What is done to the volumes before they are written.
        team: Processes that share the volumes; this is the first of them, and the others call
            :func:`help_to_write`.

    Raises:
        ConfigError: The latents have the wrong dimension, or a size is impossible.
    """
    processing = processing or PostProcessing()
    size = box_size or decoder.box_size
    processing.check(size)
    job = _Volumes(latents, list(paths), geometry, size, processing)
    team.agree(job).write(decoder, team)


def help_to_write(decoder: VolumeSource, team: Team) -> None:
    """Decode and write this process's share of what the first process of a team writes."""
    team.agree(None).write(decoder, team)


@dataclass(frozen=True, slots=True)
class _Volumes:
    latents: Float[Tensor, "volumes z"]
    paths: list[Path]
    geometry: MapGeometry
    box_size: int
    processing: PostProcessing

    def write(self, decoder: VolumeSource, team: Team) -> None:
        resampled = self.geometry.resampled(decoder.box_size, self.box_size)
        mine = slice(team.rank, None, team.size)
        latents, paths = self.latents[mine], self.paths[mine]
        volumes = decode_volumes(decoder, latents, self.box_size) if paths else ()
        for volume, path in zip(volumes, paths, strict=True):
            processed, geometry = self.processing.apply(volume, resampled)
            write_volume(path, processed.numpy(), geometry)
        team.wait()
