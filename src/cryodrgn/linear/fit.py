"""Expectation–maximisation: on each half of the images by itself, then on all of them."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.imaging.linear_posterior import Posterior, pair_products, with_one
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.imaging.noise import NoiseModel, ResidualPower
from cryodrgn.linear.contrasts import LEAST_SPREAD, ContrastVariation, log_evidence
from cryodrgn.linear.embed import inner_products
from cryodrgn.linear.halves import Agreement, agreement, agreement_on
from cryodrgn.linear.iteration import (
    DiscImages,
    Pass,
    add_batch,
    canonicalise,
    new_sums,
    run_pass,
)
from cryodrgn.linear.masks import Masks, molecule_mask, starting_mask
from cryodrgn.linear.maximisation import Solution, solve_with_covariance
from cryodrgn.linear.subspace import Subspace, grid_size, shell_averages
from cryodrgn.particles.copies import copies_per_particle, standard_error

logger = logging.getLogger(__name__)

# Iterations at half, three quarters and the whole of the final radius, and on all images.
ROUNDS = (5, 4, 1)
JOINT_ROUNDS = 2
MOST_DECIDING = 3000
# Standard errors by which contrasts must make images of the other half more likely.
CLEARLY = 3.0
STARTING_CONTRAST_SPREAD = 0.15
# Fits are parts of commands that have no such option, too.
FITS_ALL = "cryodrgn train_linear `with_contrast` fits them all the same"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Iteration:
    """Record of one iteration: likelihood, divergence, radius.

    Attributes:
        number: Count from 0.
        radius: In cycles per box.
        reconstruction: Mean square of a residual's real number.
        kl: Mean KL divergence of the latents.
        seconds: Since the beginning.
    """

    number: int
    radius: int
    reconstruction: float
    kl: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fit:
    """A fitted model.

    Attributes:
        agreement: The model of all images, and what the halves say of it.
        noise: The noise.
        contrast_spread: Standard deviation of contrasts; 0 where they were not fitted.
        mask: Where the density is.
        focus: Where components may vary.
    """

    agreement: Agreement
    noise: NoiseModel
    contrast_spread: float
    mask: Float[Tensor, "size size size"]
    focus: Float[Tensor, "size size size"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Halves:
    """A model of each half of the images, and what belongs to both."""

    first: Subspace
    second: Subspace
    noise_of_volumes: Float[Tensor, " shells"]
    noise: NoiseModel
    contrast_spread: float
    mask: Float[Tensor, "size size size"]
    focus: Float[Tensor, "size size size"]


class PpcaEM:
    """Fits a mean and components to images.

    Args:
        images: The images.
        rows: Those that are used.
        noise: Noise to begin with.
        num_components: Components K.
        radius: Final radius in cycles per box.
        masks: Masks of the user.
        with_contrast: Whether every image has a contrast of its own; None decides that once
            each half of the images can be judged by the model of the other.
        seed: Of the first, random latents.
        report: Told of every iteration.
    """

    def __init__(
        self,
        images: DiscImages,
        rows: Int[Tensor, " rows"],
        noise: NoiseModel,
        *,
        num_components: int,
        radius: int,
        masks: Masks,
        with_contrast: bool | None = False,
        seed: int = 0,
        report: Callable[[Iteration], None] = lambda _: None,
    ) -> None:
        self._images = images
        self._halves = images.halves(rows)
        self._noise = noise
        self._count = num_components
        self._radius = radius
        self._masks = masks
        self._with_contrast = with_contrast
        self._seed = seed
        self._report = report
        self._started = time.monotonic()
        self._done = 0
        mask = starting_mask(min(64, images.box_size), images.device)
        if masks.solvent is not None:
            mask = masks.solvent
        self._first_noise = noise
        self._first_masks = mask, mask if masks.focus is None else masks.focus
        self._mask, self._focus = self._first_masks
        self._contrast_spread = 0.0
        self._variation: ContrastVariation | None = None

    def run(self) -> Fit:
        """Fit."""
        plain = None if self._with_contrast else self._halves_fitted(with_contrast=False)
        kept = plain
        if plain is None:
            kept = self._halves_fitted(with_contrast=True)
        elif self._with_contrast is None and self._is_worth_trying():
            kept = self._better(plain, self._halves_fitted(with_contrast=True))
        assert kept is not None
        self._noise, self._contrast_spread = kept.noise, kept.contrast_spread
        self._mask, self._focus = kept.mask, kept.focus
        return Fit(
            agreement=self._agreement(kept),
            noise=self._noise,
            contrast_spread=self._contrast_spread,
            mask=self._mask,
            focus=self._focus,
        )

    def _halves_fitted(self, *, with_contrast: bool) -> "_Halves":
        """A model of each half by itself."""
        self._noise, self._contrast_spread = self._first_noise, 0.0
        self._mask, self._focus = self._first_masks
        radii = _schedule(self._radius)
        first, second = (
            self._begin(half, number, radii[0]) for number, half in enumerate(self._halves)
        )
        noise = first.prior[0]
        for radius in radii:
            if radius != first.radius:
                self._look_at_contrasts(first, second)
                if with_contrast and self._variation is not None:
                    self._contrast_spread = max(self._variation.spread, LEAST_SPREAD)
                self._draw_masks(first, second)
                first, second = (
                    model.grown(radius, self._images.box_size) for model in (first, second)
                )
            (first, second), solutions = self._iterate([first, second], list(self._halves))
            noise = torch.stack([solution.noise for solution in solutions]).mean(0)
        return _Halves(
            first=first,
            second=second,
            noise_of_volumes=noise,
            noise=self._noise,
            contrast_spread=self._contrast_spread,
            mask=self._mask,
            focus=self._focus,
        )

    def _look_at_contrasts(self, first: Subspace, second: Subspace) -> None:
        """The spread of contrasts, as each half's images show it by the model of the other.

        Latents are integrated out, and the spread stays: one that is fitted along with latents
        takes over from one iteration to the next what components could explain.
        """
        if self._with_contrast is not False and self._variation is None:
            crossed = self._crossed(first, second, self._noise)
            copies = copies_per_particle(self._images.images.numbers)
            found = ContrastVariation.of(crossed, copies)
            self._variation = self._images.team.agree(found)

    def _is_worth_trying(self) -> bool:
        """True if contrasts seem to vary in the plain model; else it is said that they do not.

        A component of mass, as of a missing domain, looks like contrast at first.
        """
        found = self._variation
        if found is not None and found.is_worth_trying:
            return True
        if found is not None:
            logger.info("%s; %s", found.in_words(), FITS_ALL)
        return False

    def _better(self, plain: "_Halves", fitted: "_Halves") -> "_Halves":
        """The model with contrasts, if it clearly explains images of the other half better."""
        noise = plain.noise
        without = self._crossed(plain.first, plain.second, noise)
        with_them = self._crossed(fitted.first, fitted.second, noise)
        gains = log_evidence(with_them, fitted.contrast_spread) - log_evidence(without, 0.0)
        mean = float(gains.mean())
        rows = torch.cat([_some(half) for half in self._halves]).numpy()
        error = standard_error(gains.numpy(), self._images.images.numbers[rows])
        is_better = self._images.team.agree(mean > CLEARLY * error)
        figures = f"log-likelihood per particle of the other half {mean:+.3g} ± {error:.2g}"
        if is_better:
            logger.info(
                "contrasts of images vary by %.0f%% and are fitted (%s); cryodrgn train_linear "
                "`with_contrast=False` takes them for 1",
                100 * fitted.contrast_spread,
                figures,
            )
            return fitted
        logger.info(
            "contrasts of images are taken for 1: the model without them explains images as "
            "well or better (%s); %s",
            figures,
            FITS_ALL,
        )
        return plain

    def _crossed(
        self, first: Subspace, second: Subspace, noise: NoiseModel
    ) -> Float[Tensor, "particles columns columns"]:
        """Inner products of images of each half with slices of the model of the other."""
        pairs = zip(self._halves, (second, first), strict=True)
        return torch.cat(
            [
                inner_products(self._images, _some(rows), other, noise)[0].cpu()
                for rows, other in pairs
            ]
        )

    def _begin(self, rows: Int[Tensor, " rows"], half: int, radius: int) -> Subspace:
        """A model from latents drawn at random."""
        images, count = self._images, self._count
        generator = generator_at(self._seed, (half,))
        latents = torch.randn(len(rows), count, generator=generator).to(images.device)
        sums = new_sums(images, radius, count + 1)
        mine = images.team.piece(latents)
        for batch in images.batches(images.team.piece(rows), radius):
            part, mine = mine[: len(batch)], mine[len(batch) :]
            precision = self._noise.precision(batch.image_rows, images.num_points(radius))
            products = pair_products(part, None)
            add_batch(sums, batch, precision, with_one(part), products, images.box_size)
        sums.share(images.team)
        values, products = sums.totals()
        weights = products[:, :1]
        plain = values[:, 0] / weights.clamp_min(1e-9 * weights.max())
        power = plain.square().mean(1, keepdim=True) * weights
        mean_power = shell_averages(sums.grid, power, radius) / shell_averages(
            sums.grid, weights, radius
        ).clamp_min(1e-30)
        shares = torch.tensor([1.0] + [0.1] * count, device=images.device)
        masks = self._mask_stack(radius)
        # A component in a smaller mask has less power: its prior in the whole box is the same.
        prior = shares[:, None] * mean_power[:, 0].clamp_min(1e-30) / masks[0].mean()
        solution = solve_with_covariance(sums, prior, masks, radius)
        ones = torch.ones(len(rows), device=images.device)
        drawn = Posterior(
            mean=latents,
            covariance=torch.zeros(len(rows), count, count, device=images.device),
            contrast=ones,
            contrast_square=ones,
        )
        return canonicalise(solution, drawn, masks, radius)

    def _iterate(
        self, models: list[Subspace], rows: list[Int[Tensor, " _"]]
    ) -> tuple[list[Subspace], list[Solution]]:
        """One iteration of separate models on separate images that share noise and masks."""
        radius = models[0].radius
        residuals = ResidualPower(self._noise, self._images.num_points(radius))
        passes = [
            run_pass(self._images, part, model, self._noise, residuals, self._contrast_spread)
            for model, part in zip(models, rows, strict=True)
        ]
        residuals.share(self._images.team)
        self._noise = residuals.updated()
        masks = self._mask_stack(radius)
        solutions = [
            solve_with_covariance(found.sums, model.prior, masks, radius)
            for found, model in zip(passes, models, strict=True)
        ]
        updated = [
            canonicalise(solution, found.posterior, masks, radius)
            for solution, found in zip(solutions, passes, strict=True)
        ]
        self._tell(radius, passes)
        return updated, solutions

    def _agreement(self, kept: "_Halves") -> Agreement:
        """The joint model after iterations on all images, with what the halves say of it.

        Every iteration may turn components of about the same spread within their span, as
        those of a circular motion have, so that the halves must render them anew.
        """
        pair, noise = (kept.first, kept.second), kept.noise_of_volumes
        found, rows = agreement(*pair, noise), torch.cat(self._halves).sort().values
        for _ in range(JOINT_ROUNDS):
            (joint,), _ = self._iterate([found.joint], [rows])
            found = agreement_on(joint.volumes, *pair, noise)
        return found

    def _draw_masks(self, first: Subspace, second: Subspace) -> None:
        """Masks from what is known by now, unless the user gave them."""
        if self._masks.solvent is None:
            mean = (first.volumes[:1] + second.volumes[:1]) / 2
            components = torch.cat([first.volumes[1:], second.volumes[1:]]) / 2**0.5
            self._mask = molecule_mask(torch.cat([mean, components]), self._images.box_size)
        if self._masks.focus is None:
            self._focus = self._mask

    def _mask_stack(self, radius: int) -> Float[Tensor, "volumes box box box"]:
        mask, focus = (self._resized(m, radius) for m in (self._mask, self._focus))
        return torch.cat([mask[None], focus[None].expand(self._count, -1, -1, -1)])

    def _resized(self, mask: Tensor, radius: int) -> Tensor:
        return resize_mask(mask, grid_size(radius, self._images.box_size))

    def _tell(self, radius: int, passes: list[Pass]) -> None:
        counts = [len(found.posterior.mean) for found in passes]
        total = sum(counts)
        row = Iteration(
            number=self._done,
            radius=radius,
            reconstruction=sum(
                found.reconstruction * n for found, n in zip(passes, counts, strict=True)
            )
            / total,
            kl=sum(found.kl * n for found, n in zip(passes, counts, strict=True)) / total,
            seconds=time.monotonic() - self._started,
        )
        self._done += 1
        self._report(row)


def _some(rows: Int[Tensor, " rows"]) -> Int[Tensor, " some"]:
    """At most some thousands of rows, evenly spread, from which a width is known well."""
    return rows[:: -(-len(rows) // MOST_DECIDING)]


def _schedule(radius: int) -> list[int]:
    """Radius of every iteration: what is coarse is found first, and cheaply."""
    steps = (max(2, radius // 2), max(2, 3 * radius // 4), radius)
    return [step for step, rounds in zip(steps, ROUNDS, strict=True) for _ in range(rounds)]
