import math

import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.models.encodings import axis_waves, encode_by_axis, encode_by_vectors


@pytest.mark.parametrize(
    ("name", "first", "second", "last"),
    [
        ("geom_ft", 201.0619, 179.7946, 6.283185),
        ("geom_full", 201.0619, 169.4450, 1.0),
        ("geom_lowf", 32.0, 28.61520, 1.0),
        ("geom_nohighf", 32.0, 30.36299, 6.283185),
        ("linear_lowf", 1.0, 2.0, 32.0),
    ],
)
def test_recorded_waves_at_64_pixels(name, first, second, last):
    # reference.md §4.3.
    waves = axis_waves(name, 64, 32)
    found = [waves[0].item(), waves[1].item(), waves[-1].item()]
    assert found == pytest.approx([first, second, last], rel=1e-6)
    assert len(waves) == 32


def test_linear_waves_have_no_choice_of_number():
    with pytest.raises(ConfigError, match="32 waves per axis, `encoding_dim` 8"):
        axis_waves("linear_lowf", 64, 8)


def test_features_are_sines_then_cosines_axis_by_axis():
    q, waves = torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([5.0, 7.0])
    features = encode_by_axis(q, waves)[0].tolist()
    expected = []
    for value in (0.1, 0.2, 0.3):
        expected += [math.sin(5 * value), math.sin(7 * value)]
        expected += [math.cos(5 * value), math.cos(7 * value)]
    assert features == pytest.approx(expected, abs=1e-6)


def test_gaussian_features_are_all_sines_then_all_cosines():
    q, vectors = torch.tensor([[0.1, -0.2, 0.3]]), torch.tensor([[1.0, 2, 0], [0, 0, 1]])
    phases = [32 * (0.1 - 0.4), 32 * 0.3]
    expected = [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
    assert encode_by_vectors(q, vectors, 32)[0].tolist() == pytest.approx(expected, abs=1e-5)
