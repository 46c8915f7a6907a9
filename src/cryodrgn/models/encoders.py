"""Networks that look at an image and say where in the latent space it belongs.

All of them take sets of phase-flipped, centred transforms on a half lattice, those of the
images of each particle, and return mean and log-variance of its latent.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfLattice, half_to_hartley
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.models.layers import Activation, Mlp

EncoderMode = Literal["conv", "resid", "mlp", "tilt"]
Posterior = tuple[Float[Tensor, "batch z"], Float[Tensor, "batch z"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """Architecture of an encoder.

    Attributes:
        mode: ``resid`` and ``mlp`` are perceptrons on one image, ``conv`` a convolutional
            network on it, ``tilt`` a perceptron on both images of a tilt pair.
        num_layers: Hidden layers.
        hidden_dim: Their width; of ``conv``, the number of channels of the first layer.
        mask_radius: Radius in pixels of the disc that a perceptron sees; None means half the
            box size, −1 the whole square.
        use_real: Whether the encoder sees the image rather than its transform.
        activation: Between the layers.
    """

    mode: EncoderMode = "resid"
    num_layers: int = 3
    hidden_dim: int = 256
    mask_radius: int | None = None
    use_real: bool = False
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        """Refuse combinations that no network has.

        Raises:
            ConfigError: Options contradict one another.
        """
        if self.mode == "conv" and not self.use_real:
            msg = "--encode-mode conv works on real images; add --use-real"
            raise ConfigError(msg)
        if self.mode == "tilt" and self.num_layers <= 2:
            msg = f"--encode-mode tilt needs --qlayers of at least 3, got {self.num_layers}"
            raise ConfigError(msg)

    def radius(self, box_size: int) -> int:
        """Radius in pixels of what is seen; −1 for all of it.

        Raises:
            ConfigError: The mask is larger than the image or empty.
        """
        radius = box_size // 2 if self.mask_radius is None else self.mask_radius
        if radius != -1 and not 0 < radius <= box_size // 2:
            msg = (
                f"--enc-mask {radius} must be a radius from 1 to {box_size // 2} pixels, or −1 "
                "for no mask"
            )
            raise ConfigError(msg)
        return radius

    def stored_lattice(self, box_size: int) -> HalfLattice:
        """The frequencies at which images must be kept: the disc up to Nyquist, or more."""
        if self.mask_radius == -1 and not self.use_real:
            return HalfLattice.square(box_size)
        return HalfLattice.disc(box_size)


class _HartleyInput(nn.Module):
    """Hartley values in raster order within a disc, out of stored transforms."""

    def __init__(self, config: EncoderConfig, box_size: int) -> None:
        super().__init__()
        stored = config.stored_lattice(box_size)
        radius = config.radius(box_size)
        self._has_origin = stored.has_origin
        positions = None if radius == -1 else stored.positions_within(radius)
        self.num_values = stored.num_values if positions is None else 2 * len(positions)
        if positions is not None and len(positions) == len(stored):
            positions = None
        self.positions: Tensor | None
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, images: Float[Tensor, "batch points 2"]) -> Float[Tensor, "batch values"]:
        if self.positions is not None:
            images = images[:, self.positions]
        return half_to_hartley(images, has_origin=self._has_origin)


class _RealInput(nn.Module):
    """Pixels within a disc, out of stored transforms, with about unit variance."""

    def __init__(self, config: EncoderConfig, box_size: int) -> None:
        super().__init__()
        self._lattice = config.stored_lattice(box_size)
        radius = config.radius(box_size)
        pixels = _pixels_within(box_size, radius) if radius != -1 else None
        self.num_values = box_size**2 if pixels is None else int(pixels.sum())
        self.pixels: Tensor | None
        self.register_buffer("pixels", pixels, persistent=False)

    def forward(self, images: Float[Tensor, "batch points 2"]) -> Float[Tensor, "batch values"]:
        real = real_images(images, self._lattice)
        return real.flatten(1) if self.pixels is None else real[:, self.pixels]


def real_images(
    transforms: Float[Tensor, "batch points 2"], lattice: HalfLattice
) -> Float[Tensor, "batch box box"]:
    """Images whose pixels vary as much as the values of their transforms.

    A transform without factor is larger than its image by the side of the box.
    """
    return images_from_lattice(transforms, lattice) * lattice.box_size


def _pixels_within(box_size: int, radius: int) -> Bool[Tensor, "box box"]:
    axis = torch.arange(box_size) - box_size // 2
    return axis.square()[:, None] + axis.square() <= radius**2


class MlpEncoder(nn.Module):
    """A perceptron on the values of one image (modes ``resid`` and ``mlp``).

    Args:
        config: Architecture.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__()
        kind = _RealInput if config.use_real else _HartleyInput
        self.values_of = kind(config, box_size)
        self.main = Mlp(
            self.values_of.num_values,
            config.num_layers,
            config.hidden_dim,
            2 * latent_dim,
            config.activation,
            residual=config.mode == "resid",
        ).main

    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Posterior from the first image of every particle.

        Args:
            sets: The images.
            dtype: Number type of the matrix products.
        """
        values = self.values_of(sets.grouping.first(sets.images))
        with _products_in(dtype, values.device):
            encoded = self.main(values)
        return _posterior(encoded)


class ConvEncoder(nn.Module):
    """A convolutional network on one real image; each of four layers halves its side.

    Args:
        config: Architecture.
        box_size: Side of the images in pixels, a multiple of 16.
        latent_dim: Dimensions of the latent.

    Raises:
        ConfigError: The box size is no multiple of 16.
    """

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__()
        if box_size % 16:
            msg = f"--encode-mode conv needs a box size divisible by 16, got {box_size}"
            raise ConfigError(msg)
        self._lattice = config.stored_lattice(box_size)
        channels = [1, *(config.hidden_dim * 2**level for level in range(4))]
        layers: list[nn.Module] = []
        for level in range(4):
            layers += [
                nn.Conv2d(channels[level], channels[level + 1], 4, 2, 1, bias=False),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(channels[4], 2 * latent_dim, box_size // 16, bias=False))
        self.main = nn.Sequential(*layers)

    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Posterior from the first image of every particle.

        Args:
            sets: The images.
            dtype: Number type of the convolutions.
        """
        first = sets.grouping.first(sets.images)
        images = real_images(first, self._lattice)[:, None]
        with _products_in(dtype, images.device):
            encoded = self.main(images).flatten(1)
        return _posterior(encoded)


