"""What happens when a batch makes the numbers run away."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.errors import NumericalError

logger = logging.getLogger(__name__)

TOLERATED_IN_A_ROW = 3
NAMED = 20


class Guard:
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

    def accepts(
        self, loss: Float[Tensor, ""], parameters: Sequence[nn.Parameter], rows: Tensor
    ) -> bool:
        """Whether a step may be taken; a bad batch is counted and its particles are named."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if torch.isfinite(loss) and norm < float("inf"):
            self._in_a_row = 0
            return True
        self.skipped += 1
        self._in_a_row += 1
        particles = ", ".join(str(self._names[row]) for row in rows.tolist()[:NAMED])
        logger.warning(
            "skipped a batch with loss %g and gradient norm %g; its particles are %s",
            float(loss),
            norm,
            particles,
        )
        return False

    def must_return(self) -> bool:
        """Whether to go back to the last good state now.

        Raises:
            NumericalError: That has been done before and has not helped.
        """
        if self._in_a_row < TOLERATED_IN_A_ROW:
            return False
        if self._has_returned:
            msg = (
                f"training diverges: {TOLERATED_IN_A_ROW} batches in a row were not finite, "
                "also after a return to the last good state at half the learning rate; leave "
                "out the particles named above with --ind, or try a lower --lr or --no-amp"
            )
            raise NumericalError(msg)
        self._in_a_row, self._has_returned = 0, True
        return True

    def state_dict(self) -> dict[str, Any]:
        """What must be remembered to go on exactly."""
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
