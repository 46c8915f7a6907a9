"""Encoders of particles that are shown by several images: tilt series."""

import itertools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cryodrgn.errors import ConfigError
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.models.encoders import (
    CryodrgnEncoder,
    count_values,
    first_layer_columns,
    posterior,
    products_in,
    stored_lattice_of,
    values_of_images,
)
from cryodrgn.models.layers import Mlp, count_perceptron
from cryodrgn.models.protocols import EncoderSizes, Posterior
from cryodrgn.models.settings import EncoderConfig

# Added to the sum of squared transfer functions of a voxel, in units of one image whose noise
# has unit variance: Wiener's filter where signal and noise of one image are equal.
WIENER = 1.0
# Sums are of whole numbers of this fraction, which come out the same in any order.
FIXED_POINT = 2.0**-20
LARGEST = 2.0**40
EDGE = 1e-3


class TiltSeriesEncoder(CryodrgnEncoder):
    """A perceptron on each of a fixed number of tilts, and one on what it says of all.

    The encoder of cryoDRGN 4 for tilt series (mode ``tilt`` there): it reads the first tilts of
    a particle, and their order tells it which is which.

    Args:
        config: Architecture.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        self.values_of = values_of_images(config, box_size)
        width, said = config.hidden_dim, config.tilt_embedding_dim
        self.encoder1 = Mlp(
            self.values_of.num_values, config.num_layers, width, said, config.activation
        )
        self.encoder2 = Mlp(
            said * config.num_tilts,
            config.tilt_layers,
            config.tilt_hidden_dim,
            2 * latent_dim,
            config.activation,
        )

    def input_columns(
        self, weights: Float[Tensor, " points"]
    ) -> tuple[nn.Parameter, Float[Tensor, " inputs"]] | None:
        """The first layer of the perceptron on each tilt, and the weights of what it reads."""
        return first_layer_columns(self.values_of, self.encoder1, weights)

    @classmethod
    def sizes(cls, config: EncoderConfig, *, box_size: int, latent_dim: int) -> EncoderSizes:
        """Sizes of both perceptrons, of which the first is applied to every tilt."""
        values, said = count_values(config, box_size), config.tilt_embedding_dim
        first = count_perceptron(values, config.num_layers, config.hidden_dim, said)
        second = count_perceptron(
            said * config.num_tilts,
            config.tilt_layers,
            config.tilt_hidden_dim,
            2 * latent_dim,
        )
        return EncoderSizes(
            weights=first + second, multiply_adds=config.num_tilts * first + second
        )

    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Posterior from the first tilts of every particle.

        Args:
            sets: The images.
            dtype: Number type of the matrix products.

        Raises:
            ConfigError: A particle has fewer tilts.
        """
        count = self.config.num_tilts
        if sets.grouping.fewest < count:
            msg = (
                f"the encoder reads {count} tilts of every particle, but one has "
                f"{sets.grouping.fewest}: give a smaller `num_tilts`, or take `encode_mode` "
                "subtomogram, which reads any number of them"
            )
            raise ConfigError(msg)
        values = self.values_of(sets.grouping.leading(sets.images, count))
        with products_in(dtype, values.device):
            said = self.encoder1(values).unflatten(0, (-1, count)).flatten(1)
            encoded = self.encoder2(said)
        return posterior(encoded)


class SubtomogramEncoder(CryodrgnEncoder):
    """A perceptron on the subtomogram of every particle at low frequencies.

    All images of a particle are added up on the points of its volume's transform that their
    slices reach, Σ t y / (Σ t² + 1) with t the transfer function of an image, CTF times weights
    of dose and tilt. So it does not depend on the order of the images nor on their number, an
    image counts as much as it can tell, and particles are seen in one frame, whatever their
    poses.

    Args:
        config: Architecture.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    needs_poses = True

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        radius = config.radius(box_size)
        lattice = stored_lattice_of(config, box_size)
        seen = lattice.positions_within(radius)
        self.grid = HalfBall(radius)
        self.positions: Tensor
        self.points: Tensor
        self.voxels: Tensor
        self.register_buffer("positions", seen, persistent=False)
        self.register_buffer("points", lattice.points[seen].float(), persistent=False)
        self.register_buffer("voxels", self.grid.voxels(), persistent=False)
        self.main = Mlp(
            2 * len(self.voxels),
            config.num_layers,
            config.hidden_dim,
            2 * latent_dim,
            config.activation,
        ).main

    @classmethod
    def sizes(cls, config: EncoderConfig, *, box_size: int, latent_dim: int) -> EncoderSizes:
        """Sizes of the perceptron; adding up images costs nothing beside it."""
        values = 2 * len(HalfBall(config.radius(box_size)).voxels())
        weights = count_perceptron(values, config.num_layers, config.hidden_dim, 2 * latent_dim)
        return EncoderSizes(weights=weights, multiply_adds=weights)

    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Posterior from all images of every particle.

        Args:
            sets: The images, with their poses.
            dtype: Number type of the matrix products.

        Raises:
            ConfigError: Poses are not known.
        """
        values = self.subtomograms(sets).flatten(1)
        with products_in(dtype, values.device):
            encoded = self.main(values)
        return posterior(encoded)

    @torch.no_grad()
    def subtomograms(self, sets: ImageSets) -> Float[Tensor, "particles voxels 2"]:
        """Transforms of the particles at the voxels of the half ball, as pairs.

        Args:
            sets: The images, with their poses.

        Raises:
            ConfigError: Poses are not known.
        """
        if sets.axes is None:
            msg = "`encode_mode` subtomogram adds up images by their poses, which are not known"
            raise ConfigError(msg)
        images = sets.images[:, self.positions]
        transfer = torch.ones_like(images[..., 0])
        if sets.transfer is not None:
            transfer = sets.transfer[:, self.positions].abs()
        weighted = torch.stack([*(transfer[..., None] * images).unbind(-1), transfer.square()])
        count = sets.grouping.num_particles
        owners = sets.grouping.spread(torch.arange(count, device=images.device))
        sums = self.grid.added_up(
            slice_coordinates(self.points, sets.axes), weighted, owners, count
        )
        found = sums[..., self.voxels]
        return (found[:2] / (found[2] + WIENER)).movedim(0, -1)