class TiltEncoder(nn.Module):
    """A perceptron shared by both images of a tilt pair, and one on what it says of them.

    Args:
        config: Architecture; two of its layers belong to the second perceptron.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__()
        kind = _RealInput if config.use_real else _HartleyInput
        self.values_of = kind(config, box_size)
        width, activation = config.hidden_dim, config.activation
        self.encoder1 = Mlp(
            self.values_of.num_values, config.num_layers - 2, width, width, activation
        )
        self.encoder2 = Mlp(2 * width, 2, width, 2 * latent_dim, activation)

    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Posterior from the two images of every particle.

        Args:
            sets: The images.
            dtype: Number type of the matrix products.

        Raises:
            ConfigError: A particle has not two of them.
        """
        if sets.grouping.counts != 2:
            msg = (
                "--encode-mode tilt needs two images of every particle; give the second one of "
                "each with --tilt"
            )
            raise ConfigError(msg)
        values = self.values_of(sets.images)
        with _products_in(dtype, values.device):
            said = self.encoder1(values).unflatten(0, (-1, 2)).flatten(1)
            encoded = self.encoder2(said)
        return _posterior(encoded)


Encoder = MlpEncoder | ConvEncoder | TiltEncoder


def build_encoder(config: EncoderConfig, *, box_size: int, latent_dim: int) -> Encoder:
    """The encoder that a config describes."""
    kinds = {"conv": ConvEncoder, "tilt": TiltEncoder}
    kind = kinds.get(config.mode, MlpEncoder)
    return kind(config, box_size=box_size, latent_dim=latent_dim)


def _products_in(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def _posterior(encoded: Tensor) -> Posterior:
    mean, log_variance = encoded.float().chunk(2, dim=-1)
    return mean, log_variance
