"""The posterior of a linear model in closed form, corrected by a network that begins at 0."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.imaging.likelihood import in_units_of_noise
from cryodrgn.imaging.linear_posterior import Posterior as LinearPosterior
from cryodrgn.imaging.linear_posterior import posterior_of
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.kernels.backends import kernels_for
from cryodrgn.kernels.gridding import table_of_volumes
from cryodrgn.models.encoders import (
    count_values,
    posterior,
    products_in,
    stored_lattice_of,
    values_of_images,
)
from cryodrgn.models.layers import Mlp, count_perceptron
from cryodrgn.models.linear_network import begin_at_zero
from cryodrgn.models.protocols import Encoder, EncoderSizes, Posterior
from cryodrgn.models.settings import LinearEncoderConfig


def _read_anew(model: "LinearEncoder", _: object) -> None:
    """Make all that follows from volumes anew, once weights are loaded."""
    model._read_model()


class LinearEncoder(Encoder[LinearEncoderConfig]):
    """Mean m + σ δ and log-variance log σ² + ε.

    m and σ² are the mean and the variance of the latent under a linear model, given all images
    of a particle with their poses, CTF and spectrum of noise; δ and ε are what a perceptron
    says of the images, nothing at first. Dimensions that the linear model does not have begin
    at the prior: m = 0, σ = 1.

    Args:
        config: The shape.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    settings_type = LinearEncoderConfig
    needs_poses = True

    def __init__(self, config: LinearEncoderConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        self.register_load_state_dict_post_hook(_read_anew)
        side, count = config.grid_size, config.linear_dim + 1
        self.register_buffer("volumes", torch.zeros(count, side, side, side))
        self.register_buffer("noise", torch.ones(config.radius + 1))
        self.register_buffer("contrast_spread", torch.zeros(()))
        self.register_buffer("table", torch.zeros(0, 2 * count), persistent=False)
        self.grid = RfftVolumeGrid(side)
        stored = self.stored_lattice(config, box_size)
        radii = stored.points.double().square().sum(-1).sqrt()
        order = radii.argsort(stable=True)
        seen = order[(radii[order] > 0) & (radii[order] <= config.radius)]
        shells = radii[seen].round().long()
        counts = torch.bincount(shells, minlength=config.radius + 1)
        self._starts = [0, *counts.cumsum(0).tolist()]
        self.register_buffer("seen", seen, persistent=False)
        frequencies = stored.points[seen].float() / box_size
        self.register_buffer("frequencies", frequencies, persistent=False)
        self._spread = 0.0
        self.values_of = values_of_images(config.network, box_size)
        self.main = Mlp(
            self.values_of.num_values,
            config.num_layers,
            config.hidden_dim,
            2 * latent_dim,
            config.activation,
        ).main
        begin_at_zero(self.main)

    @classmethod
    def sizes(
        cls, config: LinearEncoderConfig, *, box_size: int, latent_dim: int
    ) -> EncoderSizes:
        """Sizes of the perceptron, and of the volumes that are compared with images."""
        values, count = count_values(config.network, box_size), config.linear_dim + 1
        weights = count_perceptron(values, config.num_layers, config.hidden_dim, 2 * latent_dim)
        fixed = count * config.grid_size**3 + config.radius + 2
        products = 3.2 * config.radius**2 * (16 * count + count**2)
        return EncoderSizes(weights=weights + fixed, multiply_adds=weights + products)

    @classmethod
    def stored_lattice(cls, config: LinearEncoderConfig, box_size: int) -> HalfPlaneFrequencies:
        """The disc up to Nyquist, or more if more is seen."""
        return stored_lattice_of(config.network, box_size)

    @torch.no_grad()
    def put_model(
        self,
        volumes: Float[Tensor, "volumes side side side"],
        noise: Float[Tensor, " shells"],
        contrast_spread: float,
    ) -> None:
        """Take this for the linear model, in normalised units.

        Args:
            volumes: V_0 … V_K.
            noise: Variance of the noise of one real number by shell, up to the radius at least.
            contrast_spread: Standard deviation of contrasts; 0 where all are 1.
        """
        self.get_buffer("volumes").copy_(volumes)
        self.get_buffer("noise").copy_(noise[: self.config.radius + 1])
        self.get_buffer("contrast_spread").fill_(contrast_spread)
        self._read_model()

    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Posterior from all images of every particle.

        Args:
            sets: The images, with their poses.
            dtype: Number type of the perceptron's matrix products.
        """
        mean, log_variance = self.linear(sets)
        values = self.values_of(sets.images)
        with products_in(dtype, values.device):
            said = self.main(values)
        change, log_change = posterior(sets.grouping.mean(said))
        return mean + (0.5 * log_variance).exp() * change, log_variance + log_change

    @torch.no_grad()
    def linear(self, sets: ImageSets) -> Posterior:
        """Mean and log-variance under the linear model alone, and of the prior beyond it."""
        found = self.linear_posterior(sets)
        beyond = found.mean.new_zeros(len(found.mean), self.latent_dim - found.mean.shape[1])
        log_variance = found.covariance.diagonal(dim1=1, dim2=2).log()
        return torch.cat([found.mean, beyond], 1), torch.cat([log_variance, beyond], 1)

    def linear_posterior(self, sets: ImageSets) -> LinearPosterior:
        """The posterior of the linear model, with its covariances and contrasts."""
        assert sets.axes is not None, "the linear model needs poses"
        seen = self.get_buffer("seen")
        images = sets.images[:, seen]
        if not len(self.get_buffer("table")):
            self._read_model()
        # Images are phase-flipped, and so are their predictions.
        transfer = torch.ones_like(images[..., 0])
        if sets.transfer is not None:
            transfer = sets.transfer[:, seen].abs()
        products = kernels_for(images.device).inner_products(
            self.grid,
            self.get_buffer("table"),
            slice_coordinates(self.get_buffer("frequencies"), sets.axes),
            images,
            transfer,
            self._starts,
            self.box_size,
        )
        variances = self.get_buffer("noise").expand(len(images), -1)
        gram = sets.grouping.total(in_units_of_noise(products, variances))
        return posterior_of(gram, self._spread)

    def _read_model(self) -> None:
        """Make the table from which slices are read anew."""
        with torch.inference_mode(mode=False), torch.no_grad():
            self.table = table_of_volumes(self.get_buffer("volumes"), self.config.radius)
            self._spread = float(self.get_buffer("contrast_spread"))
