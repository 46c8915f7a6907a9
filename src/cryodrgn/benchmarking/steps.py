"""Images per second of training, and their share of the matrix-product ceiling."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cryodrgn.benchmarking.synthetic import noise_particles
from cryodrgn.benchmarking.timing import median_seconds
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import build_training_set
from cryodrgn.models.build import build_model, stored_lattice
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.cost import operations_per_particle
from cryodrgn.training.loop import Trainer
from cryodrgn.training.objectives import VaeObjective
from cryodrgn.training.optimizers import adam
from cryodrgn.training.options import Compilation
from cryodrgn.training.run_config import TrainConfig
from cryodrgn.training.schedules import KlWeighting


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSpeed:
    """Speed of training at one size.

    Attributes:
        box: Side of the images in pixels.
        width: Nodes of a hidden layer, of encoder and decoder.
        layers: Hidden layers of each.
        batch: Images per step.
        images_per_s: Images per second.
        gflops: What the networks' matrix products amount to, in GFLOP/s.
        fraction: Share of the ceiling of large matrix products.
    """

    box: int
    width: int
    layers: int
    batch: int
    images_per_s: float
    gflops: float
    fraction: float


def model_config(box: int, width: int, layers: int, latent_dim: int = 8) -> ModelConfig:
    """The auto-encoder of the 0.2.0 defaults at some size."""
    return ModelConfig(
        box_size=box,
        latent_dim=latent_dim,
        encoder=EncoderConfig(hidden_dim=width, num_layers=layers),
        decoder=DecoderConfig(hidden_dim=width, num_layers=layers),
    )


def measure_steps(
    sizes: list[tuple[int, int, int, int]],
    ceilings: dict[str, float],
    dtype: torch.dtype,
    device: torch.device,
    *,
    seconds: float,
    scratch: RunDirectory,
) -> Iterator[StepSpeed]:
    """Measure training steps, the very ones of ``train_vae``.

    Args:
        sizes: Box, width, layers and batch of each measurement.
        ceilings: GFLOP/s of large matrix products by number type.
        dtype: Number type of the networks' matrix products.
        device: Where to compute.
        seconds: How long to go on with each.
        scratch: A folder that a scratch file may be made in.
    """
    ceiling = ceilings[str(dtype).removeprefix("torch.")]
    for box, width, layers, batch in sizes:
        config = model_config(box, width, layers)
        step = TrainingStep(config, batch, dtype, device, scratch)
        rate = batch / median_seconds(step, device, seconds)
        gflops = rate * operations_per_particle(config) / 1e9
        yield StepSpeed(
            box=box,
            width=width,
            layers=layers,
            batch=batch,
            images_per_s=rate,
            gflops=gflops,
            fraction=gflops / ceiling,
        )


class TrainingStep:
    """One step of training after another, on images of noise.

    Args:
        config: The model.
        batch: Images per step.
        dtype: Number type of the networks' matrix products.
        device: Where to compute.
        scratch: A folder that a scratch file may be made in.
        compilation: Execution of the step, as ``--compile`` names it.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        dtype: torch.dtype,
        device: torch.device,
        scratch: RunDirectory,
        compilation: Compilation = "auto",
    ) -> None:
        particles = build_training_set(
            noise_particles(4 * batch, config.box_size),
            stored_lattice(config),
            Preprocessing(scale=float(config.box_size)),
            device,
            storage=Storage(scratch_dir=scratch.path),
        )
        model = build_model(config)
        objective = VaeObjective(model.to(device), KlWeighting(), dtype)
        optimizer = adam(model.parameters(), device, learning_rate=1e-4)
        settings = TrainConfig(batch_size=batch, log_interval=10**9, compilation=compilation)
        self._trainer = Trainer(objective, optimizer, particles, settings)
        self._batch, self._number = batch, 0

    def __call__(self) -> None:
        """Take a step."""
        rows = (np.arange(self._batch) + self._number * self._batch) % (4 * self._batch)
        self._trainer.step(torch.from_numpy(rows), 0, self._number)
        self._number += 1
