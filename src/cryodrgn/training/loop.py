"""The loop over batches, the same for every kind of training."""

import logging
import time
from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from cryodrgn.data.batches import epoch_order, generator_at
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.errors import NumericalError
from cryodrgn.progress import Progress
from cryodrgn.training.config import TrainConfig
from cryodrgn.training.losses import Losses
from cryodrgn.training.objectives import Objective
from cryodrgn.training.run_log import Metrics, MetricsFile

logger = logging.getLogger(__name__)

ROWS_IN_CACHE = 4096


@dataclass(slots=True)
class RunningMean:
    """Averages of losses over images."""

    images: int = 0
    reconstruction: float = 0.0
    kl: float = 0.0
    total: float = 0.0

    def add(self, losses: Losses, count: int) -> None:
        """Take the losses of a batch of ``count`` images into the average."""
        share = count / (self.images + count)
        self.images += count
        self.reconstruction += share * (float(losses.reconstruction) - self.reconstruction)
        self.kl += share * (float(losses.kl) - self.kl)
        self.total += share * (float(losses.total) - self.total)


def part_size(particles: TrainingSet) -> int:
    """Images whose activations are held at a time.

    On a processor, layers of some thousand rows stay in its cache, which makes training up to
    1.4 times faster (benchmarks/training.py); other devices want the whole batch at once.
    """
    if particles.device.type != "cpu":
        return len(particles)
    return max(1, ROWS_IN_CACHE // particles.num_points)


class Trainer:
    """Takes optimisation steps and reports them.

    Args:
        objective: What is minimised.
        optimizer: How.
        particles: The images.
        config: Settings.
        metrics: Where numbers go.
        progress: Counts images through all epochs.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        particles: TrainingSet,
        config: TrainConfig,
        metrics: MetricsFile,
        progress: Progress,
    ) -> None:
        self._objective = objective
        self._optimizer = optimizer
        self._particles = particles
        self._config = config
        self._metrics = metrics
        self._progress = progress
        self._part_size = part_size(particles)
        self._started = time.monotonic()

    def train_epoch(self, epoch: int) -> RunningMean:
        """One pass through the data in a new random order.

        Returns:
            The average losses of the pass.

        Raises:
            NumericalError: A loss is not finite.
        """
        config, count = self._config, len(self._particles)
        self._objective.model.train()
        whole, recent = RunningMean(), RunningMean()
        order = epoch_order(count, config.seed, epoch).split(config.batch_size)
        place = f"epoch {epoch + 1} of {config.num_epochs}"
        for number, rows in enumerate(order):
            losses = self._step(rows, epoch, number)
            for average in (whole, recent):
                average.add(losses, len(rows))
            self._progress.advance(len(rows), note=f"{place}, loss {recent.total:.4f}")
            if recent.images >= config.log_interval or whole.images == count:
                self._report(recent, epoch, epoch * count + whole.images)
                recent = RunningMean()
        return whole

    def _step(self, rows: torch.Tensor, epoch: int, number: int) -> Losses:
        generator = generator_at(self._config.seed, epoch, number)
        noise = torch.randn(len(rows), self._objective.noise_dim, generator=generator)
        parts = [self._particles.batch(part) for part in rows.split(self._part_size)]
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._objective.accumulate_gradients(parts, noise.to(self._particles.device))
        if not torch.isfinite(losses.total):
            msg = f"the loss is not finite in batch {number} of epoch {epoch}; try a lower --lr"
            raise NumericalError(msg)
        self._optimizer.step()
        return losses

    def _report(self, average: RunningMean, epoch: int, images: int) -> None:
        row = Metrics(
            epoch=epoch,
            images=images,
            reconstruction=average.reconstruction,
            kl=average.kl,
            total=average.total,
            beta=self._config.beta,
            seconds=time.monotonic() - self._started,
        )
        self._metrics.append(row)
        logger.debug(
            "# [Train Epoch: %d/%d] [%d images] gen loss=%.6f, kld=%.6f, beta=%.6f, loss=%.6f",
            epoch + 1,
            self._config.num_epochs,
            images,
            row.reconstruction,
            row.kl,
            row.beta,
            row.total,
        )
