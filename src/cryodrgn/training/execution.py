"""Execution of the training step: operation by operation, compiled, or as a CUDA graph.

A variant that cannot be had on a machine gives way to the next simpler one, which the log says
in one sentence. What the objective is a function of does not change with it.
"""

import logging

import torch

from cryodrgn.compiled_code import can_compile
from cryodrgn.training.options import Compilation

logger = logging.getLogger(__name__)


def choose_variant(wanted: Compilation, device: torch.device) -> Compilation:
    """The variant in which steps are taken: off, on, graphs or triton.

    Args:
        wanted: What was asked for; ``auto`` is graphs on CUDA and off elsewhere.
        device: Where steps are computed.
    """
    if wanted == "auto":
        wanted = "graphs" if device.type == "cuda" else "off"
    if wanted == "off":
        return "off"
    if not can_compile(wanted, device, "steps are not compiled"):
        return "off"
    if wanted in ("graphs", "triton") and device.type != "cuda":
        logger.warning(
            "`compilation` %s: %s has no CUDA graphs; steps are compiled without",
            wanted,
            device,
        )
        return "on"
    return wanted
