"""Effective number of images behind the volume of a state."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.linear.regression import Regression


def effective_number(
    regression: Regression, functions: Float[Tensor, "states functions"]
) -> Float[Tensor, " states"]:
    """Number of images whose plain average would be as noisy as the volume of a state.

    N / (ψᵀ M⁻¹ ψ) with ψ = (1, φ(z)) and M = ⟨ψψᵀ⟩ over the images: the inverse leverage of
    the state in the regression.

    Args:
        regression: The regression.
        functions: φ at the states.
    """
    spread = regression.spread
    away = spread.standardised(functions).double()
    inverse = torch.linalg.inv(spread.correlation.double())
    leverage = 1 + (away @ inverse * away).sum(1)
    return (regression.num_images / leverage).float()
