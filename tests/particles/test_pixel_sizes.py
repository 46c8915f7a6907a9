import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cryodrgn
from cryodrgn.errors import MetadataError
from cryodrgn.particles.pixel_sizes import common_pixel_size, rows_by_pixel_size


def test_rounding_is_no_difference():
    # Six decimals, single precision, and a magnification in whole numbers.
    sizes = np.array([1.06, np.float32(1.06), 1.060001, 5e4 / 47170])
    assert common_pixel_size(sizes, "x.star") == 1.06
    assert common_pixel_size(np.float32(sizes), "x.star") == np.float32(1.06)


def test_sizes_that_differ_are_named_with_their_counts_the_most_frequent_first():
    sizes = np.array([0.83, 1.06, 1.06, 1.06, 0.83, 1.0605])
    with pytest.raises(MetadataError, match="Å/px") as refused:
        common_pixel_size(sizes, "x.star")
    message = str(refused.value)
    assert message.startswith(
        "x.star mixes images of 1.06 Å/px (3 images), 0.83 Å/px (2 images) and 1.0605 Å/px "
        "(1 image), which would need one pixel size; choose those of one with cryodrgn select"
    )


def test_many_sizes_are_not_all_named():
    with pytest.raises(MetadataError, match="and 35 other sizes, which"):
        common_pixel_size(np.linspace(1, 2, 40), "x.star")


def test_nobody_takes_the_pixel_size_of_the_first_image_for_that_of_all():
    source = Path(cryodrgn.__file__).parent
    takers = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r"pixel_sizes(\(\))?\[0\]", path.read_text())
    }
    # Readers of files convert rows by their own sizes; what comes after them has one function.
    assert {name for name in takers if not name.startswith("io/")} == {
        "particles/pixel_sizes.py"
    }


@given(st.lists(st.sampled_from([0.5, 0.83, 1.06, 1.0600001, 1.2]), min_size=1))
def test_groups_hold_every_row_once_and_only_equal_sizes(values):
    sizes = np.array(values)
    groups = rows_by_pixel_size(sizes)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(sizes)))
    assert [len(g) for g in groups] == sorted((len(g) for g in groups), reverse=True)
    assert len(groups) == len(np.unique(sizes.round(4)))
    for rows in groups:
        assert np.ptp(sizes[rows]) < 1e-4
