"""Protection of the weights against batches with non-finite or diverging losses."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cryodrgn.devices import may_wait
from cryodrgn.errors import NumericalError
from cryodrgn.imaging.likelihood import Losses

logger = logging.getLogger(__name__)

TOLERATED_IN_A_ROW = 3
NAMED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """Losses and gradient norm of a step, on the host.

    Attributes:
        reconstruction: Mean squared error per compared value.
        kl: Kullback–Leibler divergence of the latent posterior from the prior.
        total: What is minimised.
        gradient_norm: Length of the gradient of all weights.
    """

    reconstruction: float
    kl: float
    total: float
    gradient_norm: float


def judged(
    losses: Losses, parameters: Sequence[nn.Parameter]
) -> tuple[Float[Tensor, " 4"], Bool[Tensor, ""]]:
    """Losses and gradient norm of a step, and whether one is not finite; on the device."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    norm = norm.to(losses.total.device)
    values = torch.stack([losses.reconstruction, losses.kl, losses.total, norm]).detach()
    return values, ~torch.isfinite(values[2:]).all()


@dataclass(frozen=True, slots=True, eq=False)
class PendingStep:
    """Losses and gradient norm of a step, on the device; the host need not wait for them.

    Attributes:
        rows: The particles of the batch.
        is_bad: Whether loss or gradient is not finite, on the device.
    """

    rows: Int[Tensor, " batch"]
    is_bad: Bool[Tensor, ""]
    _values: Float[Tensor, " 4"]
    _arrived: torch.cuda.Event | None

    @classmethod
    def of(
        cls, rows: Int[Tensor, " batch"], losses: Losses, parameters: Sequence[nn.Parameter]
    ) -> "PendingStep":
        """Begin to send what a step led to.

        Args:
            rows: The particles of its batch.
            losses: Their losses.
            parameters: The weights, with their gradients.
        """
        return cls.sent(rows, *judged(losses, parameters))

    @classmethod
    def sent(
        cls, rows: Int[Tensor, " batch"], values: Float[Tensor, " 4"], is_bad: Bool[Tensor, ""]
    ) -> "PendingStep":
        """Begin to send what :func:`judged` returned."""
        if values.device.type != "cuda":
            return cls(rows, is_bad, values, None)
        host = torch.empty(len(values), pin_memory=True).copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(values.device))
        return cls(rows, is_bad, host, arrived)

    def report(self) -> StepReport:
        """Losses and gradient norm of the step; waits for them to arrive."""
        with may_wait("losses of an earlier step go into the log, and bad steps are counted"):
            if self._arrived is not None:
                self._arrived.synchronize()
            reconstruction, kl, total, norm = self._values.tolist()
        return StepReport(reconstruction=reconstruction, kl=kl, total=total, gradient_norm=norm)


class NonFiniteGuard:
    """Tells good steps from bad ones, and what to do about the bad ones.

    A batch whose loss or gradient is not finite is skipped. Three in a row call for a return
    to the last good state with half the learning rate, which is done once; after three more the
    run stops.

    Args:
        names: What each particle is called in messages: its row in the original file.
    """

    def __init__(self, names: Sequence[int]) -> None:
        self._names = names
        self.skipped = 0
        self._in_a_row = 0
        self._has_returned = False

    def accepts(self, report: StepReport, rows: Int[Tensor, " batch"]) -> bool:
        """True if a step is good; a bad batch is counted and its particles are named."""
        if math.isfinite(report.total) and math.isfinite(report.gradient_norm):
            self._in_a_row = 0
            return True
        self.skipped += 1
        self._in_a_row += 1
        particles = ", ".join(str(self._names[row]) for row in rows.tolist()[:NAMED])
        logger.warning(
            "skipped a batch with loss %g and gradient norm %g; its particles are %s",
            report.total,
            report.gradient_norm,
            particles,
        )
        return False

    def must_return(self) -> bool:
        """True if training must go back to the last good state now.

        Raises:
            NumericalError: That has been done before and has not helped.
        """
        if self._in_a_row < TOLERATED_IN_A_ROW:
            return False
        if self._has_returned:
            msg = (
                f"training diverges: {TOLERATED_IN_A_ROW} batches in a row were not finite, "
                "also after a return to the last good state at half the learning rate; leave "
                "out the particles named above with `indices`, or try a lower "
                "`learning_rate` or `precision=float32`"
            )
            raise NumericalError(msg)
        self._in_a_row, self._has_returned = 0, True
        return True

    def state_dict(self) -> dict[str, Any]:
        """State that exact resuming needs."""
        return {
            "skipped": self.skipped,
            "in_a_row": self._in_a_row,
            "has_returned": self._has_returned,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a remembered state."""
        self.skipped = state["skipped"]
        self._in_a_row = state["in_a_row"]
        self._has_returned = state["has_returned"]
