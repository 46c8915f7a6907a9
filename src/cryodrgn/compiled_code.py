"""Functions of tensors that are compiled, where that is possible, and kept between runs."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, TypeVarTuple

import torch

from cryodrgn.errors import CryodrgnError

logger = logging.getLogger(__name__)

Tensors = TypeVarTuple("Tensors")
Result = TypeVar("Result")
# The first generation of cards that compiled code runs on, as a compute capability.
COMPILED_CARDS = (7, 0)
# Programs that compile the code of processors, and what starts that of cards.
CPP_COMPILERS, C_COMPILERS = ("g++", "clang++", "c++"), ("gcc", "clang", "cc")
# Shapes for which one function may be compiled: radii, and terms of the loss.
MOST_SHAPES = 64
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class CompiledFunction(Generic[*Tensors, Result]):
    """A function of tensors that is compiled, or called as it is where compiling fails.

    Args:
        function: The function.
        name: Its name in the sentence in which the log says that it is not compiled.
    """

    def __init__(self, function: Callable[[*Tensors], Result], name: str) -> None:
        self._plain, self._name = function, name
        self._fast: Callable[[*Tensors], Result] | None = compiled(function)

    def __call__(self, *args: *Tensors) -> Result:
        """The result of the function."""
        if self._fast is not None:
            try:
                return self._fast(*args)
            except (torch.OutOfMemoryError, CryodrgnError):
                raise
            except Exception as error:  # noqa: BLE001 (compilers raise anything)
                self._fast = None
                logger.warning("%s not compiled: %s", self._name, why_not_compiled(error))
        return self._plain(*args)


def can_compile(wanted: str, device: torch.device, instead: str) -> bool:
    """True if code can be compiled for a device; otherwise the log says why it cannot.

    Args:
        wanted: What was asked for.
        device: Where the code is to run.
        instead: What is done without.
    """
    problem = compiler_problem(device)
    if problem is not None:
        logger.warning("`compilation` %s: %s; %s", wanted, problem, instead)
    return problem is None


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
