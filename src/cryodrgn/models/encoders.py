"""Encoders: networks from an image to mean and log-variance of its latent.

All of them take sets of phase-flipped, centred transforms on a half lattice, those of the
images of each particle, and return mean and log-variance of its latent.
"""

import itertools

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies, half_to_hartley
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.models.layers import Mlp, count_perceptron
from cryodrgn.models.protocols import Encoder, EncoderSizes, Posterior
from cryodrgn.models.settings import EncoderConfig


def stored_lattice_of(config: EncoderConfig, box_size: int) -> HalfPlaneFrequencies:
    """The disc up to Nyquist, or more where an encoder sees the whole square of frequencies."""
    if config.mask_radius == -1 and not config.use_real:
        return HalfPlaneFrequencies.square(box_size)
    return HalfPlaneFrequencies.disc(box_size)


class _HartleyInput(nn.Module):
    """Hartley values in raster order within a disc, out of stored transforms."""

    def __init__(self, config: EncoderConfig, box_size: int) -> None:
        super().__init__()
        stored = stored_lattice_of(config, box_size)
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
        self._lattice = stored_lattice_of(config, box_size)
        radius = config.radius(box_size)
        pixels = _pixels_within(box_size, radius) if radius != -1 else None
        self.num_values = box_size**2 if pixels is None else int(pixels.sum())
        self.pixels: Tensor | None
        self.register_buffer("pixels", pixels, persistent=False)

    def forward(self, images: Float[Tensor, "batch points 2"]) -> Float[Tensor, "batch values"]:
        real = real_images(images, self._lattice)
        return real.flatten(1) if self.pixels is None else real[:, self.pixels]


def real_images(
    transforms: Float[Tensor, "batch points 2"], lattice: HalfPlaneFrequencies
) -> Float[Tensor, "batch box box"]:
    """Images whose pixels vary as much as the values of their transforms.

    A transform without factor is larger than its image by the side of the box.
    """
    return images_from_lattice(transforms, lattice) * lattice.box_size


def _pixels_within(box_size: int, radius: int) -> Bool[Tensor, "box box"]:
    axis = torch.arange(box_size) - box_size // 2
    return axis.square()[:, None] + axis.square() <= radius**2


def first_layer_columns(
    values_of: "_HartleyInput | _RealInput",
    layers: nn.Module,
    weights: Float[Tensor, " points"],
) -> tuple[nn.Parameter, Float[Tensor, " inputs"]] | None:
    """The first of a perceptron's layers, and the weights of its inputs, if they have any."""
    if isinstance(values_of, _RealInput):
        return None
    first = next(parameter for parameter in layers.parameters() if parameter.ndim == 2)
    # A value at −k has the weight of k, and the Hartley value of a real number is that number.
    as_image = torch.stack([weights, torch.zeros_like(weights)], dim=-1)
    return first, values_of(as_image[None])[0]


def values_of_images(config: EncoderConfig, box_size: int) -> _HartleyInput | _RealInput:
    """The values of images that a perceptron sees: of their transform, or pixels."""
    kind = _RealInput if config.use_real else _HartleyInput
    return kind(config, box_size)


def count_values(config: EncoderConfig, box_size: int) -> int:
    """Number of values of an image that a perceptron sees."""
    return values_of_images(config, box_size).num_values


class CryodrgnEncoder(Encoder[EncoderConfig]):
    """An encoder of cryoDRGN, whose settings are :class:`EncoderConfig`."""

    settings_type = EncoderConfig

    @classmethod
    def stored_lattice(cls, config: EncoderConfig, box_size: int) -> HalfPlaneFrequencies:
        """The disc up to Nyquist, or more if more is seen."""
        return stored_lattice_of(config, box_size)


