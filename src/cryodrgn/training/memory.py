"""Memory that a training run takes, from its settings before it begins.

The terms count what the program holds at its fullest moment: the prepared images; per weight
its value, gradient, two moments of Adam, an average where there is one, and two copies of the
last good state while one takes the place of the other; and the activations of the parts of a
batch that threads compute at a time.
What the libraries take is a constant, measured once (``benchmarks/plans.py`` compares all with
runs).
"""

from dataclasses import dataclass

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.models.build import decoder_sizes, encoder_sizes
from cryodrgn.models.settings import ModelConfig
from cryodrgn.processors import most_threads
from cryodrgn.reconstruction.encode import BATCH as EVALUATED_TOGETHER
from cryodrgn.training.objectives import ROWS_IN_CACHE
from cryodrgn.training.run_config import RunConfig

# Bytes that libraries take beyond what they hold before the first step: compiled kernels,
# workspaces of threads, what the allocator keeps.
LIBRARIES = 45 * 10**6
# Per weight: value, gradient, two moments, two copies of value and moments; 4 bytes each.
BYTES_PER_WEIGHT = 40
# Where weights are averaged: the average, and two copies of it.
BYTES_PER_AVERAGE = 12
# Per weight of volumes that learn, in every part of a batch: the table that slices are read
# off and what it is made by, with their gradients.
BYTES_PER_CHANGE = 24
# Per number that does not learn: value, two copies, and the table that slices are read off,
# which is padded to eight times the volumes.
BYTES_PER_FIXED = 48
# Per frequency of an image in a batch: transform, CTF, coordinates, and what they are made by.
BYTES_PER_POINT = 100
# Per pixel of an image that is being prepared, of 64 at a time.
BYTES_PER_PREPARED_PIXEL, PREPARED_TOGETHER = 40, 64
FLOAT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryNeed:
    """Bytes that a run takes at its fullest moment.

    Attributes:
        images: Of prepared images, wherever they are.
        weights: Of weights, optimiser and their copies.
        batch: Of the parts of a batch that are computed at a time.
        rest: Of the libraries, beyond what they hold now.
    """

    images: int
    weights: int
    batch: int
    rest: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.images + self.weights + self.batch + self.rest


def count_weights(config: ModelConfig) -> tuple[int, int]:
    """Numbers of weights of the encoder and the decoder."""
    return encoder_sizes(config).weights, decoder_sizes(config).weights


def memory_needed(
    config: RunConfig, count: int, *, is_processor: bool, images_per_particle: float = 1.0
) -> MemoryNeed:
    """Memory that training takes on the device, in bytes.

    Args:
        config: The run.
        count: Its particles.
        is_processor: Whether it computes on the processor, part by part, and not on a device
            that holds a whole batch.
        images_per_particle: Number of images of a particle, on average.
    """
    model, batch_size = config.model, min(config.training.batch_size, count)
    points = len(HalfPlaneFrequencies.disc(model.box_size))
    encoder, decoder = count_weights(model)
    of_threads = most_threads() * max(1, ROWS_IN_CACHE // points)
    images = batch_size * images_per_particle
    rows = points * (min(images, of_threads) if is_processor else images)
    sizes = decoder_sizes(model)
    activations = rows * FLOAT * sizes.training_values
    parts = most_threads() if is_processor else 1
    activations += parts * BYTES_PER_CHANGE * sizes.changes
    is_averaged = config.training.tuning.averaging > 0
    per_weight = BYTES_PER_WEIGHT + is_averaged * BYTES_PER_AVERAGE
    held = batch_size * points * BYTES_PER_POINT * images_per_particle
    together = min(EVALUATED_TOGETHER, count) if model.encoder is not None else 0
    # See TrainingSet.most_together.
    evaluated = min(together * images_per_particle, max(2 * together, images_per_particle))
    evaluated *= points * BYTES_PER_POINT
    stored = config.data.box_size or model.box_size
    prepared = min(PREPARED_TOGETHER, count) * stored**2 * BYTES_PER_PREPARED_PIXEL
    return MemoryNeed(
        images=round(8 * points * count * images_per_particle),
        weights=per_weight * (encoder + decoder - sizes.fixed) + BYTES_PER_FIXED * sizes.fixed,
        batch=int(max(activations + held, evaluated, prepared if is_processor else 0)),
        rest=LIBRARIES if is_processor else 0,
    )


def bytes_written(config: RunConfig, count: int) -> int:
    """Bytes of all files that a run writes."""
    encoder, decoder = count_weights(config.model)
    training = config.training
    checkpoints = training.num_epochs // training.checkpoint_interval + 1
    fixed = decoder_sizes(config.model).fixed
    learning = encoder + decoder - fixed
    # Values and two moments, and beside averages the values that they are averages of.
    copies = 4 if training.tuning.averaging else 3
    per_checkpoint = FLOAT * (copies * learning + fixed)
    per_checkpoint += 2 * FLOAT * count * max(config.model.latent_dim, 1)
    if config.model.kind == "nn":
        per_checkpoint += FLOAT * config.model.box_size**3
    return checkpoints * per_checkpoint
