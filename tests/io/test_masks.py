import logging

import numpy as np
import pytest
import torch

from cryodrgn.errors import ConfigError, CryodrgnError, ShapeMismatchError
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.io.masks import read_mask
from cryodrgn.io.mrc import write_volume


@pytest.fixture
def mask_file(tmp_path):
    def write(volume, pixel_size):
        write_volume(tmp_path / "mask.mrc", np.asarray(volume, np.float32), pixel_size)
        return tmp_path / "mask.mrc"

    return write


@pytest.mark.parametrize(
    ("pixel_size", "expected", "warns"),
    [(0.0, 2.0, False), (2.01, 2.0, False), (7.0, None, False), (7.0, 2.0, True)],
)
def test_a_mask_of_the_size_asked_for_is_itself_and_other_pixels_are_said(
    mask_file, rng, caplog, pixel_size, expected, warns
):
    values = rng.random((8, 8, 8), np.float32)
    mask = read_mask(mask_file(values, pixel_size), 8, expected)
    np.testing.assert_array_equal(mask, values)
    assert ("has 7 Å/px by its header" in caplog.text) == warns


def test_a_map_of_density_is_no_mask(mask_file):
    # Without negative values, and everywhere far below 1, as many are.
    with pytest.raises(
        ConfigError, match=r"no mask: its values run from 0 to 0\.054, .*gen_mask"
    ):
        read_mask(mask_file(0.054 * soft_sphere(8, 2.0, 1.0), 2.0), 8, 2.0)


@pytest.mark.parametrize("size", [16, 24, 48, 64])
def test_a_mask_made_at_another_pixel_size_covers_the_same_part_of_the_box(
    mask_file, caplog, size
):
    caplog.set_level(logging.INFO)
    # A ball of 30 Å with an edge of 30 Å in a box of 192 Å, at 6 Å/px.
    given = mask_file(soft_sphere(32, 5.0, 5.0), 6.0)
    mask = read_mask(given, size, 192 / size)
    expected = soft_sphere(size, 5 * size / 32, 5 * size / 32)
    torch.testing.assert_close(mask, expected, atol=0.06, rtol=0)
    assert f"from 32 to {size} voxels" in caplog.text


def test_the_pixel_size_of_a_header_may_be_rounded(mask_file):
    assert len(read_mask(mask_file(soft_sphere(32, 8.0, 4.0), 1.06), 16, 2.126)) == 16


@pytest.mark.parametrize(
    ("volume", "pixel_size", "error", "words"),
    [
        (np.ones((8, 8, 8)), 0.0, ShapeMismatchError, "has 8 voxels a side, expected 16"),
        (np.ones((9, 9, 9)), 2.0, ShapeMismatchError, "has 9 voxels a side, expected 16"),
        (np.ones((8, 8, 8)), 3.0, ShapeMismatchError, "of 24.0 Å instead of 32.0 Å"),
        (np.zeros((16, 16, 16)), 2.0, ConfigError, "its values run from 0 to 0"),
        (np.full((16, 16, 16), 7), 2.0, ConfigError, "its values run from 7 to 7"),
        (np.eye(16) - np.ones((16, 16, 16)), 2.0, ConfigError, "from -1 to 0"),
        (np.ones((16, 16, 8)), 2.0, CryodrgnError, "no cubic volume"),
    ],
)
def test_what_is_no_mask_of_this_box_is_refused(mask_file, volume, pixel_size, error, words):
    path = mask_file(volume, pixel_size)
    with pytest.raises(error, match=words) as caught:
        read_mask(path, 16, 2.0)
    assert str(path) in str(caught.value)


def test_without_the_pixel_size_of_the_volumes_nothing_is_resampled(mask_file):
    with pytest.raises(ShapeMismatchError, match="only if its side is even and its header"):
        read_mask(mask_file(np.ones((8, 8, 8)), 4.0), 16, None)
