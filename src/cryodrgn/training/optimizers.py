"""Adam, computed in one pass over the weights, and able to leave out a step unseen."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.optim import Optimizer

# Devices on which that is so in all versions of PyTorch that are supported.
FUSED_ON = ("cpu", "cuda")


class Adam(torch.optim.Adam):
    """PyTorch's Adam without PyTorch's compiler.

    Its methods are wrapped so that they load the compiler (1.7 s of a processor) only to tell
    it not to compile them. The same methods are called here without the wrapping.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Have more parameters moved."""
        _plain(torch.optim.Adam.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: FBT001, FBT002
        """Forget gradients."""
        _plain(torch.optim.Adam.zero_grad)(self, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Moments and settings, as they are saved."""
        return _plain(torch.optim.Adam.state_dict)(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what :meth:`state_dict` returned."""
        _plain(torch.optim.Adam.load_state_dict)(self, state_dict)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the parameters by one step."""
        with torch.no_grad():
            return _plain(torch.optim.Adam.step)(self, closure)


def _plain(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of an optimiser without what decorators put around it."""
    return inspect.unwrap(method)


def adam(
    parameters: Iterable[nn.Parameter],
    device: torch.device,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> Adam:
    """The optimiser of the networks (Kingma & Ba 2015).

    Args:
        parameters: What it moves.
        device: Where they are.
        learning_rate: Length of a step.
        weight_decay: Share of the weights that is added to their gradients.
    """
    return Adam(
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
