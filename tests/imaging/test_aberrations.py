import math

import numpy as np
import pytest
import torch

from cryodrgn.imaging.aberrations import without_phases, zernike_orders, zernike_phases
from cryodrgn.imaging.ctf import CtfParameters, contrast_transfer, electron_wavelengths
from cryodrgn.imaging.exposure import ExposureParameters, exposure_weights
from cryodrgn.particles import optics

# As RELION's manual writes them ("Conventions", "Higher order aberrations"): r and θ are the
# polar coordinates of the frequency in 1/Å, and the factors of the norm are left out.
ODD = [
    lambda r, t: r * np.sin(t),
    lambda r, t: r * np.cos(t),
    lambda r, t: r**3 * np.sin(3 * t),
    lambda r, t: (3 * r**3 - 2 * r) * np.sin(t),
    lambda r, t: (3 * r**3 - 2 * r) * np.cos(t),
    lambda r, t: r**3 * np.cos(3 * t),
]
EVEN = [
    lambda r, t: np.ones_like(r),
    lambda r, t: r**2 * np.sin(2 * t),
    lambda r, t: 2 * r**2 - 1,
    lambda r, t: r**2 * np.cos(2 * t),
    lambda r, t: r**4 * np.sin(4 * t),
    lambda r, t: (4 * r**4 - 3 * r**2) * np.sin(2 * t),
    lambda r, t: 6 * r**4 - 6 * r**2 + 1,
    lambda r, t: (4 * r**4 - 3 * r**2) * np.cos(2 * t),
    lambda r, t: r**4 * np.cos(4 * t),
]


@pytest.mark.parametrize(("polynomials", "is_odd"), [(ODD, True), (EVEN, False)])
def test_phases_are_the_polynomials_of_the_manual_in_its_order(rng, polynomials, is_odd):
    frequencies = rng.uniform(-0.5, 0.5, (1, 40, 2))
    radius = np.hypot(*frequencies[0].T)
    angle = np.arctan2(frequencies[0, :, 1], frequencies[0, :, 0])
    expected = np.stack([polynomial(radius, angle) for polynomial in polynomials])
    found = zernike_phases(
        torch.from_numpy(frequencies), torch.eye(len(polynomials)).double(), is_odd=is_odd
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_orders_go_on_by_degree():
    assert zernike_orders(7, is_odd=True)[-1] == (5, -5)
    assert zernike_orders(10, is_odd=False)[-1] == (6, -6)
    assert zernike_phases(torch.ones(1, 3, 2), torch.zeros(2, 0), is_odd=True).shape == (2, 3)


def test_a_tilt_of_the_beam_is_a_phase_of_third_power(rng):
    frequencies = torch.from_numpy(rng.uniform(-0.3, 0.3, (1, 30, 2)))
    tilts, voltages, lengths = np.array([[0.2, -0.5]]), np.array([300.0]), np.array([2.7])
    coefficients = optics.beam_tilt_coefficients(tilts, voltages, lengths)
    found = zernike_phases(frequencies, torch.from_numpy(coefficients), is_odd=True)
    wavelength = 0.0196868
    product = frequencies[0] @ torch.tensor([0.2e-3, -0.5e-3]).double()
    expected = -2 * math.pi * 2.7e7 * wavelength**2 * frequencies[0].square().sum(1) * product
    np.testing.assert_allclose(found[0], expected, rtol=1e-3)


def test_both_formulas_of_the_wavelength_agree():
    voltages = np.array([80.0, 200.0, 300.0], np.float32)
    np.testing.assert_allclose(
        optics.electron_wavelengths(voltages),
        electron_wavelengths(torch.from_numpy(voltages)),
        rtol=1e-6,
    )


def test_removed_phases_are_those_of_a_complex_factor(rng):
    values = torch.from_numpy(rng.normal(size=(2, 5, 2)))
    phases = torch.from_numpy(rng.normal(size=(2, 5)))
    expected = torch.view_as_complex(values) * torch.exp(-1j * phases)
    torch.testing.assert_close(
        without_phases(values, phases), torch.view_as_real(expected), check_stride=False
    )


def parameters(count, **more):
    numbers = {
        "defocus_u": 11000.0,
        "defocus_v": 10000.0,
        "defocus_angle": 0.4,
        "voltage_kv": 300.0,
        "spherical_aberration_mm": 2.7,
        "amplitude_contrast": 0.07,
        "phase_shift": 0.0,
    }
    columns = {name: torch.full((count,), value) for name, value in numbers.items()}
    return CtfParameters(**columns, **more)


def test_a_symmetric_term_of_degree_four_is_an_error_of_cs(rng):
    frequencies = torch.from_numpy(rng.uniform(-0.3, 0.3, (1, 30, 2)).astype(np.float32))
    # Z40 = 6 k⁴ − 6 k² + 1: what is not k⁴ is taken back by Z20 = 2 k² − 1 and Z00.
    wavelength = float(electron_wavelengths(torch.tensor(300.0)))
    term = 0.5 * math.pi * 0.2e7 * wavelength**3 / 6
    coefficients = torch.zeros(1, 7)
    coefficients[0, 0], coefficients[0, 2], coefficients[0, 6] = 2 * term, 3 * term, term
    found = contrast_transfer(frequencies, parameters(1, even_zernike=coefficients))
    columns = dict(parameters(1).items()) | {"spherical_aberration_mm": torch.tensor([2.9])}
    torch.testing.assert_close(
        found, contrast_transfer(frequencies, CtfParameters(**columns)), atol=2e-4, rtol=0
    )


def test_the_ctf_of_corrected_images_keeps_its_sign_at_the_origin():
    frequencies = torch.linspace(0, 0.3, 200)[None, :, None] * torch.tensor([1.0, 0.0])
    plain, flipped, multiplied = contrast_transfer(
        frequencies, parameters(3, correction=torch.tensor([0, 1, 2]))
    )
    assert plain.max() > 0.9
    torch.testing.assert_close(flipped, -plain.abs())
    torch.testing.assert_close(multiplied[plain.abs() > 0.1], flipped[plain.abs() > 0.1])
    torch.testing.assert_close(multiplied, -plain.square() / plain.abs().clamp_min(0.1))


def test_a_b_factor_damps_amplitudes_by_a_quarter_of_it():
    frequencies = torch.tensor([[[0.0, 0.0], [0.06, 0.08]]])
    weights = exposure_weights(
        frequencies,
        ExposureParameters(b_factors=torch.tensor([40.0]), weights=torch.tensor([0.5])),
    )
    assert weights[0].tolist() == pytest.approx([0.5, 0.5 * math.exp(-40 * 0.01 / 4)])
