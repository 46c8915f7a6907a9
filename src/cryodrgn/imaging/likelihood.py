"""The probability of images, given what the forward model predicts of them.

With noise of variance σ² on the real and on the imaginary part of every frequency, the
log-likelihood of an image y, beside a constant, is

    −½ Σ |y − ŷ|² / σ²  =  −½ Σ |y|² / σ² + Re Σ ŷ* y / σ² − ½ Σ |ŷ|² / σ²

Whoever compares one image with one prediction takes the squared residuals; whoever compares it
with many takes the last two terms, the advantage of a prediction over none.
"""

from jaxtyping import Float, Int
from torch import Tensor


def squared_residuals(
    predicted: Float[Tensor, "images points 2"], observed: Float[Tensor, "images points 2"]
) -> Float[Tensor, "images points"]:
    """|y − ŷ|² at every point, over real and imaginary part."""
    return (predicted - observed).square().sum(-1)


def mean_squared_error(
    predicted: Float[Tensor, "images points 2"], observed: Float[Tensor, "images points 2"]
) -> Float[Tensor, ""]:
    """Mean of |y − ŷ|² over images and points: −2 log-likelihood with σ = 1, per point.

    It equals the mean of the squared differences of the two Hartley values that a point
    stands for.
    """
    return squared_residuals(predicted, observed).mean()


def shell_sums(
    values: Float[Tensor, "images points"], shells: Int[Tensor, " points"], num_shells: int
) -> Float[Tensor, "images shells"]:
    """Sums of values over the points of every shell."""
    sums = values.new_zeros(len(values), num_shells)
    return sums.index_add_(1, shells, values)


def log_likelihoods(
    squares: Float[Tensor, "images shells"], variances: Float[Tensor, "images shells"]
) -> Float[Tensor, " images"]:
    """−½ Σ |y − ŷ|² / σ² of every image.

    Args:
        squares: Squared residuals, summed by shell.
        variances: σ² by shell, of each image's optics group.
    """
    return -0.5 * (squares / variances).sum(-1)


def log_likelihood_ratios(
    overlaps: Float[Tensor, "... shells"],
    powers: Float[Tensor, "... shells"],
    variances: Float[Tensor, "*#some shells"],
    scale: Float[Tensor, " #shells"] | float = 1.0,
) -> Float[Tensor, "..."]:
    """Advantage of predictions a ŷ over none: Σ (a Re ŷ* y − ½ a² |ŷ|²) / σ².

    Args:
        overlaps: Re Σ ŷ* y by shell.
        powers: Σ |ŷ|² by shell.
        variances: σ² by shell.
        scale: a, one for all shells or one for each.
    """
    return ((scale * overlaps - 0.5 * scale**2 * powers) / variances).sum(-1)
