"""One pass over images: the E step, and along with it the sums that the M step needs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import sum_dtype
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.imaging.ewald import Curvature, sidebands
from cryodrgn.imaging.likelihood import matched_terms
from cryodrgn.imaging.linear_posterior import Posterior
from cryodrgn.imaging.noise import NoiseModel, ResidualPower
from cryodrgn.imaging.slices import magnified
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.linear.expectation import Expectation
from cryodrgn.linear.halves import Halves
from cryodrgn.linear.maximisation import Solution
from cryodrgn.linear.subspace import Subspace, grid_size, principal_directions
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.half_sets import halves_of

# Batches in which about ten images reach every voxel within the radius, so that the sums of a
# voxel are not fetched from memory for one or two of them; within bounds.
LEAST_POINTS, MOST_POINTS, POINTS_PER_VOXEL = 250_000, 2_000_000, 4


class DiscImages:
    """Prepared images whose points are ordered by radius, so that any disc can be cut out.

    Args:
        images: Images on a lattice from :meth:`HalfPlaneFrequencies.by_radius`.
        team: Processes that share them. Each goes through a piece of whatever rows are asked
            for, and all get the whole result.
        mates: Rotations of the volumes' point group; None where they have no symmetry.
        ewald: Hand of the curvature of the Ewald sphere; 0 takes it for flat.
    """

    def __init__(
        self,
        images: TrainingSet,
        team: Team = ALONE,
        mates: Float[Tensor, "mates 3 3"] | None = None,
        ewald: Curvature = 0,
    ) -> None:
        self.images, self.team, self.mates = images, team, mates
        self._ewald: Curvature = ewald
        self._radii = images.lattice.points.double().square().sum(-1).sqrt()

    def __len__(self) -> int:
        """Number of particles."""
        return len(self.images)

    @property
    def box_size(self) -> int:
        """Side of the images in pixels."""
        return self.images.lattice.box_size

    def halves(self, rows: Int[Tensor, " rows"]) -> Halves:
        """Those of some particles that belong to each half set."""
        first, second = halves_of(rows.numpy(), self.images.numbers)
        return torch.from_numpy(first), torch.from_numpy(second)

    def num_different(self, rows: Int[Tensor, " rows"]) -> int:
        """Number of different particles that some rows show."""
        return len(np.unique(self.images.numbers[rows.numpy()]))

    def sums_of_copies(self, weights: Float[Tensor, " particles"]) -> Float[Tensor, " rows"]:
        """Weights of different particles: the weights of all of their rows, added up."""
        numbers = self.images.numbers
        if int(numbers.max()) + 1 == len(weights):
            return weights
        places = torch.from_numpy(numbers).to(weights.device)
        return weights.new_zeros(int(numbers.max()) + 1).index_add_(0, places, weights)

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self.images.device

    @property
    def largest_radius(self) -> int:
        """The outermost whole radius of the points."""
        return int(self._radii[-1])

    def num_points(self, radius: int) -> int:
        """Points of the lattice up to a radius."""
        return int((self._radii <= radius).sum())

    def batches(self, rows: Int[Tensor, " rows"], radius: int) -> Iterator[Batch]:
        """Particles in the order of ``rows``, their images restricted to a disc."""
        num_points = self.num_points(radius)
        points = min(MOST_POINTS, max(LEAST_POINTS, POINTS_PER_VOXEL * radius**3))
        per_particle = num_points * self.images.images_per_particle
        for part in rows.split(max(1, int(points // per_particle))):
            yield self._batch(part, num_points)

    def _batch(self, rows: Int[Tensor, " rows"], num_points: int) -> Batch:
        if not self._ewald:
            return self.images.batch(rows, num_points)
        stored = self.images.stored(rows, num_points)
        frequencies = self.images.frequencies(num_points)
        assert stored.ctf is not None, "side bands need a CTF"
        bands = sidebands(
            magnified(frequencies / stored.pixel_sizes[:, None, None], stored.magnifications),
            stored.ctf,
            stored.rotations,
            self._ewald,
            pixel_sizes=stored.pixel_sizes,
            box_size=self.box_size,
        )
        return replace(stored.batch(frequencies, None), sidebands=bands)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pass:
    """Result of one pass over images: sufficient statistics and likelihood.

    Attributes:
        sums: What the M step needs.
        posterior: Posterior of all images, in the order of the rows.
        reconstruction: Mean square of a residual's real number.
        kl: Mean KL divergence of the latents.
    """

    sums: SliceAccumulator
    posterior: Posterior
    reconstruction: float
    kl: float


def new_sums(images: DiscImages, radius: int, num_volumes: int) -> SliceAccumulator:
    """Empty sums on the smallest grid for a radius."""
    grid = RfftVolumeGrid(grid_size(radius, images.box_size))
    pairs = num_volumes * (num_volumes + 1) // 2
    return SliceAccumulator(grid, num_volumes, pairs, images.device, images.mates)


def add_batch(
    sums: SliceAccumulator,
    batch: Batch,
    precision: Float[Tensor, "images points"],
    coefficients: Float[Tensor, "batch volumes"],
    products: Float[Tensor, "batch products"],
    box_size: int,
) -> None:
    """Spread C y / σ² times coefficients, and C² / σ² times products of coefficients.

    Args:
        sums: What is added to.
        batch: Particles, all points of whose images are compared.
        precision: 1 / σ² of every image.
        coefficients: Of every particle.
        products: Of every particle.
        box_size: Side of the images.
    """
    means, moments = batch.grouping.spread(coefficients), batch.grouping.spread(products)
    if batch.sidebands is not None:
        for points, matched, weights in batch.sidebands.matched(
            batch.images, batch.coordinates, batch.weights, precision
        ):
            sums.add(points * box_size, matched, weights, means, moments)
        return
    matched, weights = matched_terms(batch.images, batch.transfer(), precision)
    sums.add(batch.coordinates * box_size, matched, weights, means, moments)


def run_pass(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    subspace: Subspace,
    noise: NoiseModel,
    residuals: ResidualPower,
    contrast_spread: float = 0.0,
) -> Pass:
    """The E step for some images, and the sums for the next M step.

    Args:
        images: The images.
        rows: Which of them.
        subspace: The volumes.
        noise: The noise.
        residuals: Takes up what the volumes leave unexplained.
        contrast_spread: Standard deviation of contrasts.
    """
    radius = subspace.radius
    num_points = images.num_points(radius)
    expectation = Expectation(subspace, noise, num_points, contrast_spread)
    sums = new_sums(images, radius, subspace.num_components + 1)
    found = []
    squares = divergence = torch.zeros((), dtype=sum_dtype(images.device), device=images.device)
    for batch in images.batches(images.team.piece(rows), radius):
        posterior, left = expectation(batch, images.box_size)
        precision = noise.precision(batch.image_rows, num_points)
        add_batch(
            sums,
            batch,
            precision,
            posterior.coefficients(),
            posterior.products(),
            images.box_size,
        )
        residuals.add(batch.image_rows, left)
        found.append(posterior)
        squares = squares + left.sum()
        divergence = divergence + posterior.divergence().sum()
    sums.share(images.team)
    return Pass(
        sums=sums,
        posterior=joined(found, images.team),
        reconstruction=float(images.team.total(squares))
        / (images.images.num_images(rows) * num_points),
        kl=float(images.team.total(divergence)) / len(rows),
    )


def joined(parts: list[Posterior], team: Team) -> Posterior:
    """One posterior of all images of the batches of all processes, in their order."""
    names = ("mean", "covariance", "contrast", "contrast_square")
    return Posterior(
        **{
            name: team.gather(torch.cat([getattr(part, name) for part in parts]))
            for name in names
        }
    )


def canonicalise(
    solution: Solution,
    posterior: Posterior,
    masks: Float[Tensor, "volumes box box box"],
    radius: int,
) -> Subspace:
    """This model with latents of mean 0 and unit covariance, and orthogonal components.

    Components are ordered by how much density varies along them. Images tell only products of
    contrasts and volumes: the median contrast goes into the volumes, or both drift (parameter
    expansion, Liu, Rubin & Wu 1998). The prior of each volume is the power of the masked volume
    and of its uncertainty (maximum likelihood), spread over the whole box: within a mask of
    share f of the box only f of the values are free.

    Args:
        solution: Volumes found with the latents of ``posterior``.
        posterior: The latents.
        masks: The mask of every volume, that of all components being the same.
        radius: Where the transforms end.
    """
    mean = posterior.mean.mean(0)
    centred = posterior.mean - mean
    moment = centred.T @ centred / len(centred) + posterior.covariance.mean(0)
    scale = torch.linalg.cholesky(moment.double()).float()
    flat = solution.volumes.flatten(1)
    components = scale.T @ flat[1:]
    whole = flat[0] + mean @ flat[1:]
    turn = principal_directions(components, whole)
    volumes = torch.cat([whole[None], turn.T @ components])
    mixing = torch.zeros(len(flat), len(flat), device=flat.device)
    mixing[0, 0] = 1
    mixing[0, 1:] = mean
    mixing[1:, 1:] = turn.T @ scale.T
    level = posterior.contrast_level()
    volumes, mixing = level * volumes, level * mixing
    doubt = torch.einsum("ab,sbc,ac->as", mixing, solution.covariance, mixing)
    subspace = Subspace(volumes=volumes.view_as(solution.volumes), prior=doubt, radius=radius)
    prior = doubt + subspace.power() / masks.flatten(1).mean(1)[:, None]
    return Subspace(
        volumes=subspace.volumes, prior=prior.clamp_min(1e-12 * prior.max()), radius=radius
    )
