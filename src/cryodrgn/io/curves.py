"""Curves per shell as text: frequency in cycles/px, then one column per curve."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from cryodrgn.errors import InputFileError
from cryodrgn.fourier.shells import ShellCurve
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.text import read_text


def write_fsc(path: Path, curve: ShellCurve) -> None:
    """Write a Fourier shell correlation as two columns, frequency in cycles/px and value."""
    write_curves(path, {"fsc": curve})


def write_curves(path: Path, curves: Mapping[str, ShellCurve]) -> None:
    """Write curves of the same shells.

    Args:
        path: The file to write.
        curves: The curves by name, which must hold no blanks.
    """
    first = next(iter(curves.values()))
    columns = [first.frequencies, *(curve.values for curve in curves.values())]
    with atomic_path(path) as partial:
        np.savetxt(
            partial,
            np.stack([column.numpy() for column in columns], axis=1),
            fmt="%.6f",
            header=" ".join(["pixres", *curves]),
        )


def read_curves(path: Path) -> dict[str, ShellCurve]:
    """Curves by name, of a file of this program or of any version of cryoDRGN.

    Raises:
        InputFileError: The file cannot be read or holds no such table.
    """
    lines = read_text(path).splitlines()
    words = [line.lstrip("# ").split() for line in lines if line.strip("# \t")]
    names = words.pop(0) if words and not _is_number(words[0][0]) else []
    try:
        table = torch.tensor([[float(word) for word in row] for row in words])
    except ValueError:
        table = torch.zeros(0)
    if table.ndim != 2 or table.shape[1] < 2:
        msg = f"{path} holds no curves: expected rows of a frequency and one value or more"
        raise InputFileError(msg)
    if len(names) != table.shape[1]:
        names = ["pixres", *(f"fsc{number}" for number in range(1, table.shape[1]))]
    frequencies, *columns = table.T.contiguous()
    return {
        name: ShellCurve(frequencies, values)
        for name, values in zip(names[1:], columns, strict=True)
    }


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
