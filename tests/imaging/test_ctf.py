import math

import pytest
import torch

from cryodrgn.imaging.ctf import FLIPPED, MULTIPLIED, CtfParameters, contrast_transfer
from cryodrgn.particles.optics import CORRECTIONS
from cryodrgn.units import electron_wavelengths


def parameters(**changes: float) -> CtfParameters:
    values = {
        "defocus_u": 15000.0,
        "defocus_v": 14000.0,
        "defocus_angle": 0.4,
        "voltage_kv": 300.0,
        "spherical_aberration_mm": 2.7,
        "amplitude_contrast": 0.1,
        "phase_shift": 0.0,
    } | changes
    return CtfParameters(
        **{name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
    )


def ctf(points: list[tuple[float, float]], **changes: float) -> torch.Tensor:
    frequencies = torch.tensor([points], dtype=torch.float64)
    return contrast_transfer(frequencies, parameters(**changes))[0]


def test_recorded_values_of_an_astigmatic_micrograph():
    # reference.md §3.5, first row of ctf2.pkl.
    row = {
        "defocus_u": 45591.371,
        "defocus_v": 45309.793,
        "defocus_angle": math.radians(-78.131096),
        "voltage_kv": 200.0,
        "spherical_aberration_mm": 2.0,
        "amplitude_contrast": 0.07,
    }
    points = [(0, 0), (0.01, 0), (0.02, 0.03), (0.1, 0.05), (-0.1, 0.05), (0.05, -0.1)]
    expected = [-0.07, -0.4142587, 0.9999311, -0.6059233, -0.6744583, -0.7786674]
    torch.testing.assert_close(
        ctf(points, **row), torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_zero_frequency_equals_minus_amplitude_contrast():
    assert ctf([(0, 0)], amplitude_contrast=0.07).item() == pytest.approx(-0.07)


def test_swapping_u_and_v_equals_turning_the_axis_by_90_degrees():
    points = [(0.02, 0.03), (-0.05, 0.01)]
    swapped = ctf(points, defocus_u=14000.0, defocus_v=15000.0, defocus_angle=0.4 + math.pi / 2)
    torch.testing.assert_close(swapped, ctf(points))


def test_defocus_angle_turns_from_x_towards_y():
    along = ctf([(0.05 * math.cos(0.4), 0.05 * math.sin(0.4))])
    round_lens = ctf([(0.05, 0)], defocus_u=15000.0, defocus_v=15000.0)
    torch.testing.assert_close(along, round_lens)


def test_a_phase_plate_of_90_degrees_without_defocus_gives_full_dark_contrast():
    changes = {"defocus_u": 0.0, "defocus_v": 0.0, "phase_shift": math.pi / 2}
    assert ctf([(1e-4, 0)], **changes).item() == pytest.approx(-math.sqrt(0.99), abs=1e-6)


def test_wavelengths_of_common_microscopes():
    found = electron_wavelengths(torch.tensor([200.0, 300.0], dtype=torch.float64))
    expected = torch.tensor([0.0250786587, 0.0196869701], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_rows_are_selected_together():
    both = CtfParameters(
        **{
            name: torch.cat([value, 2 * value])
            for name, value in parameters(amplitude_contrast=0.1).items()
        }
    )
    torch.testing.assert_close(both[1:].defocus_u, torch.tensor([30000.0], dtype=torch.float64))


def test_states_of_images_have_the_numbers_of_the_table():
    assert {"none": 0, "flipped": FLIPPED, "multiplied": MULTIPLIED} == CORRECTIONS
