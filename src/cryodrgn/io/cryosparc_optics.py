"""Aberrations and attenuation of images in cryoSPARC's particle files.

Lengths in Å describe the phases of the image's transform, with the wavelength λ, the spatial
frequency k in 1/Å and its angle α from the x axis towards y:

- odd: φ = −2π [s·k + λ² k² t·k + λ² k³ (f₁ cos 3α + f₂ sin 3α) / 3], with the shift s
  (``ctf/shift_A``), the beam tilt t (``ctf/tilt_A``, Cs times the angle) and the trefoil f
  (``ctf/trefoil_A``);
- even: 2π λ³ k⁴ [q₁ cos 2α + q₂ sin 2α + (q₃ cos 4α + q₄ sin 4α) / 4], with the four numbers
  q of ``ctf/tetra_A``, added to the phase of the CTF.

cryoSPARC documents that these are its terms of third and fourth order in Å ("Understanding
values of beamtilt", discuss.cryosparc.com/t/17411), not their signs, which follow RELION's
through the beam tilt that both programs exchange; ``check`` tests them on the images.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import MetadataError
from cryodrgn.units import electron_wavelengths

SHIFT, TILT, TREFOIL, TETRAFOIL = "ctf/shift_A", "ctf/tilt_A", "ctf/trefoil_A", "ctf/tetra_A"
B_FACTOR, SCALE = "ctf/bfactor", "ctf/scale"
# Places of the polynomials in the order of RELION's coefficients.
ODD_PLACES = {(1, -1): 0, (1, 1): 1, (3, -3): 2, (3, -1): 3, (3, 1): 4, (3, 3): 5}
EVEN_PLACES = {(2, -2): 1, (2, 2): 3, (4, -4): 4, (4, -2): 5, (4, 2): 7, (4, 4): 8}


def aberrations(
    vectors: Callable[[str, int], Float[np.ndarray, "particles count"] | None],
    voltages_kv: Float[np.ndarray, " particles"],
) -> dict[str, np.ndarray]:
    """Aberrations as columns of a table of the CTF; nothing where there are none.

    Args:
        vectors: A column of vectors of a width, None where the file has none.
        voltages_kv: Of every particle.
    """
    wavelengths = electron_wavelengths(voltages_kv.astype(np.float64))
    count = len(wavelengths)
    odd, even = np.zeros((count, 6)), np.zeros((count, 9))
    shift, tilt, trefoil, tetra = (
        vectors(name, width)
        for name, width in {SHIFT: 2, TILT: 2, TREFOIL: 2, TETRAFOIL: 4}.items()
    )
    # k³ cos α = (Z₃₁ + 2 Z₁₁) / 3, and k⁴ cos 2α = (Z₄₂ + 3 Z₂₂) / 4.
    if shift is not None:
        _add(odd, ODD_PLACES, 1, 1, -2 * np.pi * shift)
    if tilt is not None:
        turned = -2 * np.pi * wavelengths[:, None] ** 2 * tilt
        _add(odd, ODD_PLACES, 1, 1, turned * 2 / 3)
        _add(odd, ODD_PLACES, 3, 1, turned / 3)
    if trefoil is not None:
        _add(odd, ODD_PLACES, 3, 3, -2 * np.pi / 3 * wavelengths[:, None] ** 2 * trefoil)
    if tetra is not None:
        turned = 2 * np.pi * wavelengths[:, None] ** 3 * tetra
        _add(even, EVEN_PLACES, 2, 2, turned[:, :2] * 3 / 4)
        _add(even, EVEN_PLACES, 4, 2, turned[:, :2] / 4)
        _add(even, EVEN_PLACES, 4, 4, turned[:, 2:] / 4)
    found = {"odd_zernike": odd, "even_zernike": even}
    return {name: values.astype(np.float32) for name, values in found.items() if values.any()}


def _add(
    coefficients: Float[np.ndarray, "particles count"],
    places: dict[tuple[int, int], int],
    degree: int,
    order: int,
    vectors: Float[np.ndarray, "particles 2"],
) -> None:
    """Add vectors (cosine, sine) to the coefficients of a degree and order."""
    coefficients[:, places[degree, order]] += vectors[:, 0]
    coefficients[:, places[degree, -order]] += vectors[:, 1]


def attenuation(
    numbers: Callable[[str], Float[np.ndarray, " particles"] | None], path: Path
) -> dict[str, Float[np.ndarray, " particles"]]:
    """B factors and scales as columns of a table of images; nothing where there are none.

    A column of zeros is one that no job has filled.

    Args:
        numbers: A column, None where the file has none.
        path: The file, for messages.

    Raises:
        MetadataError: A B factor or a scale is negative.
    """
    found = {}
    for field, (name, neutral) in {
        "b_factors": (B_FACTOR, 0.0),
        "weights": (SCALE, 1.0),
    }.items():
        values = numbers(name)
        if values is None or not values.any() or (values == neutral).all():
            continue
        if (values < 0).any():
            row = int(np.flatnonzero(values < 0)[0])
            msg = f"{path}: {name} of row {row} is {values[row]:g}, expected 0 or more"
            raise MetadataError(msg)
        found[field] = values.astype(np.float32)
    return found