class MlpEncoder(CryodrgnEncoder):
    """A perceptron on the values of one image (modes ``resid`` and ``mlp``).

    Args:
        config: Architecture.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        self.values_of = values_of_images(config, box_size)
        self.main = Mlp(
            self.values_of.num_values,
            config.num_layers,
            config.hidden_dim,
            2 * latent_dim,
            config.activation,
            residual=config.mode == "resid",
        ).main

    def input_columns(
        self, weights: Float[Tensor, " points"]
    ) -> tuple[nn.Parameter, Float[Tensor, " inputs"]] | None:
        """The first layer, and the weights of the Hartley values it reads."""
        return first_layer_columns(self.values_of, self.main, weights)

    @classmethod
    def sizes(cls, config: EncoderConfig, *, box_size: int, latent_dim: int) -> EncoderSizes:
        """Sizes of the perceptron; its weights are multiplied with once."""
        values = count_values(config, box_size)
        weights = count_perceptron(values, config.num_layers, config.hidden_dim, 2 * latent_dim)
        return EncoderSizes(weights=weights, multiply_adds=weights)

    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Posterior from the first image of every particle.

        Args:
            sets: The images.
            dtype: Number type of the matrix products.
        """
        values = self.values_of(sets.grouping.first(sets.images))
        with products_in(dtype, values.device):
            encoded = self.main(values)
        return posterior(encoded)


class ConvEncoder(CryodrgnEncoder):
    """A convolutional network on one real image; each of four layers halves its side.

    Args:
        config: Architecture.
        box_size: Side of the images in pixels, a multiple of 16.
        latent_dim: Dimensions of the latent.

    Raises:
        ConfigError: The box size is no multiple of 16.
    """

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        if box_size % 16:
            msg = f"`encode_mode` conv needs a box size divisible by 16, got {box_size}"
            raise ConfigError(msg)
        self._lattice = stored_lattice_of(config, box_size)
        channels = _channels(config)
        layers: list[nn.Module] = []
        for level in range(4):
            layers += [
                nn.Conv2d(channels[level], channels[level + 1], 4, 2, 1, bias=False),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(channels[4], 2 * latent_dim, box_size // 16, bias=False))
        self.main = nn.Sequential(*layers)

    @classmethod
    def sizes(cls, config: EncoderConfig, *, box_size: int, latent_dim: int) -> EncoderSizes:
        """Sizes of the network; every layer halves the side of what it is applied to."""
        channels = _channels(config)
        kernels = [16 * a * b for a, b in itertools.pairwise(channels)]
        last = channels[4] * 2 * latent_dim * (box_size // 16) ** 2
        pixels = [(box_size >> level) ** 2 for level in range(1, 5)]
        return EncoderSizes(
            weights=sum(kernels) + last,
            multiply_adds=sum(a * b for a, b in zip(kernels, pixels, strict=True)) + last,
        )

    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Posterior from the first image of every particle.

        Args:
            sets: The images.
            dtype: Number type of the convolutions.
        """
        first = sets.grouping.first(sets.images)
        images = real_images(first, self._lattice)[:, None]
        with products_in(dtype, images.device):
            encoded = self.main(images).flatten(1)
        return posterior(encoded)


class TiltEncoder(CryodrgnEncoder):
    """A perceptron shared by both images of a tilt pair, and one on what it says of them.

    Args:
        config: Architecture; two of its layers belong to the second perceptron.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        self.values_of = values_of_images(config, box_size)
        width, activation = config.hidden_dim, config.activation
        self.encoder1 = Mlp(
            self.values_of.num_values, config.num_layers - 2, width, width, activation
        )
        self.encoder2 = Mlp(2 * width, 2, width, 2 * latent_dim, activation)

    @classmethod
    def sizes(cls, config: EncoderConfig, *, box_size: int, latent_dim: int) -> EncoderSizes:
        """Sizes of both perceptrons, of which the first is applied to both images."""
        values, width = count_values(config, box_size), config.hidden_dim
        first = count_perceptron(values, config.num_layers - 2, width, width)
        second = count_perceptron(2 * width, 2, width, 2 * latent_dim)
        return EncoderSizes(weights=first + second, multiply_adds=2 * first + second)

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
                "`encode_mode` tilt needs two images of every particle; give the second one of "
                "each with `tilt`"
            )
            raise ConfigError(msg)
        values = self.values_of(sets.images)
        with products_in(dtype, values.device):
            said = self.encoder1(values).unflatten(0, (-1, 2)).flatten(1)
            encoded = self.encoder2(said)
        return posterior(encoded)


def _channels(config: EncoderConfig) -> list[int]:
    """Channels of a convolutional network before its first layer and after each of four."""
    return [1, *(config.hidden_dim * 2**level for level in range(4))]


def products_in(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Matrix products in a number type."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def posterior(encoded: Tensor) -> Posterior:
    """Mean and log-variance out of what a network says of every particle, float32."""
    mean, log_variance = encoded.float().chunk(2, dim=-1)
    return mean, log_variance
