"""Files of weights and optimiser state."""

import copy
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from cryodrgn.errors import InputFileError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.cryodrgn_pickle import load_pickles
from cryodrgn.io.plain_pickle import STAND_INS, ArrayParts, DtypeParts, finished
from cryodrgn.io.text import require_file

# cryoDRGN 4.x puts poses into its weight files as numpy arrays.
_STAND_INS: list[Any] = [
    (function, f"{module}.{name}") for (module, name), function in STAND_INS.items()
]
# Objects that a file holds by these classes are built by them, not by numpy.
_STAND_INS += [DtypeParts, ArrayParts]

# Class that torch, or the reader of pickles, names when it refuses to build an object of it.
_REFUSED = re.compile(r"(?:GLOBAL|asks for) ([\w.]+)")


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dictionary of tensors and plain values; the file appears whole or not at all.

    Tensors are written as those of the host: a file that names a device cannot be read by other
    programs on machines without it.
    """
    if any(tensor.device.type != "cpu" for tensor in _tensors(content)):
        content = on_host(content)
    with atomic_path(path) as partial, partial.open("wb") as file:
        recorder = _Recorder(file)
        try:
            torch.save(dict(content), recorder)  # type: ignore[arg-type]
        except RuntimeError:
            if recorder.error is None:
                raise
            # torch has errors of its own in place of the system's.
            raise recorder.error from None


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested containers."""
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, Mapping | list | tuple):
        for value in content.values() if isinstance(content, Mapping) else content:
            yield from _tensors(value)


def on_host(content: Any) -> Any:
    """A copy of nested containers with their tensors on the host, of the same classes."""
    if isinstance(content, torch.Tensor):
        return content.clone() if content.device.type == "cpu" else content.cpu()
    if isinstance(content, dict):
        # With its attributes: state_dict keeps the versions of modules in one.
        copied = copy.copy(content)
        copied.update((name, on_host(value)) for name, value in content.items())
        return copied
    if isinstance(content, list | tuple):
        return type(content)(on_host(value) for value in content)
    return content


class _Recorder:
    """A file that remembers why it could not be written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a weight file of this program or of any version of cryoDRGN, onto the processor.

    Only tensors, numpy arrays and plain containers are admitted.

    Raises:
        InputFileError: The file is missing, damaged, or no weight file.
    """
    require_file(path, may_be_zip=True)
    try:
        _refuse_compressed(path)
        with torch.serialization.safe_globals(_STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
        content = finished(content)
        _require_bytes(content, path.stat().st_size)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise InputFileError(msg) from error
    except pickle.UnpicklingError as error:
        msg = (
            f"{path} is no weight file: {_content(path, error)}; give the weights.pkl of a run"
        )
        raise InputFileError(msg) from error
    except Exception as error:
        # A damaged file makes torch raise nearly anything.
        reason = str(error).partition("\n")[0] or "it is cut short"
        msg = f"{path} is no readable weight file: {reason}"
        raise InputFileError(msg) from error
    if not isinstance(content, dict) or "model_state_dict" not in content:
        msg = f"{path} is no weight file (weights.pkl): it holds no model_state_dict"
        raise InputFileError(msg)
    return content


def _content(path: Path, error: pickle.UnpicklingError) -> str:
    """Content of a file that is not read as weights, in words."""
    try:
        objects = load_pickles(path)
    except InputFileError as other:
        named = _REFUSED.search(f"{error} {other}")
        if named is None:
            return "what it holds is damaged, or another program's"
        return (
            f"it holds an object of the class {named[1]}, and weights are only tensors, arrays "
            "and plain values"
        )
    # Poses are a tuple of two.
    parts = [
        part for one in objects for part in (one if isinstance(one, list | tuple) else [one])
    ]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if not arrays:
        return "it is a pickle without weights"
    shapes = " and ".join(str(array.shape) for array in arrays[:2])
    return f"it holds arrays of shape {shapes}, as latents, poses and CTF parameters have"


def _refuse_compressed(path: Path) -> None:
    """Weight files are archives without compression; another could unpack to any size."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                msg = "it is compressed"
                raise ValueError(msg)


def _require_bytes(content: Any, size: int) -> None:
    """Refuse tensors that claim more numbers than the file holds."""
    if isinstance(content, torch.Tensor):
        if content.numel() * content.element_size() > size:
            msg = f"a tensor of shape {tuple(content.shape)} is larger than the file"
            raise ValueError(msg)
    elif isinstance(content, Mapping):
        for value in content.values():
            _require_bytes(value, size)
    elif isinstance(content, list | tuple):
        for value in content:
            _require_bytes(value, size)
