"""Networks that look at an image and say where in the latent space it belongs."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfLattice, half_to_hartley
from cryodrgn.models.layers import Activation, Mlp

EncoderMode = Literal["conv", "resid", "mlp", "tilt"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """Architecture of an encoder.

    Attributes:
        mode: Kind of network.
        num_layers: Hidden layers.
        hidden_dim: Their width.
        mask_radius: Radius in pixels of the disc of frequencies that the encoder sees; None
            means half the box size, −1 the whole square with the origin.
        activation: Between the layers.
    """

    mode: EncoderMode = "resid"
    num_layers: int = 3
    hidden_dim: int = 256
    mask_radius: int | None = None
    activation: Activation = "relu"

    def lattice(self, box_size: int) -> HalfLattice:
        """The frequencies that the encoder sees.

        Raises:
            ConfigError: The mask is larger than the image or empty.
        """
        if self.mask_radius == -1:
            return HalfLattice.square(box_size)
        radius = box_size // 2 if self.mask_radius is None else self.mask_radius
        if not 0 < radius <= box_size // 2:
            msg = (
                f"--enc-mask {radius} must be a radius from 1 to {box_size // 2} pixels, or −1 "
                "for no mask"
            )
            raise ConfigError(msg)
        return HalfLattice.disc(box_size, radius)

    def stored_lattice(self, box_size: int) -> HalfLattice:
        """The frequencies at which images must be kept: the disc up to Nyquist, or more."""
        if self.mask_radius == -1:
            return HalfLattice.square(box_size)
        return HalfLattice.disc(box_size)


class MlpEncoder(nn.Module):
    """Hartley values of the phase-flipped, centred image → mean and log-variance of its latent.

    Args:
        config: Architecture, of mode ``resid`` or ``mlp``.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    def __init__(self, config: EncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__()
        seen = config.lattice(box_size)
        self._has_origin = seen.has_origin
        stored = config.stored_lattice(box_size)
        positions = None
        if len(seen) < len(stored):
            positions = stored.positions_within(config.mask_radius or box_size // 2)
        self.positions: Tensor | None
        self.register_buffer("positions", positions, persistent=False)
        self.main = Mlp(
            seen.num_values,
            config.num_layers,
            config.hidden_dim,
            2 * latent_dim,
            config.activation,
            residual=config.mode == "resid",
        ).main

    def forward(
        self,
        images: Float[Tensor, "batch points 2"],
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Float[Tensor, "batch z"], Float[Tensor, "batch z"]]:
        """Mean and log-variance.

        Args:
            images: Phase-flipped, centred transforms, pairs (real, imaginary).
            dtype: Number type of the network's matrix products.
        """
        if self.positions is not None:
            images = images[:, self.positions]
        values = half_to_hartley(images, has_origin=self._has_origin)
        lower = dtype != torch.float32
        with torch.autocast(values.device.type, dtype, enabled=lower):
            encoded = self.main(values)
        mean, log_variance = encoded.float().chunk(2, dim=-1)
        return mean, log_variance
