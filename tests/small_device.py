"""A device that holds so many images at a time only, as training sees it."""

import os
from collections.abc import Callable
from typing import Any

import torch

from cryodrgn.data.training_set import TrainingSet
from cryodrgn.models.decoders import Decoder
from cryodrgn.preflight import plans
from cryodrgn.training import loop
from cryodrgn.training.objectives import VaeObjective


def limit(place: str, images: int, patch: Callable[..., None] = setattr) -> list[int]:
    """Fail where more images are asked for than there is room for.

    Args:
        place: When they are looked up, in the decoder, or in the last gradients of a step.
        images: How many there is room for.
        patch: Replaces an attribute.

    Returns:
        How many were asked for, one after another; it grows.
    """
    seen: list[int] = []

    def require(count: int) -> None:
        seen.append(count)
        if count > images:
            raise torch.OutOfMemoryError

    batch, forward = TrainingSet.batch, Decoder.forward
    gradients = VaeObjective.gradients

    def limited_batch(self: TrainingSet, rows: torch.Tensor, *rest: Any, **more: Any) -> Any:
        if self.num_visited and torch.is_grad_enabled():
            require(len(rows))
        return batch(self, rows, *rest, **more)

    def limited_forward(self: Decoder, points: torch.Tensor, *rest: Any) -> Any:
        if self.training:
            require(len(points))
        return forward(self, points, *rest)

    def limited_gradients(self: VaeObjective, parts: Any, *rest: Any) -> Any:
        weight = next(self.model.encoder.parameters())
        hook = weight.register_hook(lambda _: require(len(parts[0])))
        try:
            return gradients(self, parts, *rest)
        finally:
            hook.remove()

    if place == "images":
        patch(TrainingSet, "batch", limited_batch)
    elif place == "decoder":
        patch(Decoder, "forward", limited_forward)
    else:
        patch(VaeObjective, "gradients", limited_gradients)
    return seen


def hold_whole_batches(patch: Callable[..., None] = setattr) -> None:
    """Compute as a device does that holds whole batches, and not a processor's cache."""
    patch(loop, "part_size", lambda particles, radius=None: 1000)
    # Its plan measures a step with the decoder that is limited.
    patch(plans, "seconds_per_particle", lambda *_: 1.0)


def become(place: str, rank: int, images: int) -> None:
    """Become a process of a job of which the one of this rank has a small device."""
    hold_whole_batches()
    if os.environ["RANK"] == str(rank):
        limit(place, images)
