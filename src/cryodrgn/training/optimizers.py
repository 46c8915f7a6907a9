"""Adam, computed in one pass over the weights, and able to leave out a step unseen.

:class:`TunedAdam` is Adam with what makes networks learn faster: Muon for matrices, a rate
that rises and decays, weights averaged along the way.
"""

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.training.muon import Muon

logger = logging.getLogger(__name__)

RateSchedule = Literal["constant", "linear", "cosine"]
# What the state of an optimiser holds beside Adam's.
BESIDE_ADAM = "beside_adam"

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
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    device: torch.device,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> Adam:
    """The optimiser of the networks (Kingma & Ba 2015).

    Args:
        parameters: What it moves, or groups of that with settings of their own.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """Departures from plain Adam at a constant rate.

    Attributes:
        muon: Whether Muon moves the matrices of layers.
        schedule: Course of the learning rate after its rise.
        warm_up: Epochs in which the rate rises linearly from 0.
        averaging: Share of the steps so far over which weights are averaged; 0 for none.
        scales_inputs: Whether :meth:`TunedAdam.scale_changes` is called.
    """

    muon: bool = False
    schedule: RateSchedule = "constant"
    warm_up: float = 0.0
    averaging: float = 0.0
    scales_inputs: bool = False

    def require_within(self, num_epochs: int) -> None:
        """Refuse a rise of the rate that a run does not reach the end of.

        Args:
            num_epochs: Epochs of the run.

        Raises:
            ConfigError: It is longer than the run.
        """
        if self.warm_up > num_epochs:
            msg = (
                f"`rate_warm_up` {self.warm_up:g} must be at most the "
                f"{counted(num_epochs, 'epoch')} of the run (`num_epochs`), or its "
                "learning rate never "
                "reaches `learning_rate`"
            )
            raise ConfigError(msg)

    @property
    def has_course(self) -> bool:
        """True if the learning rate changes from step to step."""
        return self.schedule != "constant" or self.warm_up > 0

    def rate_at(self, step: int, num_steps: int, steps_per_epoch: float) -> float:
        """Learning rate of a step, as a share of the highest.

        Args:
            step: Steps taken before.
            num_steps: Steps of the whole run.
            steps_per_epoch: Of an epoch.
        """
        rising = self.warm_up * steps_per_epoch
        rise = min(1.0, (step + 1) / rising) if rising > 0 else 1.0
        # The last step still moves the weights.
        left = 1 - min(step, num_steps - 1) / max(num_steps, 1)
        fall = {"constant": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}
        return rise * fall[self.schedule]


class TunedAdam(Adam):
    """Adam for some weights and Muon for others, at a rate that changes, with averages.

    Muon (Jordan et al. 2024) takes steps along the orthogonal matrix nearest to the momentum,
    scaled to the length of Adam's (Liu et al. 2025), so that one rate suits both. The average
    of the weights over a constant share of all steps is that of Karras et al. (2024).

    Args:
        groups: What it moves, in groups that may have settings of their own.
        hidden: Those of them that Muon moves.
        tuning: How.
        num_steps: Steps of the whole run.
        num_epochs: Its epochs.
        lr: Learning rate of Adam.
        weight_decay: Of Adam.
        fused: Whether Adam is one operation of the device; None where that is not known.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        hidden: Sequence[nn.Parameter],
        tuning: Tuning,
        *,
        num_steps: int,
        num_epochs: int,
        lr: float,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=fused)
        self._tuning, self._steps = tuning, 0
        self._num_steps, self._per_epoch = num_steps, num_steps / num_epochs
        self._moved: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        self._average: list[Tensor] = []
        self._factors: list[tuple[nn.Parameter, Tensor]] = []
        self._hidden = list(hidden)
        self._muon: Muon | None = None
        if self._hidden:
            self._muon = Muon(self._hidden, lr=lr, weight_decay=weight_decay)
        self._remember_rates()

    def scale_changes(
        self, parameter: nn.Parameter, factors: Float[Tensor, " columns"]
    ) -> None:
        """Multiply every change of some weights with factors."""
        self._factors.append((parameter, factors))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the parameters by one step."""
        self._set_rate()
        with torch.no_grad():
            before = [parameter.clone() for parameter, _ in self._factors]
            gradients = [parameter.grad for parameter in self._hidden]
            for parameter in self._hidden:
                parameter.grad = None
            result = super().step(closure)
            for parameter, gradient in zip(self._hidden, gradients, strict=True):
                parameter.grad = gradient
            if self._muon is not None:
                self._muon.step()
            for (parameter, factors), old in zip(self._factors, before, strict=True):
                parameter.copy_(torch.lerp(old, parameter, factors))
            if self._tuning.averaging:
                self._take_into_average()
        self._steps += 1
        return result

    @contextmanager
    def averaged(self) -> Iterator[bool]:
        """Have the averages in the place of the weights; tells whether there are any."""
        self._exchange()
        try:
            yield bool(self._average)
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """Adam's state of all weights, and what there is beside it."""
        more = {
            "steps": self._steps,
            "muon": None if self._muon is None else self._muon.state_dict(),
            "average": self._average,
            "factors": [factors for _, factors in self._factors],
        }
        return super().state_dict() | {BESIDE_ADAM: more}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what :meth:`state_dict` returned, or with Adam's state alone."""
        super().load_state_dict(state_dict)
        self._remember_rates()
        more = state_dict.get(BESIDE_ADAM)
        if more is None:
            return
        self._steps = more["steps"]
        if self._muon is not None and more["muon"] is not None:
            self._muon.load_state_dict(more["muon"])
        pairs = zip(more["average"], self._moved, strict=False)
        self._average = [average.to(parameter).clone() for average, parameter in pairs]
        for (_, factors), remembered in zip(self._factors, more["factors"], strict=False):
            factors.copy_(remembered)

    def _remember_rates(self) -> None:
        """The highest rate stands beside that of the step, where they differ."""
        if self._tuning.has_course:
            for group in self.param_groups:
                group.setdefault(HIGHEST, group["lr"])

    def _set_rate(self) -> None:
        if self._tuning.has_course:
            share = self._tuning.rate_at(self._steps, self._num_steps, self._per_epoch)
            for group in self.param_groups:
                group["lr"] = share * group[HIGHEST]
        if self._muon is not None:
            for group in self._muon.param_groups:
                group["lr"] = self.param_groups[0]["lr"]

    def _take_into_average(self) -> None:
        if not self._average:
            self._average = [parameter.detach().clone() for parameter in self._moved]
        share = 1 / (1 + self._tuning.averaging * self._steps)
        for average, parameter in zip(self._average, self._moved, strict=True):
            average.lerp_(parameter, share)

    def _exchange(self) -> None:
        pairs = enumerate(zip(self._average, self._moved, strict=False))
        for number, (average, parameter) in pairs:
            self._average[number], parameter.data = parameter.data, average


