"""The forward model of an image, and the probability of images given what it predicts.

The predicted image of a particle is contrast × weight × CTF × slice of its volume.

With noise of variance σ² on the real and on the imaginary part of every frequency, the
log-likelihood of an image y, beside a constant, is

    −½ Σ |y − ŷ|² / σ²  =  −½ Σ |y|² / σ² + Re Σ ŷ* y / σ² − ½ Σ |ŷ|² / σ²

Whoever compares an image with one prediction takes the squared residuals. Whoever compares it
with many takes the last two terms, the logarithm of the likelihood ratio of a prediction and
none: with ŷ = C x they are Re Σ x* (C y / σ²) − ½ Σ (C² / σ²) |x|², so that shifts and CTF
stand on the image, and slices x are the same for all images.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


def transfer_function(
    ctf: Float[Tensor, "images points"] | None,
    weights: Float[Tensor, "images points"] | None,
) -> Float[Tensor, "images points"] | None:
    """Factor on the transform of a projection in the image: CTF times weight.

    Args:
        ctf: Contrast transfer function; None is 1.
        weights: How dose and tilt weaken the signal; None is 1.
    """
    if ctf is None or weights is None:
        return weights if ctf is None else ctf
    return ctf * weights


def predict(
    slices: Float[Tensor, "images points 2"],
    transfer: Float[Tensor, "images points"] | None,
    contrast: Float[Tensor, " images"] | None = None,
) -> Float[Tensor, "images points 2"]:
    """Images without noise: contrast × transfer × slice.

    Args:
        slices: Values of the volumes' transforms on the images' points.
        transfer: See :func:`transfer_function`; None is 1.
        contrast: Of every image; None is 1.
    """
    images = slices if transfer is None else slices * transfer[..., None]
    return images if contrast is None else images * contrast[:, None, None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ContrastPrior:
    """Normal distribution N(1, s²) of the contrasts of images.

    Attributes:
        variance: s²; where it is 0, all contrasts are 1.
        level: Mean variance v of the noise.
    """

    variance: Float[Tensor, ""]
    level: Float[Tensor, ""]

    @property
    def shrinkage(self) -> Float[Tensor, ""]:
        """V / s²."""
        return self.level / self.variance


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageLikelihood:
    """Gaussian likelihood of images with noise of a known spectrum, and contrasts.

    Errors are −2 log-likelihoods times the mean variance v of the noise, beside a constant:
    Σ w |y − ŷ|² with the weights w = v / σ². White noise has w = 1, and then they are the
    squared residuals, whatever its variance. Where an image is a ŷ with a contrast a of
    N(1, s²), the likelihood is integrated over a:

        Σ w |r|² − (Σ w ŷ* r)² / (v/s² + Σ w |ŷ|²) + v log(1 + s²/v Σ w |ŷ|²),   r = y − ŷ

    of which the second term is what the most probable contrast takes off the errors
    (conditioning of a Gaussian; Bishop 2006, section 2.3.3).

    Attributes:
        weights: w of every image; None is 1.
        contrast: Distribution of contrasts; None where all are 1.
    """

    weights: Float[Tensor, "images points"] | None = None
    contrast: ContrastPrior | None = None

    def at(self, points: Int[Tensor, " compared"] | None) -> "ImageLikelihood":
        """The likelihood of some of the points; None for all of them."""
        if points is None or self.weights is None:
            return self
        return replace(self, weights=self.weights[:, points])

    def of_images(self, places: Int[Tensor, " chosen"]) -> "ImageLikelihood":
        """The likelihood of some of the images."""
        return self if self.weights is None else replace(self, weights=self.weights[places])

    def squares(
        self,
        predicted: Float[Tensor, "images points 2"],
        observed: Float[Tensor, "images points 2"],
        point_weights: Float[Tensor, " points"] | None = None,
    ) -> Float[Tensor, "images points"]:
        """W |y − ŷ|² at every point; see :meth:`errors`."""
        return self._weighted(squared_residuals(predicted, observed), point_weights)

    def errors(
        self,
        predicted: Float[Tensor, "images points 2"],
        observed: Float[Tensor, "images points 2"],
        point_weights: Float[Tensor, " points"] | None = None,
    ) -> Float[Tensor, " images"]:
        """Errors of images, sums over their points.

        Args:
            predicted: ŷ, for a contrast of 1.
            observed: y.
            point_weights: 1 for points that count, 0 for others; None counts all.
        """
        squares = self.squares(predicted, observed, point_weights).sum(1)
        if self.contrast is None:
            return squares
        matched, power = self._products(predicted, observed, point_weights)
        prior = self.contrast
        gain = matched.square() / (prior.shrinkage + power)
        return squares - gain + prior.level * torch.log1p(power / prior.shrinkage)

    def contrasts(
        self,
        predicted: Float[Tensor, "images points 2"],
        observed: Float[Tensor, "images points 2"],
    ) -> Float[Tensor, " images"]:
        """Posterior means of the contrasts of images."""
        if self.contrast is None:
            return predicted.new_ones(len(predicted))
        matched, power = self._products(predicted, observed, None)
        return 1 + matched / (self.contrast.shrinkage + power)

    def _products(
        self, predicted: Tensor, observed: Tensor, point_weights: Tensor | None
    ) -> tuple[Float[Tensor, " images"], Float[Tensor, " images"]]:
        """Σ w ŷ* r and Σ w |ŷ|²."""
        matched = (predicted * (observed - predicted)).sum(-1)
        power = predicted.square().sum(-1)
        found = (self._weighted(values, point_weights) for values in (matched, power))
        return next(found).sum(1), next(found).sum(1)

    def _weighted(
        self, values: Float[Tensor, "images points"], point_weights: Tensor | None
    ) -> Float[Tensor, "images points"]:
        if self.weights is not None:
            values = values * self.weights
        return values if point_weights is None else values * point_weights


WHITE = ImageLikelihood()


def squared_residuals(
    predicted: Float[Tensor, "images points 2"], observed: Float[Tensor, "images points 2"]
) -> Float[Tensor, "images points"]:
    """|y − ŷ|² at every point, over real and imaginary part."""
    return (predicted - observed).square().sum(-1)


def mean_squared_error(
    predicted: Float[Tensor, "images points 2"],
    observed: Float[Tensor, "images points 2"],
    likelihood: ImageLikelihood = WHITE,
) -> Float[Tensor, ""]:
    """Mean of errors over images and points: −2 log-likelihood per point, times v.

    With white noise it equals the mean of the squared differences of the two Hartley values
    that a point stands for.
    """
    if likelihood.contrast is None:
        return likelihood.squares(predicted, observed).mean()
    return likelihood.errors(predicted, observed).mean() / observed.shape[1]


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


def kl_penalty(
    kl: Float[Tensor, ""], beta: float | Float[Tensor, ""], control: float | None
) -> Float[Tensor, ""]:
    """Penalty of a KL divergence: β KL, or with the γ of a controlled VAE γ (β − KL)²."""
    return beta * kl if control is None else control * (beta - kl).square()


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


def shell_sums(
    values: Float[Tensor, "images points"], shells: Int[Tensor, " points"], num_shells: int
) -> Float[Tensor, "images shells"]:
    """Sums of values over the points of every shell."""
    return values.new_zeros(len(values), num_shells).index_add_(1, shells, values)


def matched_terms(
    observed: Float[Tensor, "images points 2"],
    transfer: Float[Tensor, "images points"] | None,
    precision: Float[Tensor, "*#images points"] | None = None,
) -> tuple[Float[Tensor, "images points 2"], Float[Tensor, "images points"]]:
    """C y / σ² and C² / σ²: all that the likelihood of slices needs of an image.

    They are the two sides of the normal equations of a volume, too.

    Args:
        observed: The images y.
        transfer: C, see :func:`~cryodrgn.imaging.likelihood.transfer_function`.
        precision: 1 / σ²; None is 1.
    """
    if transfer is None:
        transfer = torch.ones_like(observed[..., 0])
    scaled = transfer if precision is None else precision * transfer
    return observed * scaled[..., None], scaled * transfer


def cross_correlations(
    matched: Float[Tensor, "images shifts points 2"], slices: Float[Tensor, "slices points 2"]
) -> Float[Tensor, "images shifts slices"]:
    """Re Σ x* (C y / σ²) of shifted images with slices, as one product of matrices.

    Args:
        matched: The images, see :func:`matched_terms`.
        slices: The same for all images. Their number type is that of the product, and of the
            result.
    """
    images = matched.flatten(2).flatten(0, 1).to(slices.dtype)
    return (images @ slices.flatten(1).T).view(*matched.shape[:2], -1)


def slice_energies(
    weights: Float[Tensor, "images points"], power: Float[Tensor, "slices points"]
) -> Float[Tensor, "images slices"]:
    """½ Σ (C² / σ²) |x|², which is the same for all shifts of an image.

    Args:
        weights: C² / σ², see :func:`matched_terms`.
        power: |x|² of the slices.
    """
    return 0.5 * (weights @ power.T)


def log_likelihood_ratios(
    matched: Float[Tensor, "images shifts points 2"],
    weights: Float[Tensor, "images points"],
    slices: Float[Tensor, "slices points 2"],
) -> Float[Tensor, "images shifts slices"]:
    """Logarithm of the likelihood ratio of each slice and none, for each shift of an image.

    Args:
        matched: C y / σ² of the shifted images, see :func:`matched_terms`.
        weights: C² / σ².
        slices: The same for all images.
    """
    power = slices.square().sum(-1)
    energies = slice_energies(weights, power)[:, None]
    return cross_correlations(matched, slices).sub_(energies)


def log_likelihood_ratios_of_shells(
    overlaps: Float[Tensor, "images shells"],
    powers: Float[Tensor, "images shells"],
    variances: Float[Tensor, " shells"],
    scale: Float[Tensor, " shells"],
) -> Float[Tensor, " images"]:
    """Logarithm of the likelihood ratio of predictions a ŷ and none, of every image.

    Args:
        overlaps: Re Σ ŷ* y by shell.
        powers: Σ |ŷ|² by shell.
        variances: σ² by shell.
        scale: a by shell.
    """
    return ((scale * overlaps - 0.5 * scale.square() * powers) / variances).sum(1)


def in_units_of_noise(
    products: Float[Tensor, "images shells columns columns"],
    variances: Float[Tensor, "images shells"],
) -> Float[Tensor, "images columns columns"]:
    """Inner products of slices and images, summed over shells with weights 1 / σ²."""
    return torch.einsum("bsij,bs->bij", products, 1 / variances)


def expected_squares(
    products: Float[Tensor, "images shells columns columns"],
    moments: Float[Tensor, "images columns columns"],
) -> Float[Tensor, "images shells"]:
    """Expectation of |Σ r_k v_k|² by shell, for vectors of which inner products are known.

    Args:
        products: Inner products of the vectors v: slices, and last the image.
        moments: Means of r rᵀ. With r = (−coefficients, 1) the result is the squared residual.
    """
    return torch.einsum("bsij,bij->bs", products, moments)
