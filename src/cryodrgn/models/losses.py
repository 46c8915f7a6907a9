"""Losses that training minimises."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from cryodrgn.imaging.forward_model import predict
from cryodrgn.imaging.likelihood import WHITE, ImageLikelihood, mean_squared_error


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """Losses of a batch, each a scalar averaged over its images.

    Attributes:
        reconstruction: Mean squared error per compared value.
        kl: Kullback–Leibler divergence of the latent posterior from the prior.
        total: What is minimised.
    """

    reconstruction: Float[Tensor, ""]
    kl: Float[Tensor, ""]
    total: Float[Tensor, ""]


def reconstruction_loss(
    slices: Float[Tensor, "batch points 2"],
    observed: Float[Tensor, "batch points 2"],
    transfer: Float[Tensor, "batch points"] | None,
    likelihood: ImageLikelihood = WHITE,
) -> Float[Tensor, ""]:
    """Mean squared difference of the images that slices predict and those observed.

    The mean runs over images and points, with the weights of the likelihood; |ΔF|² at a point
    equals the mean of the squared differences of the two Hartley values it stands for.
    """
    return mean_squared_error(predict(slices, transfer), observed, likelihood)


def kl_divergence(
    mean: Float[Tensor, "batch z"], log_variance: Float[Tensor, "batch z"]
) -> Float[Tensor, ""]:
    """Divergence from a standard normal, averaged over batch and latent dimensions.

    KL = −½ (1 + log σ² − μ² − σ²), Kingma & Welling 2014, appendix B.
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()
