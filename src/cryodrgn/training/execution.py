"""Execution of the training step: operation by operation, compiled, or as a CUDA graph.

A variant that cannot be had on a machine gives way to the next simpler one, which the log says
in one sentence. What the objective is a function of does not change with it.
"""

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cryodrgn.training.options import Compilation

logger = logging.getLogger(__name__)

# The first generation of cards that compiled code runs on, as a compute capability.
COMPILED_CARDS = (7, 0)
# Programs that compile the code of processors, and what starts that of cards.
CPP_COMPILERS, C_COMPILERS = ("g++", "clang++", "c++"), ("gcc", "clang", "cc")
# Shapes for which one function may be compiled: radii, and terms of the loss.
MOST_SHAPES = 64
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


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
    problem = compiler_problem(device)
    if problem is not None:
        logger.warning("`compilation` %s: %s; steps are not compiled", wanted, problem)
        return "off"
    if wanted in ("graphs", "triton") and device.type != "cuda":
        logger.warning(
            "`compilation` %s: %s has no CUDA graphs; steps are compiled without",
            wanted,
            device,
        )
        return "on"
    return wanted


def compiler_problem(device: torch.device) -> str | None:
    """Reason why code cannot be compiled for a device on this machine, as half a sentence."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < COMPILED_CARDS:
            found, least = (".".join(map(str, pair)) for pair in (capability, COMPILED_CARDS))
            return f"{device} has compute capability {found}, and compiled code needs {least}"
        if importlib.util.find_spec("triton") is None:
            return "the package triton, which PyTorch compiles with, is not installed"
        return _missing("CC", C_COMPILERS)
    if device.type == "cpu":
        return _missing("CXX", CPP_COMPILERS)
    return f"code cannot be compiled for {device}"


def _missing(variable: str, programs: tuple[str, ...]) -> str | None:
    named = os.environ.get(variable)
    if any(shutil.which(program) for program in ([named] if named else programs)):
        return None
    return f"this machine has no compiler ({named or ', '.join(programs)})"


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors, compiled when it is first called with some shapes."""
    keep_compiled_code()
    config: Any = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(MOST_SHAPES, getattr(config, name)))
    return torch.compile(function, fullgraph=True, dynamic=False)


def keep_compiled_code(environment: Any = os.environ) -> None:
    """Keep compiled code between runs in the user's cache folder, unless told where.

    Without that it is in a folder of temporary files, which is often gone by the next run.
    """
    if CACHE_VARIABLE in environment:
        return
    caches = environment.get("XDG_CACHE_HOME")
    folder = Path(caches) if caches else Path.home() / ".cache"
    if os.access(folder if folder.exists() else folder.parent, os.W_OK):
        environment[CACHE_VARIABLE] = str(folder / "cryodrgn" / "compiled")


def why_not_compiled(error: Exception) -> str:
    """Error of a compiled step, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
