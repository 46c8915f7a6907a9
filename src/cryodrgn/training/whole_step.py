"""The training step as one function of tensors: a whole batch, without parts.

Beside the parameters it depends on :class:`StepInputs` alone, whose shapes are the same for
every batch: a last batch that is smaller is filled up with particles of weight 0, and points
beyond the radius within which images are compared have weight 0. It can be compiled, and
replayed as a CUDA graph.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch, StoredBatch
from cryodrgn.imaging.likelihood import predict
from cryodrgn.models.protocols import VolumeModel

# Places of numbers in StepInputs.numbers.
DIVISOR, BETA, TURNING = range(3)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepInputs:
    """All that a step depends on beside the parameters.

    Attributes:
        stored: Images, CTF parameters and poses.
        frequencies: Of the stored points, in cycles per pixel.
        compared: Positions of those at which slices are computed; None for all.
        point_weights: 1 at those of them that are compared, 0 beyond the radius.
        particle_weights: 1 for particles of the batch, 0 for those that fill it up.
        noise: Standard normal numbers for every particle.
        numbers: What sums over particles are divided by, β, and the weight of the penalty on
            latents that change when images are turned.
        turns: Whether that penalty is computed at all.
        latent: Latents that are looked up; None for a model that encodes them, or has none.
    """

    stored: StoredBatch
    frequencies: Float[Tensor, "points 2"]
    compared: Int[Tensor, " compared"] | None
    point_weights: Float[Tensor, " compared"]
    particle_weights: Float[Tensor, " batch"]
    noise: Float[Tensor, "batch noise"]
    numbers: Float[Tensor, " 3"]
    turns: bool
    latent: Float[Tensor, "batch z"] | None = None

    @property
    def num_values(self) -> Float[Tensor, ""]:
        """Number of compared values of an image, two for every point."""
        return 2 * self.point_weights.sum()


WholeLoss = Callable[[StepInputs], Float[Tensor, " 3"]]


def reconstruction_term(
    decoder: VolumeModel,
    batch: Batch,
    latent: Float[Tensor, "batch z"],
    inputs: StepInputs,
    dtype: torch.dtype,
) -> Float[Tensor, ""]:
    """Sum over images of their mean squared errors within the radius, over the divisor."""
    slices = decoder(batch.coordinates, batch.grouping.spread(latent), dtype)
    predicted = predict(batch.whole_slices(slices), batch.compared_transfer())
    sums = batch.compared_likelihood().errors(predicted, batch.targets(), inputs.point_weights)
    errors = sums / inputs.point_weights.sum()
    weights = batch.grouping.spread(inputs.particle_weights)
    return (errors * weights).sum() / (batch.images_per_particle * inputs.numbers[DIVISOR])


def weighted_kl(
    mean: Float[Tensor, "batch z"], log_variance: Float[Tensor, "batch z"], inputs: StepInputs
) -> Float[Tensor, ""]:
    """Sum over particles of the divergence per dimension, over the divisor.

    See :func:`cryodrgn.imaging.likelihood.kl_divergence`.
    """
    terms = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean(1)
    return (terms * inputs.particle_weights).sum() / inputs.numbers[DIVISOR]


def value_and_gradients(
    loss: WholeLoss, leaves: Sequence[Tensor], inputs: StepInputs
) -> tuple[Float[Tensor, " 3"], tuple[Tensor | None, ...]]:
    """Losses of a step and the gradients of the total one.

    Args:
        loss: Of a model, compiled or not.
        leaves: Parameters and rows of tables that learn.
        inputs: The batch.
    """
    terms = loss(inputs)
    return terms.detach(), torch.autograd.grad(terms[2], leaves, allow_unused=True)
