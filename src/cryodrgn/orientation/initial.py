"""Initial model from images alone: expectation maximisation over all poses of a grid.

Every image counts in every pose, by the probability of the pose given the current map
(Dempster, Laird & Rubin 1977; for cryo-EM Scheres 2012), so that no early decision is final.
The variance of the noise is estimated along with the map, shell by shell: as long as the map
explains little, differences are blamed on noise and all poses stay possible. Radius and grid
grow step by step. One iteration is two products of matrices per batch: images with slices, and
probabilities with images.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.devices import to_device
from cryodrgn.fourier.shifts import phases, shifted
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.geometry.so3_grid import So3Grid
from cryodrgn.imaging.likelihood import log_likelihood_ratios
from cryodrgn.orientation.branching import VALUES_AT_ONCE, VALUES_AT_ONCE_ON_GPU
from cryodrgn.orientation.comparison import FrequencyDisc, WhitenedImages
from cryodrgn.orientation.maps import at_radius, map_of_slices
from cryodrgn.orientation.settings import GridSettings
from cryodrgn.orientation.slices import Slices
from cryodrgn.orientation.trial_shifts import shift_grid
from cryodrgn.progress import Progress

logger = logging.getLogger(__name__)

# Level of the grid, and radius as a share of the search's first one.
STAGES = ((1, 5 / 12), (2, 8 / 12))
# A stage ends when the variance of what the map does not explain falls by less than this part
# of itself in as many iterations. Few images converge slowly, but cost little: a stage has at
# least as many iterations as bring these images in all.
LEAST_FALL, WINDOW, MOST_ITERATIONS, LEAST_IMAGES = 0.01, 5, 50, 4000
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """Images of which first maps are made.

    Attributes:
        images: Transforms as pairs at the frequencies of the disc, not shifted.
        ctf: CTF there; None for images without.
        disc: The frequencies.
        box_size: Side of the images in pixels.
        num_held_out: How many of them, the last ones, judge the maps and make none.
    """

    images: Float[Tensor, "images points 2"]
    ctf: Float[Tensor, "images points"] | None
    disc: FrequencyDisc
    box_size: int
    num_held_out: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_fitted(self) -> int:
        """Number of images from which the initial models are made."""
        return len(self) - self.num_held_out


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InitialMap:
    """A first map and what is known of it.

    Attributes:
        volumes: The map, of the side that belongs to ``radius``; or several, of classes.
        radius: Of their frequencies, in cycles per box.
        variance: Of the noise at the frequencies within.
        rotations: The most probable rotation of every image of the sample.
        advantages: Log-likelihood ratio of each held-out image, of the maps over their
            averages over all rotations: of what a structure explains that a blob does not.
        seed: Of the start.
    """

    volumes: Float[Tensor, "maps box box box"]
    radius: int
    variance: Float[Tensor, " points"]
    rotations: Float[Tensor, "images 3 3"]
    advantages: Float[Tensor, " held_out"]
    seed: int

    @property
    def score(self) -> float:
        """Mean advantage of the held-out images."""
        return float(self.advantages.mean())

    @property
    def score_error(self) -> float:
        """Its standard error."""
        return float(self.advantages.std() / len(self.advantages) ** 0.5)


def stage_radii(settings: GridSettings, largest: int) -> list[int]:
    """Radius of the frequencies compared in each stage."""
    wanted = [round(share * settings.radius_start) for _, share in STAGES]
    return [max(3, min(radius, largest)) for radius in wanted]


def initial_map(
    sample: Sample,
    settings: GridSettings,
    seed: int,
    num_classes: int = 1,
    check: Callable[[], None] = lambda: None,
) -> InitialMap:
    """Find a map that explains a sample of images, beginning with random rotations.

    Args:
        sample: The images.
        settings: Grids of the search; shifts and the first radius are used.
        seed: Of the random rotations.
        num_classes: Maps into which the first one is split, with images in random classes to
            begin with.
        check: Called after every iteration; may raise to stop.
    """
    generator = generator_at(seed, (0,))
    radii = stage_radii(settings, int(sample.disc.shells[-1]))
    start = _Stage(sample, settings, STAGES[0][0], radii[0])
    volumes, variance = start.random_map(generator)[None], start.power()
    stage = start
    for (level, _), radius in zip(STAGES, radii, strict=True):
        stage = _Stage(sample, settings, level, radius)
        volumes, variance = at_radius(volumes[0], radius)[None], stage.continued(variance)
        volumes, variance = _converged(stage, volumes, variance, generator, check)
    if num_classes > 1:
        turn = random_rotations(1, generator)[0].to(volumes.device)
        labels = torch.randint(num_classes, (sample.num_fitted,), generator=generator)
        volumes = volumes.repeat(num_classes, 1, 1, 1)
        volumes, variance = stage.iterate(volumes, variance, turn, labels.to(volumes.device))
        volumes, variance = _converged(stage, volumes, variance, generator, check)
    rotations, advantages = stage.judge(volumes, variance)
    return InitialMap(
        volumes=volumes,
        radius=radii[-1],
        variance=variance,
        rotations=rotations,
        advantages=advantages,
        seed=seed,
    )


def _converged(
    stage: "_Stage",
    volumes: Float[Tensor, "maps box box box"],
    variance: Float[Tensor, " points"],
    generator: torch.Generator,
    check: Callable[[], None],
) -> tuple[Float[Tensor, "maps box box box"], Float[Tensor, " points"]]:
    """The maps and the variance when they change no more."""
    power, unexplained = stage.power(), []
    with Progress(MOST_ITERATIONS, f"first map within {stage.radius}/box", "iterations") as bar:
        for iteration in range(MOST_ITERATIONS):
            turn = random_rotations(1, generator)[0].to(volumes.device)
            volumes, variance = stage.iterate(volumes, variance, turn)
            check()
            unexplained.append(float((variance / power).log().mean()))
            share = 100 * (1 - float(variance.sum() / power.sum()))
            bar.advance(1, note=f"explains {share:.1f} % of the power")
            fall = unexplained[max(0, iteration - WINDOW)] - unexplained[-1]
            if iteration >= max(2 * WINDOW, stage.least_iterations) and fall < LEAST_FALL:
                break
    return volumes, variance


class _Stage:
    """Expectation maximisation with one grid and one radius."""

    def __init__(self, sample: Sample, settings: GridSettings, level: int, radius: int) -> None:
        self._sample, self._disc, self.radius = sample, sample.disc, radius
        self._count = sample.disc.count(radius)
        self._points = sample.disc.points[: self._count]
        device = self._points.device
        self._rotations = So3Grid(level).rotations().to(device)
        shifts, _ = shift_grid(settings, level, radius, sample.box_size)
        self._turns = phases(self._points, shifts.to(device))[None]

    @property
    def least_iterations(self) -> int:
        """Iterations that a small sample needs."""
        return min(MOST_ITERATIONS, LEAST_IMAGES // self._sample.num_fitted)

    def power(self) -> Float[Tensor, " points"]:
        """Half the mean power of the images, by shell: the noise if there is nothing else."""
        images = self._sample.images[: self._sample.num_fitted, : self._count]
        return self._disc.shell_means(images.square().sum(-1).mean(0) / 2)

    def continued(self, variance: Float[Tensor, " fewer"]) -> Float[Tensor, " points"]:
        """The variance of an earlier stage, with the power of the images beyond its radius."""
        return torch.cat([variance, self.power()[len(variance) :]])

    def random_map(self, generator: torch.Generator) -> Float[Tensor, "box box box"]:
        """A map of images in random rotations."""
        count = self._sample.num_fitted
        rotations = random_rotations(count, generator).to(self._points.device)
        images, ctf = self._images(torch.arange(count))
        observed = WhitenedImages.of(images, ctf, torch.ones_like(images[0, :, 0]))
        return map_of_slices(
            self._points, self.radius, rotations, observed.images, observed.weights
        )

    def iterate(
        self,
        volumes: Float[Tensor, "maps box box box"],
        variance: Float[Tensor, " points"],
        turn: Float[Tensor, "3 3"],
        labels: Int[Tensor, " fitted"] | None = None,
    ) -> tuple[Float[Tensor, "maps box box box"], Float[Tensor, " points"]]:
        """One iteration with the grid turned as a whole; the new maps and variance.

        Args:
            volumes: The maps.
            variance: Of the noise.
            turn: Rotation of the grid.
            labels: The map that each image belongs to; None lets probabilities tell.
        """
        rotations = self._rotations @ turn
        slices = Slices(volumes, self.radius).at(self._points, rotations)
        sums, weights = torch.zeros_like(slices), torch.zeros_like(slices[..., 0])
        power = torch.zeros_like(variance)
        for rows in self._fitted_batches(len(volumes)):
            images, ctf = self._images(rows)
            observed = WhitenedImages.of(images, ctf, variance)
            moved = shifted(observed.images, self._turns)
            found = log_likelihood_ratios(moved, observed.weights, slices.flatten(0, 1))
            if labels is not None:
                other = labels[rows, None] != torch.arange(len(volumes), device=found.device)
                excluded = other.repeat_interleave(len(rotations), 1)[:, None]
                found = found.masked_fill(excluded, -torch.inf)
            shares = found.flatten(1).softmax(1).view_as(found)
            flat = shares.flatten(0, 1).T @ moved.flatten(2).flatten(0, 1)
            sums += flat.view_as(sums)
            weights += (shares.sum(1).T @ observed.weights).view_as(weights)
            power += images.square().sum(-1).sum(0)
        # Σ |y − C x|², from sums that are divided by the variance.
        overlap = (sums * slices).sum(-1).sum((0, 1))
        cost = (weights * slices.square().sum(-1)).sum((0, 1))
        left = power + variance * (cost - 2 * overlap)
        left = self._disc.shell_means(left / (2 * self._sample.num_fitted))
        maps = [
            map_of_slices(self._points, self.radius, rotations, *of_map)
            for of_map in zip(sums, weights, strict=True)
        ]
        return torch.stack(maps), left.clamp_min(LEAST_VARIANCE * self.power())

    def judge(
        self, volumes: Float[Tensor, "maps box box box"], variance: Float[Tensor, " points"]
    ) -> tuple[Float[Tensor, "images 3 3"], Float[Tensor, " held_out"]]:
        """The most probable rotation of every image, and the advantages of those held out."""
        slices = Slices(volumes, self.radius).at(self._points, self._rotations)
        blobs = torch.zeros_like(slices[:, 0])
        for blob, real in zip(blobs, slices[..., 0], strict=True):
            blob[:, 0] = self._disc.shell_means(real.mean(0))
        best, advantages = [], []
        for rows in self._all_batches(len(volumes)):
            images, ctf = self._images(rows)
            observed = WhitenedImages.of(images, ctf, variance)
            moved = shifted(observed.images, self._turns)
            found = log_likelihood_ratios(moved, observed.weights, slices.flatten(0, 1))
            plain = (
                log_likelihood_ratios(moved, observed.weights, blobs).flatten(1).logsumexp(1)
            )
            # The evidence of a map is averaged over its rotations.
            evidence = found.flatten(1).logsumexp(1) - math.log(len(self._rotations))
            best.append(found.amax(1).argmax(1) % len(self._rotations))
            advantages.append(evidence - plain)
        fitted = self._sample.num_fitted
        return self._rotations[torch.cat(best)], torch.cat(advantages)[fitted:]

    def _fitted_batches(self, num_maps: int) -> tuple[Int[Tensor, " rows"], ...]:
        return torch.arange(self._sample.num_fitted).split(self._batch_size(num_maps))

    def _all_batches(self, num_maps: int) -> tuple[Int[Tensor, " rows"], ...]:
        return torch.arange(len(self._sample)).split(self._batch_size(num_maps))

    def _batch_size(self, num_maps: int) -> int:
        at_once = VALUES_AT_ONCE.get(self._points.device.type, VALUES_AT_ONCE_ON_GPU)
        values = self._turns.shape[1] * len(self._rotations) * num_maps
        return max(1, at_once // values)

    def _images(
        self, rows: Int[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows points 2"], Float[Tensor, "rows points"] | None]:
        sample, rows = self._sample, to_device(rows, self._points.device)
        ctf = None if sample.ctf is None else sample.ctf[rows, : self._count]
        return sample.images[rows, : self._count], ctf
