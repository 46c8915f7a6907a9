"""Latents of images by a linear model that is already there."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.resample import resize_volume
from cryodrgn.linear.expectation import Expectation, Posterior
from cryodrgn.linear.iteration import DiscImages, joined
from cryodrgn.linear.noise import NoiseModel
from cryodrgn.linear.subspace import Subspace, grid_size
from cryodrgn.progress import Progress


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
) -> tuple[Posterior, float]:
    """Posterior of the latents of some images.

    Args:
        images: The images.
        rows: Which of them.
        subspace: The volumes.
        noise: The noise.
        contrast_spread: Standard deviation of contrasts; 0 where all are 1.

    Returns:
        The posterior in the order of the rows, and the mean square of a residual's real number.
    """
    num_points = images.num_points(subspace.radius)
    expectation = Expectation(subspace, noise, num_points, contrast_spread)
    found, squares = [], 0.0
    with Progress(len(rows), "embedding images") as progress:
        for batch in images.batches(rows, subspace.radius):
            posterior, left = expectation(batch, images.box_size)
            found.append(posterior)
            squares += float(left.mean(1).sum())
            progress.advance(len(batch))
    return joined(found), squares / len(rows)
