"""Held-out particles, and the error of the model on their images."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch
from cryodrgn.data.batches import generator_at
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.imaging.likelihood import predict, shell_sums, squared_residuals
from cryodrgn.models.protocols import VolumeModel

# Random numbers of the choice are not those of any epoch.
STREAM = 0x4E1D
# Particles whose states are exchanged with one another.
BLOCK = 6
# Frequencies so near to the border of the two halves, in Fourier pixels, belong to neither:
# the window correlates the noise of neighbours.
GUARD_PX = 1.0
AT_A_TIME = 32
# States are means over groups of particles along the first principal components.
COMPONENTS, GROUPS = 2, 4


def choose_held_out(count: int, fraction: float, seed: int) -> Int[Tensor, " held_out"]:
    """Numbers of the held-out particles, in ascending order.

    Args:
        count: Number of different particles.
        fraction: Share of them that is held out.
        seed: Of the choice.
    """
    kept = round(fraction * count)
    order = torch.randperm(count, generator=generator_at(seed, (STREAM,)))
    return order[:kept].sort().values


@torch.inference_mode()
def shell_errors(
    decoder: VolumeModel,
    latents: Float[Tensor, "held_out z"],
    particles: TrainingSet,
    rows: Int[Tensor, " held_out"],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "held_out shells"]:
    """Squared errors of images against their slices, summed over every shell.

    They are means over the images of every particle.

    Args:
        decoder: The network.
        latents: Where each slice is decoded.
        particles: All images.
        rows: Those that are compared.
        dtype: Number type of the network's matrix products.
    """
    shells = particles.shells
    sums = []
    size = particles.most_together(AT_A_TIME)
    for part, latent in zip(rows.split(size), latents.split(size), strict=True):
        batch = particles.batch(part)
        errors = _errors(decoder, batch, latent, dtype)
        sums.append(shell_sums(errors, shells, int(shells.max()) + 1))
    return torch.cat(sums)


def image_powers(particles: TrainingSet, rows: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """Sum of the squared values of an image, mean over the images of every particle."""
    batches = [particles.batch(part) for part in rows.split(particles.most_together(AT_A_TIME))]
    return torch.cat([b.grouping.mean(b.targets().square().sum((1, 2))) for b in batches])


def state_groups(
    latents: Float[Tensor, "particles z"],
) -> Int[Tensor, "states members"]:
    """Particles that stand for a state: groups of neighbours along principal components."""
    centred = latents - latents.mean(0)
    directions = torch.linalg.svd(centred.cpu(), full_matrices=False).Vh
    count = min(GROUPS, len(latents))
    size = len(latents) // count
    groups = [
        (centred.cpu() @ direction).argsort(stable=True)[: size * count].view(count, size)
        for direction in directions[:COMPONENTS]
    ]
    return torch.cat(groups)


@torch.inference_mode()
def half_errors(
    decoder: VolumeModel,
    states: Float[Tensor, "states z"],
    particles: TrainingSet,
    rows: Int[Tensor, " held_out"],
    noise: Float[Tensor, " shells"],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "held_out halves states"]:
    """Errors of both halves of images at the same states, in units of the noise.

    They are means over the images of every particle.

    Args:
        decoder: The network.
        states: Points of the latent space.
        particles: All images.
        rows: Those that are compared.
        noise: Mean squared error of a value, by shell.
        dtype: Number type of the network's matrix products.
    """
    weights = (1 / noise.clamp_min(1e-12))[particles.shells]
    halves = _quadrants(particles) * weights
    tables = []
    for part in rows.split(particles.most_together(AT_A_TIME)):
        batch = particles.batch(part)
        columns = []
        for state in states:
            latent = state.expand(len(part), -1)
            errors = _errors(decoder, batch, latent, dtype)
            columns.append(errors @ halves.T)
        tables.append(torch.stack(columns, dim=-1))
    return torch.cat(tables)


def view_blocks(
    directions: Float[Tensor, "particles 3"], size: int = BLOCK
) -> Int[Tensor, "blocks block"]:
    """Particles in blocks of similar viewing directions; a few may be left out.

    The set is halved along the axis on which its directions differ most, again and again.
    """

    def divide(rows: Tensor) -> list[Tensor]:
        if len(rows) < 2 * size:
            return [rows[:size]] if len(rows) >= size else []
        spread = directions[rows]
        axis = int(spread.var(0).argmax())
        order = rows[spread[:, axis].argsort(stable=True)]
        middle = len(rows) // (2 * size) * size
        return divide(order[:middle]) + divide(order[middle:])

    blocks = divide(torch.arange(len(directions)))
    return torch.stack(blocks) if blocks else torch.zeros(0, size, dtype=torch.long)


def _quadrants(particles: TrainingSet) -> Float[Tensor, "halves points"]:
    """Masks of the points of the one and of the other half of an image."""
    kx, ky = particles.compared_points.unbind(-1)
    apart = torch.minimum(kx.abs(), ky.abs()) > GUARD_PX
    return torch.stack([apart & (kx * ky > 0), apart & (kx * ky < 0)]).float()


def _errors(
    decoder: VolumeModel, batch: Batch, latent: Float[Tensor, "batch z"], dtype: torch.dtype
) -> Float[Tensor, "batch points"]:
    """Squared errors at every point, mean over the images of every particle.

    Predictions have the most probable contrasts, where images have contrasts of their own.
    """
    slices = decoder(batch.coordinates, batch.grouping.spread(latent), dtype)
    predicted = predict(batch.whole_slices(slices), batch.compared_transfer())
    images = batch.targets()
    likelihood = batch.compared_likelihood()
    if likelihood.contrast is not None:
        predicted = predicted * likelihood.contrasts(predicted, images)[:, None, None]
    return batch.grouping.mean(squared_residuals(predicted, images))
