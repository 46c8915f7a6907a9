"""Curves per shell as text."""

from pathlib import Path

import numpy as np

from cryodrgn.fourier.shells import ShellCurve
from cryodrgn.io.atomic import atomic_path


def write_fsc(path: Path, curve: ShellCurve) -> None:
    """Write a Fourier shell correlation as two columns, frequency in cycles/px and value."""
    table = np.stack([curve.frequencies.numpy(), curve.values.numpy()], axis=1)
    with atomic_path(path) as partial:
        np.savetxt(partial, table, fmt="%.6f", header="pixres fsc")
