"""The image of a particle, and how dose and tilt weaken it."""

import math

import pytest
import torch

from cryodrgn.errors import MetadataError
from cryodrgn.imaging.exposure import (
    ExposureParameters,
    critical_exposures,
    damage_at,
    exposure_weights,
)
from cryodrgn.imaging.likelihood import predict, transfer_function


def test_critical_exposures_are_those_of_grant_and_grigorieff():
    # Their equation 3 at 20, 10 and 5 Å, 300 kV.
    frequencies = torch.tensor([[0.05, 0.1, 0.2]])
    found = critical_exposures(frequencies, damage_at(torch.tensor([300.0])))
    torch.testing.assert_close(found, torch.tensor([[38.7337, 14.13834, 6.382326]]))
    at_200 = critical_exposures(frequencies, damage_at(torch.tensor([200.0])))
    torch.testing.assert_close(at_200 - 2.81, 0.75 * (found - 2.81))
    with pytest.raises(MetadataError, match="200 and 300 kV, but an image was taken at 120 kV"):
        damage_at(torch.tensor([120.0]))


def test_weights_fall_with_dose_and_tilt_and_end_at_the_optimal_exposure():
    frequencies = torch.tensor([[[0.0, 0.0], [0.06, 0.08], [0.0, 0.2]]]).expand(3, -1, -1)
    parameters = ExposureParameters(
        doses=torch.tensor([0.0, 10.0, 20.0]),
        tilt_angles=torch.tensor([0.0, math.pi / 3, 0.0]),
        weights=torch.tensor([1.0, 1.0, 0.5]),
        damage=torch.ones(3),
    )
    found = exposure_weights(frequencies, parameters)
    torch.testing.assert_close(found[0], torch.ones(3))
    expected = 0.5 * torch.tensor([1.0, math.exp(-5 / 14.13834), math.exp(-5 / 6.382326)])
    torch.testing.assert_close(found[1], expected)
    # 20 e/Å² is beyond 2.51284 times the critical exposure at 5 Å.
    assert found[2, 2] == 0
    torch.testing.assert_close(found[2, 0], torch.tensor(0.5))


def test_the_image_is_contrast_times_weight_times_ctf_times_slice():
    generator = torch.Generator().manual_seed(0)
    slices = torch.randn(2, 5, 2, generator=generator)
    ctf, weights = torch.randn(2, 5, generator=generator), torch.rand(2, 5, generator=generator)
    contrast = torch.tensor([0.5, 2.0])
    found = predict(slices, transfer_function(ctf, weights), contrast)
    expected = torch.einsum("b,bp,bp,bpc->bpc", contrast, weights, ctf, slices)
    torch.testing.assert_close(found, expected)
    assert predict(slices, transfer_function(None, None)) is slices
    assert transfer_function(None, weights) is weights
    assert transfer_function(ctf, None) is ctf
