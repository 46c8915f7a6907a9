"""Files of weights and optimiser state."""

import codecs
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

from cryodrgn.errors import InputFileError
from cryodrgn.io.atomic import atomic_path

# cryoDRGN 4.x puts poses into its weight files as numpy arrays.
_NUMPY_GLOBALS: list[Any] = [
    (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
    for name in ("_reconstruct", "scalar")
    for core in ("core", "_core")
]
_NUMPY_GLOBALS += [np.ndarray, np.dtype, codecs.encode]
_NUMPY_GLOBALS += [type(np.dtype(code)) for code in "fdilq?"]


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dictionary of tensors and plain values; the file appears whole or not at all."""
    with atomic_path(path) as partial:
        torch.save(dict(content), partial)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a weight file of this program or of any version of cryoDRGN, onto the processor.

    Only tensors, numpy arrays and plain containers are admitted.

    Raises:
        InputFileError: The file is missing, damaged, or no weight file.
    """
    if not path.is_file():
        msg = f"{path} does not exist"
        raise InputFileError(msg)
    try:
        with torch.serialization.safe_globals(_NUMPY_GLOBALS), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except pickle.UnpicklingError as error:
        msg = f"{path} is no weight file: it holds something other than tensors and arrays"
        raise InputFileError(msg) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0] or "it is cut short"
        msg = f"{path} is no readable weight file: {reason}"
        raise InputFileError(msg) from error
    if not isinstance(content, dict) or "model_state_dict" not in content:
        msg = f"{path} is no weight file (weights.pkl): it holds no model_state_dict"
        raise InputFileError(msg)
    return content
