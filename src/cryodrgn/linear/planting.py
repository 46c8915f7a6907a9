"""Images with the difference of two states planted, in their own noise or in a simulated one.

An image of the major state is the image as it is, less what was found to vary in it already. An
image of the minor state has the predicted difference of the states on top: the image minus the
prediction of the consensus, plus that of the minor state.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch
from cryodrgn.data.batches import generator_at
from cryodrgn.imaging.likelihood import predict, shell_sums
from cryodrgn.imaging.noise import NoiseModel, ResidualPower
from cryodrgn.kernels.gridding import interpolate
from cryodrgn.linear.embed import subspace_of
from cryodrgn.linear.iteration import DiscImages, add_batch, new_sums
from cryodrgn.linear.subspace import Subspace

# Particles from which signals and noise are measured; their means are good to a few percent.
SAMPLE = 2000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Background:
    """Density, heterogeneity and noise of images before anything is planted.

    Attributes:
        volumes: The consensus, and components that vary in the images already.
        latents: Coefficients of those components in every particle.
        noise: Spectrum of what is left.
    """

    volumes: Float[Tensor, "volumes box box box"]
    latents: Float[Tensor, "particles components"]
    noise: NoiseModel


class PlantedImages(DiscImages):
    """Images of a set with other values, kept in memory, for some of its particles.

    Args:
        images: The set.
        rows: Those particles.
        values: Transforms of their images up to some radius, in the order of the rows.
    """

    def __init__(
        self,
        images: DiscImages,
        rows: Int[Tensor, " rows"],
        values: Float[Tensor, "images points 2"],
    ) -> None:
        super().__init__(images.images, images.team)
        image_rows = images.images.image_rows(rows)
        self.values = values
        self._places = torch.zeros(int(image_rows.max()) + 1, dtype=torch.long)
        self._places[image_rows] = torch.arange(len(image_rows))
        self._places = self._places.to(images.device)

    def _batch(self, rows: Int[Tensor, " rows"], num_points: int) -> Batch:
        batch = super()._batch(rows, num_points)
        values = self.values[self._places[batch.image_rows], :num_points]
        return replace(batch, images=values)


def predicted(
    batch: Batch, subspace: Subspace, box_size: int
) -> Float[Tensor, "images volumes points 2"]:
    """Images of each volume of a model in the poses of a batch, CTF and weights applied."""
    points = batch.coordinates * box_size
    values = interpolate(subspace.grid, subspace.table(), points.flatten(0, 1))
    slices = values.view(*points.shape[:2], 2, -1).permute(0, 3, 1, 2)
    transfer = batch.transfer()
    return torch.stack([predict(part, transfer) for part in slices.unbind(1)], dim=1)


def plant(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    is_minor: Bool[Tensor, " rows"],
    difference: Float[Tensor, "box box box"],
    background: Background,
    radius: int,
    *,
    simulated_noise: torch.Generator | None = None,
) -> PlantedImages:
    """Plant the minor state into the images of some particles.

    Args:
        images: The set.
        rows: Particles of the planted set.
        is_minor: True for particles of the minor state.
        difference: Density of the minor state minus that of the major one.
        background: Density, heterogeneity and noise of the set.
        radius: Where the transforms end.
        simulated_noise: Draws noise of the estimated spectrum, on predicted images of the
            consensus; None keeps what the images of the set show.
    """
    volumes = torch.cat([background.volumes, difference[None].to(images.device)])
    subspace = subspace_of(volumes, radius)
    num_points, found, done = images.num_points(radius), [], 0
    for batch in images.batches(rows, radius):
        parts = predicted(batch, subspace, images.box_size)
        minor = is_minor[done : done + len(batch)].to(images.device, torch.float32)
        done += len(batch)
        added = batch.grouping.spread(minor[:, None])[:, 0, None, None] * parts[:, -1]
        if simulated_noise is None:
            latents = batch.grouping.spread(background.latents[batch.rows])
            varying = torch.einsum("ik,ikpc->ipc", latents, parts[:, 1:-1])
            found.append(batch.images - varying + added)
        else:
            precision = background.noise.precision(batch.image_rows, num_points)
            white = torch.randn(batch.images.shape, generator=simulated_noise)
            noise = white.to(images.device) / precision.sqrt()[..., None]
            found.append(parts[:, 0] + added + noise)
    return PlantedImages(images, rows, torch.cat(found))


def sampled(images: DiscImages, count: int = SAMPLE) -> Int[Tensor, " rows"]:
    """Rows of particles spread evenly over a set."""
    return torch.linspace(0, len(images) - 1, min(count, len(images))).long()


def signals(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    differences: Float[Tensor, "differences box box box"],
    noise: NoiseModel,
    radius: int,
    turns: Float[Tensor, "rows 3 3"] | None = None,
) -> Float[Tensor, "differences shells"]:
    """Mean signal-to-noise ratio of differences in the images of a particle, by shell.

    It is Σ |C P Δ|² / σ² over the points of a shell and the images of a particle, σ² being the
    variance of a real number: the square of the number of standard deviations by which a
    matched filter tells the two states of one particle apart.

    Args:
        images: The set.
        rows: Particles over which the mean is taken.
        differences: Densities of the minor states minus those of the major ones.
        noise: Spectrum of the noise.
        radius: The last shell.
        turns: Rotations of the particles before they are seen; None leaves their views.
    """
    subspace = subspace_of(differences.to(images.device), radius)
    shells = noise.shells[: images.num_points(radius)]
    total = torch.zeros(len(differences), radius + 1, device=images.device)
    for batch in turned(images.batches(rows, radius), turns):
        power = predicted(batch, subspace, images.box_size).square().sum(-1)
        power = power * noise.precision(batch.image_rows, power.shape[-1])[:, None]
        total += (
            shell_sums(power.flatten(0, 1), shells, radius + 1)
            .view(len(power), len(differences), -1)
            .sum(0)
        )
    return (total / len(rows)).cpu()


def turned(
    batches: Iterator[Batch], turns: Float[Tensor, "particles 3 3"] | None
) -> Iterator[Batch]:
    """Batches as if every particle had been turned before it was seen.

    Args:
        batches: The batches.
        turns: Rotations of the particles, in their order; None leaves them.
    """
    done = 0
    for batch in batches:
        if turns is None:
            yield batch
            continue
        chosen = turns[done : done + len(batch)].to(batch.coordinates)
        done += len(batch)
        per_image = batch.grouping.spread(chosen.flatten(1)).view(-1, 3, 3)
        yield replace(batch, coordinates=batch.coordinates @ per_image)


def coverage(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    noise: NoiseModel,
    radius: int,
    turns: Float[Tensor, "rows 3 3"] | None = None,
) -> Float[Tensor, " voxels"]:
    """Mean of C² / σ² that a particle adds to every point of a half grid, flattened.

    Args:
        images: The set.
        rows: Particles over which the mean is taken.
        noise: Spectrum of the noise.
        radius: Where the transforms end; the grid is that of :func:`grid_size`.
        turns: Rotations of the particles before they are seen; None leaves their views.
    """
    sums, num_points = new_sums(images, radius, 1), images.num_points(radius)
    for batch in turned(images.batches(rows, radius), turns):
        precision = noise.precision(batch.image_rows, num_points)
        ones = torch.ones(len(batch), 1, device=images.device)
        add_batch(sums, batch, precision, ones, ones, images.box_size)
    _, weights = sums.totals()
    return (weights[:, 0] / len(rows)).cpu()


def amplitudes(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    volume: Float[Tensor, "box box box"],
    noise: NoiseModel,
    radius: int,
) -> tuple[Float[Tensor, " shells"], Float[Tensor, " shells"]]:
    """Factors on the shells of a volume that bring its images closest to those of a set.

    Args:
        images: The set.
        rows: Particles from which they are found.
        volume: The volume.
        noise: Spectrum of the noise, which weights optics groups.
        radius: The last shell.

    Returns:
        The factors, and their standard errors.
    """
    subspace = subspace_of(volume[None].to(images.device), radius)
    shells = noise.shells[: images.num_points(radius)]
    sums = torch.zeros(2, radius + 1, device=images.device)
    for batch in images.batches(rows, radius):
        image = predicted(batch, subspace, images.box_size)[:, 0]
        precision = noise.precision(batch.image_rows, image.shape[1])
        products = torch.stack([(image * batch.images).sum(-1), image.square().sum(-1)])
        for total, part in zip(sums, products * precision, strict=True):
            total += shell_sums(part, shells, radius + 1).sum(0)
    squares = sums[1].clamp_min(1e-12)
    return (sums[0] / squares).cpu(), squares.rsqrt().cpu()


def residual_noise(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    consensus: Float[Tensor, "box box box"],
    noise: NoiseModel,
    radius: int,
) -> NoiseModel:
    """Spectrum of the noise: power of images less their prediction by a consensus."""
    subspace = subspace_of(consensus[None].to(images.device), radius)
    num_points = images.num_points(radius)
    shells, power = noise.shells[:num_points], ResidualPower(noise, num_points)
    for batch in images.batches(rows, radius):
        left = batch.images - predicted(batch, subspace, images.box_size)[:, 0]
        power.add(batch.image_rows, shell_sums(left.square().mean(-1), shells, radius + 1))
    return power.updated()


def drawn_rows(images: DiscImages, count: int, seed: int, number: int) -> Int[Tensor, " rows"]:
    """Some particles of a set, drawn for one trial.

    Args:
        images: The set.
        count: How many.
        seed: Of all trials.
        number: Of this trial.
    """
    order = torch.randperm(len(images), generator=generator_at(seed, (number,)))
    return order[:count].sort().values
