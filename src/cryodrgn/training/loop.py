"""The loop over batches, the same for every kind of training."""

import copy
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Optimizer

from cryodrgn.data.batches import generator_at
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import to_device
from cryodrgn.errors import CryodrgnError, NumericalError
from cryodrgn.imaging.likelihood import Losses
from cryodrgn.parallel import ALONE, Team
from cryodrgn.progress import Progress
from cryodrgn.threads import torch_threads
from cryodrgn.training.compiled_step import CompiledStep
from cryodrgn.training.events import StepsTaken
from cryodrgn.training.execution import choose_variant
from cryodrgn.training.guard import NonFiniteGuard, PendingStep, StepReport
from cryodrgn.training.objectives import ROWS_IN_CACHE, Gradients, Objective
from cryodrgn.training.optimizers import divide_rates, skips_on_device, step_unless
from cryodrgn.training.row_table import TrainableGroup
from cryodrgn.training.run_config import TrainConfig

logger = logging.getLogger(__name__)

# Parts of a batch come in multiples of this, so that two threads have the same to do; four
# parts in place of two cost a fifth of the time at 32 px 128×3.
PARTS_TOGETHER = 2
# Steps that the host may run ahead of a device, by its type.
LAG = {"cuda": 16}


@dataclass(slots=True)
class Position:
    """Position in a run: epochs and batches done.

    Attributes:
        epoch: Epochs that are complete.
        batch: Batches of the epoch after them that are done.
    """

    epoch: int = 0
    batch: int = 0


@dataclass(slots=True)
class RunningMean:
    """Averages of losses over images.

    Attributes:
        seen: Images that passed, those of skipped batches too.
        images: Images in the averages.
    """

    seen: int = 0
    images: int = 0
    reconstruction: float = 0.0
    kl: float = 0.0
    total: float = 0.0

    def add(self, report: StepReport | None, count: int) -> None:
        """Take a batch of ``count`` images into the average; None for a skipped one."""
        self.seen += count
        if report is None:
            return
        share = count / (self.images + count)
        self.images += count
        self.reconstruction += share * (report.reconstruction - self.reconstruction)
        self.kl += share * (report.kl - self.kl)
        self.total += share * (report.total - self.total)