# Name, in a group of parameters, of the rate that others are shares of.
HIGHEST = "highest_lr"


def tuned_adam(
    model: nn.Module,
    hidden: Sequence[nn.Parameter],
    device: torch.device,
    tuning: Tuning,
    *,
    learning_rate: float,
    weight_decay: float,
    num_steps: int,
    num_epochs: int,
) -> Adam:
    """The optimiser of a model: plain Adam, unless it is tuned.

    Args:
        model: The model.
        hidden: Matrices of its hidden layers.
        device: Where it is.
        tuning: Departures from plain Adam.
        learning_rate: Length of a step, the highest where it changes.
        weight_decay: Share of the weights that is added to their gradients; with Muon, of the
            step that is taken from weights.
        num_steps: Steps of the whole run.
        num_epochs: Its epochs.
    """
    groups = _groups_of(model)
    rates = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    if tuning == Tuning():
        return adam(groups, device, **rates)
    moved_by_muon: list[nn.Parameter] = []
    if tuning.muon:
        moved_by_muon = [parameter for parameter in hidden if parameter.requires_grad]
        logger.info("Muon moves %d matrices of layers, Adam all else", len(moved_by_muon))
    return TunedAdam(
        groups,
        moved_by_muon,
        tuning,
        num_steps=num_steps,
        num_epochs=num_epochs,
        lr=learning_rate,
        weight_decay=weight_decay,
        fused=True if device.type in FUSED_ON else None,
    )


# Added to the root mean square of gradients as small as those of single points of a volume.
LEAST_GRADIENT = 1e-15


def _groups_of(model: nn.Module) -> list[dict[str, Any]]:
    """The weights of a model, those of modules with tiny gradients in a group of their own."""
    tiny = {
        id(parameter)
        for module in model.modules()
        if getattr(module, "has_tiny_gradients", False)
        for parameter in module.parameters()
    }
    usual = [parameter for parameter in model.parameters() if id(parameter) not in tiny]
    small = [parameter for parameter in model.parameters() if id(parameter) in tiny]
    groups: list[dict[str, Any]] = [{"params": usual}]
    return [*groups, {"params": small, "eps": LEAST_GRADIENT}] if small else groups


@contextmanager
def averaged(optimizer: Optimizer) -> Iterator[bool]:
    """Have averaged weights in the model, if the optimiser keeps any; tells whether it does."""
    if not isinstance(optimizer, TunedAdam):
        yield False
        return
    with optimizer.averaged() as is_averaged:
        yield is_averaged


def divide_rates(optimizer: Optimizer, divisor: int) -> None:
    """Take shorter steps from now on."""
    for group in optimizer.param_groups:
        for name in {"lr", HIGHEST} & group.keys():
            group[name] /= divisor


def take_over(optimizer: Optimizer, moments: Mapping[str, Any], *, is_same_run: bool) -> None:
    """Go on with the moments of a weight file.

    Args:
        optimizer: The optimiser.
        moments: Its state in the file.
        is_same_run: Whether the run itself goes on, with its rates and averages.

    Raises:
        ValueError: They are of another model.
    """
    own = optimizer.param_groups[0]
    settings = {"lr": own.get(HIGHEST, own["lr"]), "weight_decay": own["weight_decay"]}
    for group in moments["param_groups"]:
        # How steps are computed is a matter of this device, not of the one before.
        group["fused"] = own["fused"]
        if not is_same_run:
            group.pop(HIGHEST, None)
            group.update(settings)
    kept = dict(moments)
    if not is_same_run:
        kept.pop(BESIDE_ADAM, None)
    optimizer.load_state_dict(kept)


def skips_on_device(optimizer: Optimizer) -> bool:
    """True if the optimiser can skip a step without the host knowing."""
    is_plain = not isinstance(optimizer, TunedAdam)
    return is_plain and all(group.get("fused") for group in optimizer.param_groups)


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
