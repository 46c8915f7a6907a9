"""Contrast transfer function of the microscope."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.devices import to_device
from cryodrgn.imaging.aberrations import zernike_phases
from cryodrgn.units import ANGSTROM_PER_MM, electron_wavelengths

# Images that were multiplied by their CTF are divided by its magnitude, but by no less than
# this: beyond, what the window mixes into a value from its neighbours would rule it.
LEAST_DIVISOR = 0.1
# States of images, by the numbers of cryodrgn.particles.optics.CORRECTIONS.
FLIPPED, MULTIPLIED = 1, 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CtfParameters:
    """Parameters of the CTF of a batch of images.

    Attributes:
        defocus_u: Larger-axis defocus in Å, positive is underfocus.
        defocus_v: Defocus across it in Å.
        defocus_angle: Direction of ``defocus_u`` from the x axis towards y, in radians.
        voltage_kv: Accelerating voltage in kV.
        spherical_aberration_mm: Cs in mm.
        amplitude_contrast: Fraction in [0, 1).
        phase_shift: Phase shift of a phase plate, in radians.
        even_zernike: Coefficients of symmetric aberrations in radians, see
            :func:`~cryodrgn.imaging.aberrations.zernike_phases`; None adds none.
        correction: State of the images as they are prepared: 0, as recorded; 1, phases flipped;
            2, multiplied by the CTF and divided again by its magnitude (:func:`whitening`).
            None means 0.
    """

    defocus_u: Float[Tensor, " batch"]
    defocus_v: Float[Tensor, " batch"]
    defocus_angle: Float[Tensor, " batch"]
    voltage_kv: Float[Tensor, " batch"]
    spherical_aberration_mm: Float[Tensor, " batch"]
    amplitude_contrast: Float[Tensor, " batch"]
    phase_shift: Float[Tensor, " batch"]
    even_zernike: Float[Tensor, "batch even"] | None = None
    correction: Int[Tensor, " batch"] | None = None

    def __getitem__(self, rows: Tensor | slice) -> "CtfParameters":
        """The parameters of some of the images."""
        return CtfParameters(**{name: value[rows] for name, value in self.items()})

    def to(self, device: torch.device) -> "CtfParameters":
        """These parameters on another device."""
        return CtfParameters(**{name: to_device(value, device) for name, value in self.items()})

    def items(self) -> list[tuple[str, Tensor]]:
        """The parameters by name, in the order of the attributes, those that are there."""
        found = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in found if value is not None]


def contrast_transfer(
    frequencies: Float[Tensor, "#batch points 2"], parameters: CtfParameters
) -> Float[Tensor, "batch points"]:
    """Contrast transfer function at spatial frequencies, of images as they are prepared.

    CTF = sqrt(1 − w²) sin γ − w cos γ, so that it is −w at the origin: a volume of positive
    density predicts dark particles. That stays so where phases are flipped, since programs
    flip them by a CTF that is positive at low frequencies: it is then −|CTF|. Of images that
    were multiplied by the CTF it is −CTF² / max(|CTF|, 0.1), see :func:`whitening`.

    Args:
        frequencies: (kx, ky) in 1/Å; x runs along the columns of the image, y along its rows.
        parameters: One set of parameters per image.
    """
    ctf = recorded_transfer(frequencies, parameters)
    if parameters.correction is None:
        return ctf
    state = parameters.correction[:, None]
    flipped = torch.where(state == FLIPPED, -ctf.abs(), ctf)
    return torch.where(state == MULTIPLIED, -ctf.square() * whitening(ctf), flipped)


def whitening(ctf: Float[Tensor, "batch points"]) -> Float[Tensor, "batch points"]:
    """Factor 1 / max(|CTF|, 0.1) for transforms of images that were multiplied by the CTF.

    Their noise, which the CTF has shaped, is white after that, and signal and noise are those
    of phase-flipped images.
    """
    return ctf.abs().clamp_min(LEAST_DIVISOR).reciprocal()


def recorded_transfer(
    frequencies: Float[Tensor, "#batch points 2"], parameters: CtfParameters
) -> Float[Tensor, "batch points"]:
    """Contrast transfer function of images as the microscope records them.

    Arguments are those of :func:`contrast_transfer`.
    """
    return torch.sin(contrast_phase(frequencies, parameters))


def preparation_factors(
    ctf: Float[Tensor, "batch points"], parameters: CtfParameters
) -> Float[Tensor, "batch points"] | None:
    """Factors between images as they are recorded and as they are prepared.

    −sign CTF where phases were flipped, −CTF / max(|CTF|, 0.1) where images were multiplied by
    the CTF; None where all are as recorded.

    Args:
        ctf: What :func:`recorded_transfer` returned.
        parameters: One set of parameters per image.
    """
    if parameters.correction is None:
        return None
    state = parameters.correction[:, None]
    flipped = torch.where(state == FLIPPED, -ctf.sign(), torch.ones_like(ctf))
    return torch.where(state == MULTIPLIED, -ctf * whitening(ctf), flipped)


def contrast_phase(
    frequencies: Float[Tensor, "#batch points 2"], parameters: CtfParameters
) -> Float[Tensor, "batch points"]:
    """The phase χ = γ − asin w whose sine is the CTF of recorded images, in radians.

    γ(k) = 2π (−½ Δz λ k² + ¼ Cs λ³ k⁴) − φ (Rohou & Grigorieff 2015, eq. 1, opposite sign),
    and symmetric aberrations beside. The two terms of the CTF are one sine.

    Arguments are those of :func:`contrast_transfer`.
    """
    defocus_u, defocus_v, defocus_angle, voltage_kv, cs_mm, contrast, phase_shift = (
        value[:, None] for _, value in parameters.items()[:7]
    )
    kx, ky = frequencies.unbind(-1)
    squares_x, squares_y = kx.square(), ky.square()
    squared = squares_x + squares_y
    # Δz k², with k² cos 2(α − α₀) = cos 2α₀ (kx² − ky²) + sin 2α₀ 2 kx ky.
    difference = (defocus_u - defocus_v) / 2
    defocus = (defocus_u + defocus_v) / 2 * squared
    defocus = defocus + difference * torch.cos(2 * defocus_angle) * (squares_x - squares_y)
    defocus = defocus + difference * torch.sin(2 * defocus_angle) * (2 * kx * ky)

    wavelength = electron_wavelengths(voltage_kv)
    aberration = 0.5 * cs_mm * ANGSTROM_PER_MM * wavelength.square() * squared.square()
    gamma = torch.pi * wavelength * (aberration - defocus) - phase_shift
    if parameters.even_zernike is not None:
        gamma = gamma + zernike_phases(frequencies, parameters.even_zernike, is_odd=False)
    return gamma - torch.asin(contrast)
