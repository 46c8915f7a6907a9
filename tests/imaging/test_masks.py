import pytest
import torch

from cryodrgn.imaging.masks import circular_window


def test_recorded_values_of_the_standard_window():
    # reference.md §3.3, box of 64 px.
    window = circular_window(64)
    assert window.sum().item() == pytest.approx(2728.612, abs=1e-2)
    assert window[32, 5].item() == 1
    assert window[32, 2].item() == pytest.approx(0.375, abs=1e-5)
    assert window[32, 0].item() == 0


def test_window_is_symmetric_about_the_origin_at_half_the_box():
    window = circular_window(16)
    torch.testing.assert_close(window[1:, 1:], window[1:, 1:].flip(0, 1))
