"""Numbers that belong to single particles and are learnt along with the network."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class RowTable:
    """A table of one row per particle with Adam's state for every row.

    Only rows that a batch looked up move, each with moments and a count of its own: a particle
    seen once per epoch is not carried on by momentum in between (Kingma & Ba 2015, per row).

    Args:
        values: The rows to begin with.
        learning_rate: Of Adam.
        device: Where the table is kept.
    """

    def __init__(
        self, values: Float[Tensor, "particles dim"], learning_rate: float, device: torch.device
    ) -> None:
        self.values = values.clone().to(device)
        self._learning_rate = learning_rate
        self._first = torch.zeros_like(self.values)
        self._second = torch.zeros_like(self.values)
        self._steps = torch.zeros(len(values), 1, device=device)
        self._pending: list[tuple[Tensor, Tensor]] = []

    def rows(self, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """Some rows. Where gradients are taken, they are remembered for the next step."""
        values = self.values[rows]
        if torch.is_grad_enabled():
            values.requires_grad_()
            self._pending.append((rows, values))
        return values

    def step(self) -> None:
        """Move the rows looked up since the last step against their gradients."""
        for rows, leaf in self._take():
            if leaf.grad is None:
                continue
            steps = self._steps[rows] + 1
            first = BETA1 * self._first[rows] + (1 - BETA1) * leaf.grad
            second = BETA2 * self._second[rows] + (1 - BETA2) * leaf.grad.square()
            mean = first / (1 - BETA1**steps)
            spread = (second / (1 - BETA2**steps)).sqrt() + EPSILON
            self.values[rows] -= self._learning_rate * mean / spread
            self._first[rows], self._second[rows], self._steps[rows] = first, second, steps

    def discard(self) -> None:
        """Forget the rows looked up since the last step."""
        self._take()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that must be remembered to go on exactly."""
        return {
            "values": self.values.cpu(),
            "first": self._first.cpu(),
            "second": self._second.cpu(),
            "steps": self._steps.cpu(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a remembered state."""
        for name, own in (
            ("values", self.values),
            ("first", self._first),
            ("second", self._second),
            ("steps", self._steps),
        ):
            own.copy_(state[name])

    def _take(self) -> list[tuple[Tensor, Tensor]]:
        pending, self._pending = self._pending, []
        return pending
