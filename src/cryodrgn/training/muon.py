"""Muon: gradient descent with momentum along orthogonal matrices, for hidden layers.

Jordan et al. 2024, with the length of Adam's steps after Liu et al. 2025. It is that of
:class:`torch.optim.Muon`, and its state is read and written alike, but products are computed
in the precision that is fast on the device. PyTorch's are always in bfloat16, which takes a
processor without units for it about thirty times as long.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from cryodrgn.devices import choose_network_dtype

# Of the Newton–Schulz polynomial a x + b x³ + c x⁵, and its iterations (Jordan et al. 2024).
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
MOMENTUM, LEAST_NORM = 0.95, 1e-7
# Root mean square of a step of Adam's (Liu et al. 2025), at a learning rate of 1.
STEP_OF_ADAM = 0.2


class Muon(Optimizer):
    """Moves matrices along the orthogonal matrices nearest to their momenta.

    Args:
        matrices: What it moves.
        lr: Length of a step, root mean square of its changes in units of ``STEP_OF_ADAM``.
        weight_decay: Share of a matrix, times ``lr``, that is taken from it with every step.
    """

    def __init__(
        self, matrices: Sequence[nn.Parameter], *, lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})
        self._dtype = choose_network_dtype(matrices[0].device)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the matrices that have a gradient by one step."""
        result = None if closure is None else closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
                ahead = matrix.grad.lerp(momentum, MOMENTUM)
                direction = nearly_orthogonal(ahead.to(self._dtype)).to(matrix.dtype)
                length = group["lr"] * STEP_OF_ADAM * max(matrix.shape) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-length)
        return result


def nearly_orthogonal(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """U S Vᵀ of a matrix U D Vᵀ, with singular values S between about 0.5 and 1.5.

    Five iterations of a polynomial that raises small singular values fast and does not
    converge to 1. Singular values below about 10⁻³ of the norm stay smaller.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    found = matrix.T if is_tall else matrix
    found = found / found.norm().clamp_min(LEAST_NORM)
    for _ in range(ITERATIONS):
        gram = found @ found.T
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        found = torch.addmm(found, polynomial, found, beta=a)
    return found.T if is_tall else found
