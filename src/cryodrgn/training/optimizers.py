"""Adam, computed in one pass over the weights, and able to leave out a step unseen."""

from collections.abc import Iterable

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.optim import Optimizer

# Devices on which that is so in all versions of PyTorch that are supported.
FUSED_ON = ("cpu", "cuda")


def adam(
    parameters: Iterable[nn.Parameter],
    device: torch.device,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> torch.optim.Adam:
    """The optimiser of the networks (Kingma & Ba 2015).

    Args:
        parameters: What it moves.
        device: Where they are.
        learning_rate: Length of a step.
        weight_decay: Share of the weights that is added to their gradients.
    """
    return torch.optim.Adam(
        parameters,
        lr=learning_rate,
        weight_decay=weight_decay,
        fused=True if device.type in FUSED_ON else None,
    )


def skips_on_device(optimizer: Optimizer) -> bool:
    """True if the optimiser can skip a step without the host knowing."""
    return all(group.get("fused") for group in optimizer.param_groups)


def step_unless(is_bad: Bool[Tensor, ""], optimizer: Optimizer) -> None:
    """Take a step unless it is bad, which only the device needs to know.

    Fused optimisers look at this attribute of theirs, which is how
    :class:`torch.amp.GradScaler` leaves out a step.
    """
    vars(optimizer)["found_inf"] = is_bad.float()
    try:
        optimizer.step()
    finally:
        del vars(optimizer)["found_inf"]
