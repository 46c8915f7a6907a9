"""Operations that a card refuses while sums must have the same order in every run."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

aten = torch.ops.aten
# What a card refuses when sums must have one order; bincount only of weights, sums along an
# axis only of fractions.
WITHOUT_ORDER = {
    aten.bincount,
    aten.cumsum,
    aten.grid_sampler_2d_backward,
    aten.histc,
    aten.kthvalue,
    aten.median,
    aten.put_,
}


def require_order(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse what a card refuses when sums must have one order, in its words."""
    packet = func.overloadpacket
    if not torch.are_deterministic_algorithms_enabled() or packet not in WITHOUT_ORDER:
        return
    weights = args[1] if len(args) > 1 else kwargs.get("weights")
    if packet is aten.bincount and weights is None:
        return
    if packet is aten.cumsum and not args[0].is_floating_point():
        return
    if packet is aten.median and len(args) < 2:
        return
    msg = (
        f"{packet} does not have a deterministic implementation, but you set "
        "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for "
        "this operation."
    )
    raise RuntimeError(msg)