class HalfBall:
    """The half z ≥ 0 of a grid of integer frequencies around a ball, (z, y, x).

    Args:
        radius: Of the ball, in Fourier pixels.
    """

    def __init__(self, radius: int) -> None:
        self.radius = radius
        # Points in the ball lie between voxels that may stand outside of it.
        self._middle = radius + 1
        side = 2 * self._middle + 1
        self.shape = (radius + 2, side, side)

    def voxels(self) -> Int[Tensor, " voxels"]:
        """Places of the voxels in the ball, the origin and one of each pair ± k left out."""
        z = torch.arange(self.shape[0])
        axis = torch.arange(-self._middle, self._middle + 1)
        kz, ky, kx = torch.meshgrid(z, axis, axis, indexing="ij")
        inside = kz.square() + ky.square() + kx.square() <= self.radius**2
        is_first = (kz > 0) | (ky > 0) | ((ky == 0) & (kx > 0))
        return torch.nonzero((inside & is_first).flatten()).squeeze(-1)

    def added_up(
        self,
        points: Float[Tensor, "images points 3"],
        values: Float[Tensor, "parts images points"],
        owners: Int[Tensor, " images"],
        count: int,
    ) -> Float[Tensor, "parts particles voxels"]:
        """Values spread over the eight voxels around their points, by particle.

        The result is exactly the same for any order of the images.

        Args:
            points: Frequencies (kx, ky, kz) within the ball.
            values: Real and imaginary part of a Hermitian function, and a weight.
            owners: Particle of each image.
            count: Number of particles.
        """
        flips = points[..., 2] < 0
        points = torch.where(flips[..., None], -points, points)
        # Magnified images may reach beyond.
        points = points.clamp(-self._middle + EDGE, self._middle - EDGE)
        real, imaginary, weight = values
        values = torch.stack([real, torch.where(flips, -imaginary, imaginary), weight])
        corner = points.floor()
        x, y, z = corner.long().unbind(-1)
        size, row = math.prod(self.shape), self.shape[2]
        plane = self.shape[1] * row
        first = owners[:, None] * size + z * plane + (y + self._middle) * row + x + self._middle
        sums = torch.zeros(3, count * size, dtype=torch.long, device=points.device)
        for dz, dy, dx in itertools.product((0, 1), repeat=3):
            places = first + dz * plane + dy * row + dx
            share = _share(points - corner, (dx, dy, dz))
            whole = (values * share / FIXED_POINT).round().clamp(-LARGEST, LARGEST)
            for total, part in zip(sums, whole.long(), strict=True):
                total.index_add_(0, places.flatten(), part.flatten())
        found = (sums * FIXED_POINT).view(3, count, *self.shape)
        return _with_mates(found).flatten(2)


def _with_mates(sums: Float[Tensor, "3 particles z y x"]) -> Float[Tensor, "3 particles z y x"]:
    """Sums in which voxels of the plane z = 0 have what was added to their mates −k, too."""
    real, imaginary, weight = sums[:, :, 0]
    plane = torch.stack(
        [
            real + real.flip(-1, -2),
            imaginary - imaginary.flip(-1, -2),
            weight + weight.flip(-1, -2),
        ]
    )
    return torch.cat([plane[:, :, None], sums[:, :, 1:]], dim=2)


def _share(
    beyond: Float[Tensor, "images points 3"], corner: tuple[int, int, int]
) -> Float[Tensor, "images points"]:
    """Trilinear weight of one of the eight voxels around each point."""
    parts = [
        part if is_next else 1 - part
        for part, is_next in zip(beyond.unbind(-1), corner, strict=True)
    ]
    return parts[0] * parts[1] * parts[2]
