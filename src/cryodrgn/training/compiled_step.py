"""Compiled training steps, and steps that are replayed as one CUDA graph."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from cryodrgn.compiled_code import CompiledFunction, compiled, why_not_compiled
from cryodrgn.data.batch import StoredBatch
from cryodrgn.data.batches import padded
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import to_device
from cryodrgn.imaging.likelihood import Losses
from cryodrgn.models.layers import fuse_residual_layers
from cryodrgn.parallel import Team
from cryodrgn.training.guard import PendingStep, judged
from cryodrgn.training.objectives import Objective
from cryodrgn.training.optimizers import step_unless
from cryodrgn.training.options import Compilation
from cryodrgn.training.row_table import TrainableGroup
from cryodrgn.training.whole_step import StepInputs, WholeLoss, value_and_gradients

logger = logging.getLogger(__name__)

# Slices are computed within one of so many radii, the rest of whose points has weight 0.
RADII = 4
# Steps that are taken before one of their kind is captured: compilers measure in the first.
WARM_UP = 3


def radius_computed(radius: int | None, full: int) -> int | None:
    """The radius within which slices are computed, one of a few; None for all frequencies."""
    if radius is None or radius >= full:
        return None
    step = math.ceil(full / RADII)
    wider = step * math.ceil(radius / step)
    return None if wider >= full else wider


@dataclass(slots=True, eq=False)
class Slot:
    """Tensors of one shape that every step of a kind is put into, and its graph.

    Attributes:
        radius: Within which slices are computed.
        turns: Whether the penalty on turned images is computed.
        rows: The particles.
        image_rows: Their images.
        noise: Standard normal numbers.
        particle_weights: 1 for particles of the batch.
        numbers: See :class:`StepInputs`.
        point_weights: 1 for points that are compared, within ``compared``.
        compared: That radius.
        images: Transforms, where they do not all live on the device.
        taken: Steps taken so far.
        graph: The step; None until it is captured.
        outcome: Losses and gradient norm of the last step, and whether it is bad.
        moving: What the graph has been captured with: the moments of Adam, and its settings.
    """

    radius: int | None
    turns: bool
    rows: Tensor
    image_rows: Tensor
    noise: Tensor
    particle_weights: Tensor
    numbers: Tensor
    point_weights: Tensor
    compared: int | None
    images: Tensor | None
    taken: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    outcome: tuple[Tensor, Tensor] | None = None
    moving: list[Any] = field(default_factory=list)


class CompiledStep:
    """Takes whole batches through the compiled loss of an objective.

    Args:
        objective: What is minimised.
        optimizer: Moves the weights of its model.
        particles: The images.
        batch_size: Particles of a batch, on all processes.
        refined: Numbers of particles that are learnt along, by name.
        team: Processes that share the work.
        variant: on, graphs or triton.
        can_replay: Whether bad steps can be left out on the device.

    Attributes:
        replays: Whether :meth:`replayed` takes whole steps.
        is_usable: Whether :meth:`gradients` works, as far as is known.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        particles: TrainingSet,
        batch_size: int,
        refined: Mapping[str, TrainableGroup],
        team: Team,
        variant: Compilation,
        *,
        can_replay: bool,
    ) -> None:
        self._objective, self._optimizer, self._team = objective, optimizer, team
        self._particles, self._refined = particles, refined
        self._parameters = [p for p in objective.model.parameters() if p.requires_grad]
        self._size = -(-min(batch_size, len(particles)) // team.size)
        self._loss: WholeLoss = compiled(objective.whole_loss)
        self._slots: dict[tuple[int | None, bool], Slot] = {}
        self._weights: dict[int | None, Tensor] = {}
        self._has_worked, self.is_usable = False, True
        objective.encode_by(lambda encode: CompiledFunction(encode, "the encoder is"))
        if variant == "triton":
            count = fuse_residual_layers(objective.model.decoder)
            if not count:
                logger.warning(
                    "`compilation` triton: the decoder has no residual layers to fuse"
                )
        self.replays = variant in ("graphs", "triton") and self._can_be_replayed(can_replay)

    def first_part(self, rows: Int[Tensor, " batch"]) -> Int[Tensor, " part"]:
        """First part of this process's share of a batch."""
        return padded(rows[: self._size], self._size)

    def compute_at_a_time(self, count: int) -> None:
        """Compute fewer particles at a time from now on, which no graph can hold."""
        self._size, self.replays = min(self._size, count), False
        self._slots.clear()

    def gradients(
        self,
        rows: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        radius: int | None,
    ) -> Losses:
        """Losses of a batch; this process's gradients go to parameters and looked-up rows."""
        mine, divisor = self._team.share(torch.arange(len(rows)))
        sums: list[Tensor | None] = [None] * len(self._parameters)
        total = torch.zeros(3, device=self._particles.device)
        for part in mine.split(self._size):
            terms, of_part = self._part(rows[part], noise[part], divisor, images_seen, radius)
            total = total + terms
            sums = [_added(a, b) for a, b in zip(sums, of_part, strict=True)]
        _give(self._parameters, sums)
        self._has_worked = True
        reconstruction, kl, loss = self._team.total(total).unbind()
        return Losses(reconstruction=reconstruction, kl=kl, total=loss)

    def replayed(
        self,
        rows: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        radius: int | None,
    ) -> PendingStep:
        """Take a whole step: losses, gradients, guard and Adam, from one call of the host."""
        slot = self._filled(rows, noise, images_seen, radius)
        moving = self._moving()
        if slot.graph is not None and not _same(moving, slot.moving):
            slot.graph, slot.taken = None, min(slot.taken, WARM_UP - 1)
        if slot.graph is not None:
            slot.graph.replay()
        elif slot.taken < WARM_UP:
            slot.outcome = self._whole(slot)
        else:
            self._capture(slot)
            assert slot.graph is not None
            slot.graph.replay()
        slot.taken += 1
        self._has_worked = True
        assert slot.outcome is not None
        return PendingStep.sent(rows, *slot.outcome)

    def gives_way(self, error: Exception) -> bool:
        """True if a failure is one of the execution, and a simpler one may do.

        The log says so. After the first step failures are no matter of compilers any more.
        """
        if self.replays:
            self.replays, wanted, instead = False, "graphs", "compiled without CUDA graphs"
            self._slots.clear()
        elif not self._has_worked:
            self.is_usable, wanted, instead = False, "on", "not compiled"
        else:
            return False
        reason = why_not_compiled(error)
        logger.warning("`compilation` %s: %s; steps are %s", wanted, reason, instead)
        return True

    def _can_be_replayed(self, can_replay: bool) -> bool:  # noqa: FBT001 (it is what is said)
        reasons = {
            "bad steps cannot be left out on the device": not can_replay,
            "poses or latents of particles are learnt": bool(self._refined),
            "several processes train together": self._team.size > 1,
        }
        for reason, holds in reasons.items():
            if holds:
                logger.info("steps are compiled without CUDA graphs: %s", reason)
                return False
        return True

    def _part(
        self,
        rows: Int[Tensor, " part"],
        noise: Float[Tensor, "part noise"],
        divisor: float,
        images_seen: int,
        radius: int | None,
    ) -> tuple[Float[Tensor, " 3"], Sequence[Tensor | None]]:
        """Losses and gradients of some particles; those of looked-up rows are put down."""
        before = self._leaves()
        device, count = self._particles.device, len(rows)
        beta, turning = self._objective.numbers_at(images_seen)
        filled = padded(rows, self._size)
        stored = self._particles.stored(filled)
        computed = radius_computed(radius, self._nyquist)
        inputs = StepInputs(
            stored=stored,
            frequencies=self._particles.frequencies(),
            compared=self._particles.compared(computed),
            point_weights=self._point_weights(radius),
            particle_weights=to_device((torch.arange(self._size) < count).float(), device),
            noise=to_device(_filled_up(noise, self._size), device),
            numbers=to_device(torch.tensor([divisor, beta, turning]), device),
            turns=turning > 0,
            latent=self._objective.latents_of(stored.rows),
        )
        leaves = [leaf for leaf in self._leaves() if not any(leaf is one for one in before)]
        terms, found = value_and_gradients(self._loss, [*self._parameters, *leaves], inputs)
        for leaf, gradient in zip(leaves, found[len(self._parameters) :], strict=True):
            leaf.grad = gradient
        return terms, found[: len(self._parameters)]

    def _filled(
        self,
        rows: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        radius: int | None,
    ) -> Slot:
        """The slot of a batch, with the batch in it."""
        beta, turning = self._objective.numbers_at(images_seen)
        filled = padded(rows, self._size)
        image_rows = self._particles.image_rows(filled)
        weights = (torch.arange(self._size) < len(rows)).float()
        key = (radius_computed(radius, self._nyquist), turning > 0)
        device = self._particles.device
        given = (
            filled,
            image_rows,
            _filled_up(noise, self._size),
            weights,
            torch.tensor([float(len(rows)), beta, turning]),
        )
        images = self._particles.streamed(image_rows)
        slot = self._slots.get(key)
        if slot is None:
            tensors = [torch.empty_like(tensor, device=device) for tensor in given]
            slot = Slot(
                *key,
                *tensors,
                point_weights=self._point_weights(radius).clone(),
                compared=radius,
                images=None if images is None else torch.empty_like(images),
            )
            self._slots[key] = slot
        targets = (
            slot.rows,
            slot.image_rows,
            slot.noise,
            slot.particle_weights,
            slot.numbers,
        )
        for target, tensor in zip(targets, given, strict=True):
            target.copy_(to_device(tensor, device))
        if images is not None:
            assert slot.images is not None
            slot.images.copy_(images)
        if slot.compared != radius:
            slot.point_weights.copy_(self._point_weights(radius))
            slot.compared = radius
        return slot

    def _whole(self, slot: Slot) -> tuple[Float[Tensor, " 4"], Bool[Tensor, ""]]:
        """A step on what is in a slot, by operations on the device alone."""
        stored = self._stored(slot)
        inputs = StepInputs(
            stored=stored,
            frequencies=self._particles.frequencies(),
            compared=self._particles.compared(slot.radius),
            point_weights=slot.point_weights,
            particle_weights=slot.particle_weights,
            noise=slot.noise,
            numbers=slot.numbers,
            turns=slot.turns,
        )
        terms, found = value_and_gradients(self._loss, self._parameters, inputs)
        _give(self._parameters, found)
        reconstruction, kl, loss = terms.unbind()
        losses = Losses(reconstruction=reconstruction, kl=kl, total=loss)
        values, is_bad = judged(losses, self._parameters)
        step_unless(is_bad, self._optimizer)
        return values, is_bad

    def _stored(self, slot: Slot) -> StoredBatch:
        grouping = self._particles.even_grouping(len(slot.rows))
        return self._particles.looked_up(slot.rows, slot.image_rows, grouping, slot.images)

    def _capture(self, slot: Slot) -> None:
        """Record a step on what is in a slot; it is not taken by that."""
        groups = self._optimizer.param_groups
        graph = torch.cuda.CUDAGraph()
        pools = [one.graph.pool() for one in self._slots.values() if one.graph is not None]
        try:
            for group in groups:
                group["capturable"] = True
            # Threads that read ahead may use the device meanwhile.
            with torch.cuda.graph(
                graph, pool=pools[0] if pools else None, capture_error_mode="thread_local"
            ):
                slot.outcome = self._whole(slot)
        finally:
            for group in groups:
                group["capturable"] = False
        slot.graph, slot.moving = graph, self._moving()

    def _moving(self) -> list[Any]:
        """Values on which a captured step depends: if one changes, it is captured again."""
        group, first = self._optimizer.param_groups[0], self._parameters[0]
        state = self._optimizer.state.get(first, {})
        return [state.get("exp_avg"), group["lr"], group["weight_decay"]]

    def _leaves(self) -> list[Tensor]:
        return [leaf for group in self._refined.values() for leaf in group.numbers.leaves]

    @property
    def _nyquist(self) -> int:
        return self._particles.lattice.box_size // 2

    def _point_weights(self, radius: int | None) -> Float[Tensor, " computed"]:
        """1 for points that are compared, among those at which slices are computed."""
        if radius not in self._weights:
            particles = self._particles
            computed = particles.compared(radius_computed(radius, self._nyquist))
            compared = particles.compared(radius)
            if computed is None:
                computed = torch.arange(particles.num_points, device=particles.device)
            if compared is None:
                compared = computed
            self._weights[radius] = torch.isin(computed, compared).float()
        return self._weights[radius]


def _filled_up(noise: Float[Tensor, "batch noise"], size: int) -> Float[Tensor, "size noise"]:
    return torch.cat([noise, noise.new_zeros(size - len(noise), noise.shape[1])])


def _added(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _give(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Give gradients to parameters, in the layout of these."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient


def _same(first: list[Any], second: list[Any]) -> bool:
    return all(a is b or a == b for a, b in zip(first[1:], second[1:], strict=True)) and (
        first[0] is second[0]
    )
