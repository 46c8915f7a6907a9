import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cryodrgn.errors import ConfigError
from cryodrgn.imaging.masks import (
    circular_window,
    default_threshold,
    resize_mask,
    soft_mask,
)


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


def test_a_soft_mask_of_one_voxel_is_its_distance_law():
    volume = torch.zeros(21, 21, 21)
    volume[10, 10, 10] = 1
    mask = soft_mask(volume, 2.0, threshold=0.5, dilation=0.0, edge=10.0)
    axis = torch.arange(21) - 10
    squares = axis.square()
    distance = (squares[:, None, None] + squares[:, None] + squares).sqrt().clamp_max(5)
    torch.testing.assert_close(mask, torch.cos(torch.pi / 2 * distance / 5), atol=1e-6, rtol=0)


@given(st.integers(0, 4), st.floats(0.5, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_soft_masks_agree_with_scipy(dilation, edge, seed):
    volume = np.random.default_rng(seed).random((9, 12, 10))
    volume = (volume > 0.99) | (volume == volume.max())
    grown = volume
    if dilation:
        grown = ndimage.binary_dilation(volume, iterations=dilation)
    distance = ndimage.distance_transform_edt(~grown).clip(max=edge)
    mask = soft_mask(torch.from_numpy(volume).float(), 1.0, dilation=float(dilation), edge=edge)
    np.testing.assert_allclose(mask, np.cos(np.pi / 2 * distance / edge), atol=2e-6)


def test_the_default_threshold_is_half_of_the_highest_percentile(rng):
    volume = rng.normal(size=(12, 14, 16)).astype(np.float32)
    expected = np.percentile(volume.astype(np.float64), 99.99) / 2
    assert default_threshold(torch.from_numpy(volume)) == pytest.approx(expected)


def test_masks_of_nothing_and_negative_lengths_are_refused():
    with pytest.raises(ConfigError, match="nothing is denser than 1 "):
        soft_mask(torch.zeros(4, 4, 4), 1.0, threshold=1.0)
    with pytest.raises(ConfigError, match="must not be negative"):
        soft_mask(torch.ones(4, 4, 4), 1.0, threshold=0.0, edge=-1.0)


@given(st.sampled_from([8, 12, 16, 20]), st.sampled_from([8, 10, 16, 32]))
def test_a_mask_on_another_grid_agrees_with_scipy(old, new):
    values = np.random.default_rng(old).random((old,) * 3)
    values = ndimage.gaussian_filter(values, 2).astype(np.float32)
    places = (np.arange(new) - new // 2) * old / new + old // 2
    grid = np.stack(np.meshgrid(places, places, places, indexing="ij"))
    expected = ndimage.map_coordinates(values, grid, order=1, mode="nearest")
    # Beside the plain interpolation a coarser grid has the average of its neighbours.
    tolerance = 1e-6 if new >= old else 0.05
    resized = resize_mask(torch.from_numpy(values), new).numpy()
    np.testing.assert_allclose(resized, expected, atol=tolerance)


@given(st.sampled_from([8, 16, 24, 64]), st.booleans())
def test_a_hard_mask_on_another_grid_is_hard_but_for_its_edge(size, upside_down):
    mask = torch.zeros(32, 32, 32)
    mask[8:24, 8:24, 8:24] = 1
    mask = 1 - mask if upside_down else mask
    resized = resize_mask(mask, size)
    step = max(1.0, 32 / size)
    place = (torch.arange(size) - size // 2) * 32 / size + 16
    inside = (place >= 8 + step) & (place <= 23 - step)
    outside = (place <= 7 - step) | (place >= 24 + step)
    value = 0.0 if upside_down else 1.0
    kept = resized[inside][:, inside][:, :, inside]
    torch.testing.assert_close(kept, torch.full_like(kept, value), atol=1e-6, rtol=0)
    left = resized[outside]
    torch.testing.assert_close(left, torch.full_like(left, 1 - value), atol=1e-6, rtol=0)
    assert resized.min() >= 0
    assert resized.max() <= 1
