"""Latents of images by a linear model that is already there."""

import logging

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.devices import sum_dtype
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import resize_volume
from cryodrgn.imaging.likelihood import kl_divergence
from cryodrgn.imaging.linear_posterior import Posterior
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.linear.expectation import Expectation
from cryodrgn.linear.iteration import DiscImages, joined
from cryodrgn.linear.subspace import Subspace, grid_size
from cryodrgn.models.basis import BasisModel
from cryodrgn.particles.optics_groups import groups_by_optics
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress
from cryodrgn.reconstruction.encode import Evaluation

logger = logging.getLogger(__name__)


def subspace_of(volumes: Float[Tensor, "volumes box box box"], radius: int) -> Subspace:
    """The volumes up to a radius; their priors play no part in an embedding."""
    side = grid_size(radius, volumes.shape[-1])
    small = torch.stack([resize_volume(volume, side) for volume in volumes])
    prior = torch.ones(len(volumes), radius + 2, device=volumes.device)
    return Subspace(volumes=small, prior=prior, radius=radius)


def embed(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    subspace: Subspace,
    noise: NoiseModel,
    contrast_spread: float = 0.0,
    *,
    description: str = "embedding images",
) -> tuple[Posterior, float]:
    """Posterior of the latents of some images.

    Args:
        images: The images.
        rows: Which of them.
        subspace: The volumes.
        noise: The noise.
        contrast_spread: Standard deviation of contrasts; 0 where all are 1.
        description: What the progress shows.

    Returns:
        The posterior in the order of the rows, and the mean square of a residual's real number.
    """
    num_points = images.num_points(subspace.radius)
    expectation = Expectation(subspace, noise, num_points, contrast_spread)
    mine = images.team.piece(rows)
    squares, found = torch.zeros((), dtype=sum_dtype(images.device), device=images.device), []
    with Progress(len(mine), description) as progress:
        for batch in images.batches(mine, subspace.radius):
            posterior, left = expectation(batch, images.box_size)
            found.append(posterior)
            squares = squares + left.sum()
            progress.advance(len(batch))
    count = images.images.num_images(rows) * num_points
    return joined(found, images.team), float(images.team.total(squares)) / count


def inner_products(
    images: DiscImages, rows: Int[Tensor, " rows"], subspace: Subspace, noise: NoiseModel
) -> tuple[Float[Tensor, "rows columns columns"], Float[Tensor, " rows"]]:
    """All that the likelihood of some particles under a model depends on.

    Args:
        images: The images.
        rows: Which particles.
        subspace: The volumes.
        noise: The noise.

    Returns:
        Inner products of slices (mean first) and of images (last) in units of the noise, and
        the number of real numbers of every particle's images that were compared.
    """
    num_points = images.num_points(subspace.radius)
    expectation = Expectation(subspace, noise, num_points)
    products, counts = [], []
    for batch in images.batches(images.team.piece(rows), subspace.radius):
        products.append(expectation.gram(batch, images.box_size))
        ones = torch.ones_like(batch.images[:, 0, 0])
        counts.append(2 * num_points * batch.grouping.total(ones))
    team = images.team
    return team.gather(torch.cat(products)), team.gather(torch.cat(counts))


def evaluate_linear(
    model: BasisModel,
    particles: ParticleSet,
    images: DiscImages,
    *,
    scale: float,
    beta: float,
) -> Evaluation:
    """Embed images by the model of a linear run, without fitting anything.

    Args:
        model: The model.
        particles: The particles, for the optics of their images.
        images: Their images, prepared as those of the run.
        scale: What the images were divided by.
        beta: Weight of the KL divergence in the loss.

    Raises:
        ConfigError: The model embeds no images.
    """
    if not model.config.num_groups:
        msg = "the model is one of reconstructed states, which embeds no images"
        raise ConfigError(msg)
    device = images.device
    volumes, spectra, optics, spread = (
        model.get_buffer(name).to(device)
        for name in ("volumes", "noise", "optics", "contrast_spread")
    )
    groups = torch.from_numpy(groups_by_optics(particles.images, optics.cpu().numpy())).to(
        device
    )
    shells = images.images.lattice.points.double().square().sum(-1).sqrt().round().long()
    noise = NoiseModel(groups=groups, spectra=spectra / scale**2, shells=shells.to(device))
    posterior, reconstruction = embed(
        images,
        torch.arange(len(images)),
        subspace_of(volumes / scale, model.config.radius),
        noise,
        float(spread),
    )
    variance = posterior.covariance.diagonal(dim1=1, dim2=2)
    per_dimension = float(kl_divergence(posterior.mean, variance.log()))
    num_values = 2 * images.num_points(model.config.radius)
    return Evaluation(
        mean=posterior.mean.cpu().numpy(),
        log_variance=np.log(variance.cpu().numpy()),
        reconstruction=reconstruction,
        kl=per_dimension * model.latent_dim,
        loss=reconstruction + beta * per_dimension / num_values,
    )
