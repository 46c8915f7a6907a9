"""Volumes regressed on functions of the latents of the images, from two halves of them.

The M step of the linear model with known coefficients, at full radius:
y_i = a_i C_i P_i (V_0 + Σ_k φ_k(z_i) V_k) plus noise.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.devices import to_device
from cryodrgn.imaging.linear_posterior import pair_products, with_one
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.linear.halves import Halves, correlations, prior_from
from cryodrgn.linear.iteration import DiscImages, add_batch, new_sums
from cryodrgn.linear.masks import motion_mask
from cryodrgn.linear.maximisation import noise_of, solve
from cryodrgn.linear.subspace import Subspace
from cryodrgn.progress import Progress

# Half maps are damped no more than this share of their mean weight.
LIGHT_DAMPING = 1e-2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spread:
    """Mean and spread of functions over the images, their uncertainty included.

    Priors and damping ask for functions of mean 0 and variance 1, which those of a latent of
    any origin are not.

    Attributes:
        mean: Mean of every function.
        scale: Its standard deviation.
        correlation: Correlation of any two of them, with a little on the diagonal so that it
            can be inverted.
    """

    mean: Float[Tensor, " functions"]
    scale: Float[Tensor, " functions"]
    correlation: Float[Tensor, "functions functions"]

    @classmethod
    def of(cls, coefficients: "Coefficients", rows: Int[Tensor, " rows"]) -> "Spread":
        """Spread of functions over some of the images."""
        values, doubt = coefficients.values, coefficients.covariances
        parts = [to_device(part, values.device) for part in rows.split(10_000)]
        mean = torch.stack([values[part].sum(0) for part in parts]).sum(0) / len(rows)
        covariance = torch.zeros_like(mean[:, None] * mean)
        for part in parts:
            centred = values[part] - mean
            covariance += centred.T @ centred / len(rows)
            if doubt is not None:
                covariance += doubt[part].sum(0) / len(rows)
        # Digits of a constant function are no spread.
        least = (1e-6 * mean.abs()).clamp_min(1e-30)
        scale = covariance.diagonal().sqrt().maximum(least)
        correlation = covariance / scale[:, None] / scale
        correlation.diagonal().add_(1e-6)
        return cls(mean=mean, scale=scale, correlation=correlation)

    @classmethod
    def standard(cls, like: "Spread") -> "Spread":
        """Mean 0, variance 1 and no correlation: functions that are standardised already."""
        ones = torch.ones_like(like.scale)
        return cls(mean=torch.zeros_like(ones), scale=ones, correlation=torch.diag(ones))

    def standardised(
        self, values: Float[Tensor, "points functions"]
    ) -> Float[Tensor, "points functions"]:
        """Functions of mean 0 and variance 1."""
        return (values - self.mean) / self.scale

    def undo_(
        self, volumes: Float[Tensor, "volumes box box box"]
    ) -> Float[Tensor, "volumes box box box"]:
        """Make volumes of the standardised functions those of the functions, in place."""
        volumes[1:] /= self.scale[:, None, None, None]
        volumes[0] -= torch.tensordot(self.mean, volumes[1:], dims=1)
        return volumes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coefficients:
    """Coefficients of each volume in every image of a set.

    Attributes:
        values: φ of every particle.
        covariances: How uncertain they are; None where they are taken for exact.
        contrast: Mean of a.
        contrast_square: Mean of a².
        have_prior: Whether they are latents, or functions, whose prior has mean 0 and variance
            1. Volumes of such are those of a model that holds at z = 0, whatever the latents
            of a few images are on average.
        spread: By which they are standardised; None takes them as they are.
    """

    values: Float[Tensor, "particles functions"]
    covariances: Float[Tensor, "particles functions functions"] | None = None
    contrast: Float[Tensor, " particles"] | None = None
    contrast_square: Float[Tensor, " particles"] | None = None
    have_prior: bool = False
    spread: Spread | None = None

    def standard(self, spread: Spread) -> Spread:
        """The spread by which they are standardised; those with a prior stay as they are."""
        return Spread.standard(spread) if self.have_prior else spread

    def at(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch volumes"], Float[Tensor, "batch products"]]:
        """Means of a (1, φ) and of a² (1, φ)(1, φ)ᵀ (upper triangle) of some particles."""
        values = self.values[rows]
        doubt = None if self.covariances is None else self.covariances[rows]
        if self.spread is not None:
            values, scale = self.spread.standardised(values), self.spread.scale
            doubt = None if doubt is None else doubt / scale[:, None] / scale
        coefficients, products = with_one(values), pair_products(values, doubt)
        if self.contrast is None or self.contrast_square is None:
            return coefficients, products
        return (
            coefficients * self.contrast[rows, None],
            products * self.contrast_square[rows, None],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Regression:
    """Volumes V_0 … V_K for the functions 1, φ_1 … φ_K.

    Attributes:
        volumes: From all images, regularised by the agreement of the halves, masked.
        halves: From each half alone, with the same priors and masks: their difference is the
            error.
        half_maps: From each half alone, nearly without prior, and without mask.
        fsc: Fourier shell correlation of the masked half maps, by volume and shell; of V_0 it
            is that of the volume at the mean of the functions.
        spread: Of the functions over the images.
        num_images: Number of different images: copies of one count once.
    """

    volumes: Float[Tensor, "volumes box box box"]
    halves: tuple[Float[Tensor, "volumes box box box"], Float[Tensor, "volumes box box box"]]
    half_maps: tuple[Float[Tensor, "volumes box box box"], Float[Tensor, "volumes box box box"]]
    fsc: Float[Tensor, "volumes shells"]
    spread: Spread
    num_images: int


def accumulate(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    coefficients: Coefficients,
    noise: NoiseModel,
    radius: int,
    progress: Progress | None = None,
) -> SliceAccumulator:
    """Sums over images that determine the volumes."""
    sums = new_sums(images, radius, coefficients.values.shape[1] + 1)
    for batch in images.batches(images.team.piece(rows), radius):
        precision = noise.precision(batch.image_rows, images.num_points(radius))
        add_batch(sums, batch, precision, *coefficients.at(batch.rows), images.box_size)
        if progress is not None:
            progress.advance(len(batch))
    sums.share(images.team)
    return sums


def regress(
    images: DiscImages,
    halves: Halves,
    coefficients: Coefficients,
    noise: NoiseModel,
    mask: Float[Tensor, "size size size"],
    *,
    half_coefficients: Coefficients | None = None,
    focus: Float[Tensor, "focus focus focus"] | None = None,
) -> Regression:
    """Regress volumes on functions of the latents.

    Functions without a prior may have any unit and origin: volumes at a latent are the same.

    Args:
        images: The images.
        halves: Rows of those that are used, of each half.
        coefficients: The functions at each image.
        noise: The noise.
        mask: Where there may be density.
        half_coefficients: For the half maps, functions of latents that were estimated from
            each half by itself; None takes the same. Priors come from the same functions for
            both halves in any case: those of independent halves are less alike, which would
            damp the volumes of all images too much.
        focus: Where V_1 … V_K may be; None confines them to where density varies most.
    """
    radius = min(images.largest_radius, images.box_size // 2 - 1)
    passes = 1 if half_coefficients is None else 2
    rows = torch.cat(halves)
    spread = Spread.of(coefficients, rows)
    standard = coefficients.standard(spread)
    coefficients = replace(coefficients, spread=standard)
    mine = passes * len(rows) // images.team.size
    with Progress(mine, "regressing volumes on images") as progress:
        sums = _half_sums(images, halves, coefficients, noise, radius, progress)
        noise_of_half = torch.stack([noise_of(part, radius) for part in sums]).mean(0)
        masks = _masks(sums[0], mask, focus)
        half_maps, fsc = _light_halves(sums, noise_of_half, masks, radius)
        prior = prior_from(fsc, noise_of_half)
        prior[1:] /= (spread.scale / standard.scale).square()[:, None]
        volumes = solve(sums[0].merged(sums[1]), prior, masks, radius)
        if half_coefficients is not None:
            del sums
            half_coefficients = replace(half_coefficients, spread=standard)
            sums = _half_sums(images, halves, half_coefficients, noise, radius, progress)
            half_maps, fsc = _light_halves(sums, noise_of_half, masks, radius)
    if focus is None:
        where = resize_mask(motion_mask(volumes, images.box_size), masks.shape[-1])
        masks[1:] *= where
        volumes[1:] *= where
    first, second = (standard.undo_(solve(part, prior, masks, radius)) for part in sums)
    return Regression(
        volumes=standard.undo_(volumes),
        halves=(first, second),
        half_maps=(standard.undo_(half_maps[0]), standard.undo_(half_maps[1])),
        fsc=fsc,
        spread=spread,
        num_images=images.num_different(rows),
    )


def _half_sums(
    images: DiscImages,
    halves: Halves,
    coefficients: Coefficients,
    noise: NoiseModel,
    radius: int,
    progress: Progress,
) -> list[SliceAccumulator]:
    return [accumulate(images, part, coefficients, noise, radius, progress) for part in halves]


def _masks(
    sums: SliceAccumulator,
    mask: Float[Tensor, "size size size"],
    focus: Float[Tensor, "focus focus focus"] | None,
) -> Float[Tensor, "volumes box box box"]:
    """The mask of every volume, as far as it is known before the volumes."""
    size = sums.grid.box_size
    masks = resize_mask(mask, size).repeat(sums.num_coefficients, 1, 1, 1)
    if focus is not None:
        masks[1:] *= resize_mask(focus, size)
    return masks


def _light_halves(
    sums: list[SliceAccumulator],
    noise: Float[Tensor, " shells"],
    masks: Float[Tensor, "volumes box box box"],
    radius: int,
) -> tuple[
    tuple[Float[Tensor, "volumes box box box"], Float[Tensor, "volumes box box box"]],
    Float[Tensor, "volumes shells"],
]:
    """Half maps with next to no prior, and the correlation of the masked ones."""
    weak = noise.expand(sums[0].num_coefficients, -1) / LIGHT_DAMPING
    first, second = (solve(part, weak, None, radius) for part in sums)
    masked = [
        Subspace(volumes=volumes * masks, prior=weak, radius=radius)
        for volumes in (first, second)
    ]
    return (first, second), correlations(*masked)