def part_size(particles: TrainingSet, radius: int | None = None) -> int:
    """Particles whose activations are held at a time, images compared within a radius.

    On a processor, layers of some thousand rows stay in its cache, which makes training up to
    1.4 times faster (benchmarks/training.py); other devices want the whole batch at once.
    """
    if particles.device.type != "cpu":
        return len(particles)
    rows = particles.points_within(radius) * particles.images_per_particle
    return max(1, int(ROWS_IN_CACHE // rows))


def split_batch(
    rows: Int[Tensor, " batch"], size: int, device: torch.device
) -> Sequence[Int[Tensor, " part"]]:
    """Parts of a batch that are computed at a time, or by one thread each on a processor.

    They do not depend on the number of threads, so neither does the sum of their gradients.

    Args:
        rows: The batch.
        size: Most images of a part.
        device: Where it is computed.
    """
    if device.type != "cpu" or 2 * len(rows) <= size:
        return rows.split(size)
    count = PARTS_TOGETHER * -(-len(rows) // (PARTS_TOGETHER * size))
    return rows.tensor_split(min(count, len(rows)))


class Trainer:
    """Takes optimisation steps and reports them.

    Args:
        objective: What is minimised.
        optimizer: Moves the weights of its model.
        particles: The images.
        config: Settings.
        refined: Numbers of particles that are learnt along, by name.
        team: Processes that share the work.
        lag: Steps that may be taken before the host looks at what the first of them led to;
            bad ones are skipped on the device. None means 16 on a GPU if the optimiser can do
            that (:func:`~cryodrgn.training.optimizers.skips_on_device`) and nothing is learnt
            along, otherwise 0.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        particles: TrainingSet,
        config: TrainConfig,
        refined: Mapping[str, TrainableGroup] | None = None,
        team: Team = ALONE,
        lag: int | None = None,
    ) -> None:
        self._team = team
        self.position = Position()
        self._objective = objective
        self._optimizer = optimizer
        self._particles = particles
        self._config = config
        self._tell: Callable[[StepsTaken], None] | None = None
        self._refined = refined or {}
        self._guard = NonFiniteGuard(particles.original_rows.tolist())
        if lag is None:
            can_lag = skips_on_device(optimizer) and not self._refined
            lag = LAG.get(particles.device.type, 0) if can_lag else 0
        self._lag = lag
        self._compiled = self._compiled_step(can_replay=lag > 0)
        self._waiting: deque[PendingStep] = deque()
        self._whole, self._recent = RunningMean(), RunningMean()
        self._parameters = [p for p in objective.model.parameters() if p.requires_grad]
        self._good = self._moving_state()
        # Images of a batch that the device has been found to hold at a time.
        self._most_together = len(particles)
        self._started = time.monotonic()

    def _compiled_step(self, *, can_replay: bool) -> CompiledStep | None:
        """The compiled step, if that is wanted and possible."""
        variant = choose_variant(self._config.compilation, self._particles.device)
        if variant == "off":
            return None
        if not self._particles.has_equal_counts:
            logger.warning("steps are not compiled: particles have different numbers of images")
            return None
        if self._team.size > 1 and not self._objective.is_sum_over_particles:
            logger.warning(
                "steps are not compiled: with `beta_control` the processes share the divergence"
            )
            return None
        return CompiledStep(
            self._objective,
            self._optimizer,
            self._particles,
            self._config.batch_size,
            self._refined,
            self._team,
            variant,
            can_replay=can_replay,
        )

    @property
    def images_seen(self) -> int:
        """Images that passed since the run began, in all epochs."""
        waiting = sum(len(outcome.rows) for outcome in self._waiting)
        return self.position.epoch * self._particles.num_visited + self._whole.seen + waiting

    def begin_at(self, position: Position) -> None:
        """Begin with weights that have been put into the model, counting epochs from there."""
        self.position = position
        self._good = self._moving_state()

    def report_to(self, tell: Callable[[StepsTaken], None]) -> None:
        """Report the steps to this function from now on."""
        self._tell = tell

    def train_epoch(self, progress: Progress, after_step: Callable[[], None]) -> RunningMean:
        """The rest of the pass through the data at which the run stands.

        Args:
            progress: Advanced by every image.
            after_step: Called after every batch.

        Returns:
            The average losses of the whole pass.

        Raises:
            NumericalError: Training diverges.
        """
        config, count = self._config, self._particles.num_visited
        epoch = self.position.epoch
        self._objective.model.train()
        place = f"epoch {epoch + 1} of {config.num_epochs}"
        radius = self._radius(epoch)
        if radius is not None:
            nyquist = self._particles.lattice.box_size // 2
            logger.info("epoch %d compares radius %d of %d", epoch + 1, radius, nyquist)
        done, num_batches = self.position.batch, math.ceil(count / config.batch_size)
        seed = config.seed if config.shuffle_seed is None else config.shuffle_seed
        with self._particles.epoch(seed, epoch, done * config.batch_size) as order:
            # A run may go on where an epoch was complete but for its checkpoint.
            batches = order.split(config.batch_size) if len(order) else ()
            for number, rows in enumerate(batches, start=done):
                self.step(rows, epoch, number)
                if number + 1 < num_batches:
                    self._particles.expect(self._asked(batches[number + 1 - done]))
                if number + 1 == num_batches:
                    self._settle(0)
                if self._recent.seen >= config.log_interval or self._whole.seen == count:
                    self._report(epoch)
                self.position.batch = number + 1
                progress.advance(len(rows), note=f"{place}, loss {self._whole.total:.4f}")
                after_step()
        average = self._whole
        self._whole, self._recent = RunningMean(), RunningMean()
        self.position = Position(epoch=epoch + 1)
        return average

    def state_dict(self) -> dict[str, Any]:
        """Everything beside model and optimiser that must be remembered to go on exactly."""
        self._settle(0)
        good = self._good if self._recent.seen else None
        return self._tables() | {
            "position": asdict(self.position),
            "averages": [asdict(self._whole), asdict(self._recent)],
            "guard": self._guard.state_dict(),
            "good": good,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a remembered state; model and optimiser have been restored before."""
        self._load_tables(state)
        self.position = Position(**state["position"])
        self._whole, self._recent = (RunningMean(**mean) for mean in state["averages"])
        self._guard.load_state_dict(state["guard"])
        self._good = state["good"] or self._moving_state()

    def step(self, rows: Int[Tensor, " batch"], epoch: int, number: int) -> None:
        """One optimisation step on some particles, which is not taken if their batch is bad.

        Args:
            rows: The particles.
            epoch: Number of the epoch.
            number: Number of the batch in it; both set the random numbers.
        """
        generator = generator_at(self._config.seed, (epoch, number))
        noise = torch.randn(len(rows), self._objective.noise_dim, generator=generator)
        is_processor = self._particles.device.type == "cpu"
        with torch_threads(1) if is_processor else nullcontext():
            self._waiting.append(self._taken(rows, noise, self._radius(epoch)))
            self._settle(self._lag)

    def _taken(
        self,
        rows: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise"],
        radius: int | None,
    ) -> PendingStep:
        """Gradients of a batch, and the step they lead to where the device can judge it."""
        if self._compiled is not None and self._compiled.replays:
            try:
                return self._compiled.replayed(rows, noise, self.images_seen, radius)
            except torch.OutOfMemoryError as error:
                self._halve_parts(len(rows), radius, error)
            except Exception as error:  # noqa: BLE001 (compilers raise anything)
                self._give_way(error)
        losses = self._with_gradients(rows, noise, radius)
        self._team.add([p.grad for p in self._parameters if p.grad is not None])
        outcome = PendingStep.of(rows, losses, self._parameters)
        if self._lag:
            step_unless(outcome.is_bad, self._optimizer)
        return outcome

    def _asked(self, rows: Int[Tensor, " batch"]) -> Int[Tensor, " asked"]:
        """Particles that a step on a batch will ask for first."""
        mine, _ = self._team.share(torch.arange(len(rows)))
        rows, compiled = rows[mine], self._compiled
        return rows if compiled is None else compiled.first_part(rows)

    def _give_way(self, error: Exception) -> None:
        """Take steps in a simpler way after a failure that may be the compiler's.

        Raises:
            Exception: It is not, or this is the simplest way.
        """
        is_ours = isinstance(error, CryodrgnError)
        if is_ours or self._compiled is None or not self._compiled.gives_way(error):
            raise error
        if not self._compiled.is_usable:
            self._compiled = None

    def _settle(self, lag: int) -> None:
        """Look at what steps led to, until only the last ``lag`` of them wait for it.

        Raises:
            NumericalError: Training diverges.
        """
        while len(self._waiting) > lag:
            outcome = self._waiting.popleft()
            report = outcome.report()
            is_good = self._guard.accepts(report, outcome.rows)
            if not self._lag:
                (self._move if is_good else self._stay)()
            self._count(report if is_good else None, outcome)
            if not is_good and self._guard.must_return():
                self._return_to_good_state()

    def _move(self) -> None:
        self._optimizer.step()
        for refined in self._refined.values():
            refined.step(self.position.epoch)

    def _stay(self) -> None:
        for refined in self._refined.values():
            refined.numbers.discard()

    def _count(self, report: StepReport | None, outcome: PendingStep) -> None:
        self._whole.add(report, len(outcome.rows))
        self._recent.add(report, len(outcome.rows))

    def _with_gradients(
        self,
        rows: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise"],
        radius: int | None,
    ) -> Losses:
        """Losses of a batch; this process's gradients go to parameters and looked-up rows.

        Parts of a batch that do not fit into memory, in any process, are halved in all of them;
        the sum is the same.

        Raises:
            NumericalError: Not even a single image fits.
        """
        while True:
            self._optimizer.zero_grad(set_to_none=True)
            try:
                if self._compiled is None:
                    return self._in_parts(rows, noise, radius)
                # A compiler that fails in one process does not serve the others, either.
                with (
                    self._team.raise_on_all(Exception),
                    self._team.raise_on_all(torch.OutOfMemoryError),
                ):
                    return self._compiled.gradients(rows, noise, self.images_seen, radius)
            except torch.OutOfMemoryError as error:
                self._halve_parts(len(rows), radius, error)
            except Exception as error:  # noqa: BLE001 (compilers raise anything)
                self._give_way(error)
            # Only here, behind the handler, is what the failed attempt held given up.
            if self._particles.device.type == "cuda":
                torch.cuda.empty_cache()

    def _in_parts(
        self,
        rows: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise"],
        radius: int | None,
    ) -> Losses:
        """Losses and gradients of a batch, in parts that a cache or the memory holds."""
        mine, divisor = self._team.share(torch.arange(len(rows)))
        device = self._particles.device
        size = min(part_size(self._particles, radius), self._most_together)
        with self._team.raise_on_all(torch.OutOfMemoryError):
            parts = [
                self._particles.batch(part, radius=radius)
                for part in split_batch(rows[mine], size, device)
            ]
            sent = to_device(noise[mine], device)
            found = self._objective.gradients(parts, sent, self.images_seen, divisor)
            self._take(found)
        return found.losses

    def _take(self, found: Gradients) -> None:
        """Give gradients to parameters, and to the rows of tables that inputs came from."""
        for parameter, gradient in zip(self._parameters, found.of_parameters, strict=True):
            if gradient is not None and gradient.stride() != parameter.stride():
                gradient = torch.empty_like(parameter).copy_(gradient)
            parameter.grad = gradient
        leaves = [leaf for group in self._refined.values() for leaf in group.numbers.leaves]
        if not leaves or not found.of_inputs:
            return
        # Gradients that are given by themselves make PyTorch load a library of symbols.
        surrogate = torch.stack([(part * given).sum() for part, given in found.of_inputs]).sum()
        of_leaves = torch.autograd.grad(surrogate, leaves, allow_unused=True)
        for leaf, gradient in zip(leaves, of_leaves, strict=True):
            leaf.grad = gradient

    def _halve_parts(
        self, count: int, radius: int | None, error: torch.OutOfMemoryError
    ) -> None:
        # The largest share of a batch, so that all processes come to the same size.
        share = count if count < self._team.size else -(-count // self._team.size)
        size = min(part_size(self._particles, radius), self._most_together, share)
        if size == 1:
            advice = (
                "take smaller networks (`decoder_dim`, `encoder_dim`), a smaller `box_size`, "
                "or a smaller `batch_size`"
            )
            msg = f"{self._particles.device} has too little memory for this run; {advice}"
            raise NumericalError(msg) from error
        self._most_together = (size + 1) // 2
        if self._compiled is not None:
            self._compiled.compute_at_a_time(self._most_together)
            if not self._objective.is_sum_over_particles:
                self._compiled = None
        for refined in self._refined.values():
            refined.numbers.discard()
        logger.warning(
            "%s ran out of memory: batches of %d are now computed %d images at a time",
            self._particles.device,
            count,
            self._most_together,
        )

    def _radius(self, epoch: int) -> int | None:
        """Within which radius in pixels images are compared; None means all of them."""
        curriculum, full = self._config.curriculum, self._particles.lattice.box_size // 2
        if self._config.search is not None:
            box_size = self._particles.lattice.box_size
            radius = self._config.search.learnt_radius(epoch, self._config.num_epochs, box_size)
            return radius if radius < full else None
        return None if curriculum is None else curriculum.radius_at(epoch, full)

    def _return_to_good_state(self) -> None:
        while self._waiting:
            self._count(None, self._waiting.popleft())
        good = copy.deepcopy(self._good)
        self._objective.model.load_state_dict(good["model"])
        self._optimizer.load_state_dict(good["optimizer"])
        self._load_tables(good)
        divide_rates(self._optimizer, 2)
        logger.warning(
            "went back to the last good state and halved the learning rate to %g",
            self._optimizer.param_groups[0]["lr"],
        )

    def _moving_state(self) -> dict[str, Any]:
        """A copy of all that training moves."""
        return copy.deepcopy(
            {
                "model": self._objective.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
            }
            | self._tables()
        )

    def _tables(self) -> dict[str, Any]:
        return {name: item.numbers.state_dict() for name, item in self._refined.items()}

    def _load_tables(self, state: dict[str, Any]) -> None:
        for name, item in self._refined.items():
            item.numbers.load_state_dict(state[name])

    def _report(self, epoch: int) -> None:
        """Report the averages since the last report; what led to them was good."""
        average, self._recent = self._recent, RunningMean()
        if not average.images:
            return
        images = self.images_seen
        taken = StepsTaken(
            epoch=epoch,
            images=images,
            reconstruction=average.reconstruction,
            kl=average.kl,
            total=average.total,
            beta=self._config.kl.beta_at(images),
            learning_rate=self._optimizer.param_groups[0]["lr"],
            skipped=self._guard.skipped,
            seconds=time.monotonic() - self._started,
        )
        if self._tell is not None:
            self._tell(taken)
        self._good = self._moving_state()
