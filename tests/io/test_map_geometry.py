"""Axis order, sampling and place of maps."""

import logging
import struct

import gemmi
import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodrgn.errors import CryodrgnError, InputFileError, ShapeMismatchError
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.masks import read_mask
from cryodrgn.io.mrc import MrcFile, read_map, read_volume, write_volume
from cryodrgn.io.mrc_edit import describe_header, rewrite_map
from cryodrgn.io.reference_map import geometry_like
from mrc_orders import ORDERS, place_in_chimerax, write_permuted

ORIGIN, START = (10.5, -20.25, 3.0), (-4, 6, 8)


@pytest.fixture
def volume(rng):
    """A map of unequal sides."""
    return rng.normal(size=(4, 6, 8)).astype(np.float32)


@pytest.mark.parametrize("order", ORDERS)
def test_a_map_reads_the_same_in_every_axis_order(volume, tmp_path, order):
    path = write_permuted(tmp_path / "map.mrc", volume, order, 1.5, ORIGIN, START)
    found, geometry = read_map(path)
    np.testing.assert_array_equal(found, volume)
    assert found.flags.c_contiguous
    assert geometry == MapGeometry(pixel_size=1.5, origin=ORIGIN, start=START)


@pytest.mark.parametrize("order", ORDERS)
def test_a_map_reads_as_gemmi_reads_it(volume, tmp_path, order):
    path = write_permuted(tmp_path / "map.mrc", volume, order, start=START)
    oracle = gemmi.read_ccp4_map(str(path))
    oracle.setup(float("nan"), gemmi.MapSetup.ReorderOnly)
    found, geometry = read_map(path)
    np.testing.assert_array_equal(found, np.asarray(oracle.grid).transpose(2, 1, 0))
    assert geometry.start == tuple(oracle.header_i32(word) for word in (5, 6, 7))


@settings(max_examples=40)
@given(
    order=st.sampled_from(ORDERS),
    sides=st.tuples(*[st.integers(1, 5)] * 3),
    start=st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 3),
    origin=st.tuples(*[st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)] * 3),
    pixel_size=st.sampled_from([0.5, 1.0, 1.25]),
)
def test_what_was_read_is_written_back_in_standard_order(
    tmp_path_factory, order, sides, start, origin, pixel_size
):
    folder = tmp_path_factory.mktemp("maps")
    volume = np.arange(np.prod(sides), dtype=np.float32).reshape(sides)
    first = write_permuted(folder / "a.mrc", volume, order, pixel_size, origin, start)
    read = read_map(first)
    write_volume(folder / "b.mrc", *read)
    again, geometry = read_map(folder / "b.mrc")
    np.testing.assert_array_equal(again, volume)
    assert geometry == read[1] == MapGeometry(pixel_size=pixel_size, origin=origin, start=start)
    assert MrcFile.open(folder / "b.mrc").order == (1, 2, 3)


def set_order(path, order):
    content = bytearray(path.read_bytes())
    content[64:76] = struct.pack("<3i", *order)
    path.write_bytes(content)


def test_an_order_of_zeros_is_the_standard_order(volume, tmp_path):
    path = write_permuted(tmp_path / "map.mrc", volume, (1, 2, 3))
    set_order(path, (0, 0, 0))
    np.testing.assert_array_equal(read_map(path)[0], volume)


@pytest.mark.parametrize(
    "order", [(1, 1, 2), (0, 1, 2), (1, 2, 4), (-1, 2, 3), (2**31 - 1, 2, 1)]
)
@pytest.mark.parametrize(
    "read",
    [read_map, read_volume, describe_header, lambda path: ImageStack.whole_files([path])],
)
def test_words_that_are_no_order_are_refused(volume, tmp_path, order, read):
    path = write_permuted(tmp_path / "map.mrc", volume[:, :4, :4], (1, 2, 3))
    set_order(path, order)
    with pytest.raises(InputFileError, match="expected 1, 2 and 3 in some order") as caught:
        read(path)
    assert f"axes {order[0]}, {order[1]} and {order[2]}" in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("order", ORDERS[1:])
def test_a_stack_of_images_in_another_order_is_refused(volume, tmp_path, order):
    path = write_permuted(tmp_path / "stack.mrcs", volume[:4, :4, :4], order)
    with pytest.raises(InputFileError, match=r"expected 1, 2, 3 in a stack of images"):
        ImageStack.whole_files([path])


@pytest.mark.parametrize("order", ORDERS)
def test_a_mask_in_any_order_is_the_same_mask(tmp_path, rng, order):
    values = rng.random((8, 8, 8), np.float32)
    path = write_permuted(tmp_path / "mask.mrc", values, order)
    np.testing.assert_array_equal(read_mask(path, 8, 2.0), values)


@pytest.mark.parametrize("order", ORDERS)
def test_the_z_axis_is_reversed_wherever_it_is_stored(volume, tmp_path, order):
    path = write_permuted(tmp_path / "map.mrc", volume, order, 2.0, ORIGIN, START)
    rewrite_map(path, tmp_path / "out.mrc", reverse=True, negate=True)
    found, geometry = read_map(tmp_path / "out.mrc")
    np.testing.assert_array_equal(found, -volume[::-1])
    assert geometry == read_map(path)[1]
    assert path.read_bytes()[64:76] == (tmp_path / "out.mrc").read_bytes()[64:76]


@pytest.mark.parametrize("order", ORDERS)
def test_intervals_that_are_missing_are_filled_along_their_axis(volume, tmp_path, order):
    path = write_permuted(tmp_path / "map.mrc", volume, order)
    with mrcfile.open(path, mode="r+") as mrc:
        mrc.header.mx = mrc.header.my = mrc.header.mz = 0
    rewrite_map(path, tmp_path / "out.mrc", pixel_size=1.5)
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert (mrc.header.mz, mrc.header.my, mrc.header.mx) == volume.shape
        assert mrc.voxel_size.tolist() == (1.5, 1.5, 1.5)


def test_an_origin_that_is_not_finite_or_from_before_mrc2000_is_none(volume, tmp_path, caplog):
    path = write_permuted(tmp_path / "a.mrc", volume, (1, 2, 3), origin=(np.nan, 1, 2))
    assert read_map(path)[1].origin == (0, 0, 0)
    assert "a.mrc has an origin that is not finite" in caplog.text
    path = write_permuted(tmp_path / "b.mrc", volume, (1, 2, 3), origin=ORIGIN, start=START)
    content = bytearray(path.read_bytes())
    content[208:212] = bytes(4)
    path.write_bytes(content)
    assert read_map(path)[1] == MapGeometry(pixel_size=2.0, start=START)


def test_a_box_on_another_grid_begins_at_the_same_place(caplog):
    caplog.set_level(logging.INFO)
    whole = MapGeometry(pixel_size=1.0, start=START).resampled(8, 4)
    assert whole == MapGeometry(pixel_size=2.0, start=(-2, 3, 4))
    assert not caplog.text
    between = MapGeometry(pixel_size=1.0, start=(-3, 6, 8)).resampled(8, 4)
    assert between == MapGeometry(pixel_size=2.0, origin=(-3, 6, 8), start=(-2, 3, 4))
    assert "the origin in Å is exact" in caplog.text
    both = MapGeometry(pixel_size=1.0, start=(-3, 6, 8), origin=ORIGIN).resampled(8, 4)
    assert both == MapGeometry(pixel_size=2.0, origin=ORIGIN, start=(-2, 3, 4))
    unknown = MapGeometry(pixel_size=None, start=(-3, 6, 8)).resampled(8, 4)
    assert unknown == MapGeometry(pixel_size=None, start=(-2, 3, 4))
    assert "there is no origin in Å" in caplog.text


def test_a_start_that_a_header_cannot_hold_becomes_an_origin():
    last = 2**31 - 1
    found = MapGeometry(pixel_size=4.0, start=(last, 0, 0)).resampled(4, 8)
    assert found.start == (last, 0, 0)
    assert found.origin == (4.0 * last, 0, 0)


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), ORIGIN])
@pytest.mark.parametrize("start", [(0, 0, 0), START])
def test_cropping_moves_the_first_voxel_by_the_margin(tmp_path, origin, start):
    before = MapGeometry(pixel_size=2.0, origin=origin, start=start)
    cube = np.zeros((4, 4, 4), np.float32)
    write_volume(tmp_path / "a.mrc", cube, before)
    write_volume(tmp_path / "b.mrc", cube, before.cropped(3))
    places = [place_in_chimerax(tmp_path / name) for name in ("a.mrc", "b.mrc")]
    np.testing.assert_array_equal(places[1], places[0] + 6.0)
    if any(start):
        assert before.cropped(3).start == tuple(value + 3 for value in start)


@pytest.mark.parametrize("box_size", [4, 8, 16])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_volumes_lie_on_the_map_that_they_are_to_be_like(tmp_path, rng, box_size, order):
    cube = rng.normal(size=(8, 8, 8)).astype(np.float32)
    for origin, start in ((ORIGIN, (0, 0, 0)), ((0.0, 0.0, 0.0), START)):
        path = write_permuted(tmp_path / "map.mrc", cube, order, 2.0, origin, start)
        geometry = geometry_like(path, box_size, 16 / box_size)
        assert geometry.pixel_size == 16 / box_size
        write_volume(tmp_path / "v.mrc", np.zeros((box_size,) * 3, np.float32), geometry)
        np.testing.assert_allclose(
            place_in_chimerax(tmp_path / "v.mrc"), place_in_chimerax(path), rtol=1e-6
        )


def test_without_a_map_volumes_begin_at_zero():
    assert geometry_like(None, 8, 2.0) == MapGeometry(pixel_size=2.0)


@pytest.mark.parametrize(
    ("shape", "pixel_size", "error", "words"),
    [
        (
            (8, 8, 8),
            2.1,
            ShapeMismatchError,
            "of 16.8 Å, but the volumes fill one of 16.0 Å",
        ),
        ((16, 16, 16), 2.0, ShapeMismatchError, "a box of 32.0 Å"),
        ((8, 8, 8), 0.0, InputFileError, "holds no pixel size"),
        ((9, 9, 9), 2.0, InputFileError, "even sides only"),
        ((8, 8, 4), 2.0, InputFileError, "8 × 8 × 4"),
    ],
)
def test_a_map_of_another_box_is_refused(tmp_path, shape, pixel_size, error, words):
    path = tmp_path / "map.mrc"
    write_volume(path, np.zeros(shape, np.float32), pixel_size)
    with pytest.raises(error, match=words) as caught:
        geometry_like(path, 8, 2.0)
    assert isinstance(caught.value, CryodrgnError)
    assert str(path) in str(caught.value)


def test_the_pixel_size_of_the_map_may_be_rounded(tmp_path):
    write_volume(
        tmp_path / "map.mrc",
        np.zeros((8, 8, 8), np.float32),
        MapGeometry(pixel_size=1.06, origin=ORIGIN),
    )
    assert geometry_like(tmp_path / "map.mrc", 4, 2.126) == MapGeometry(
        pixel_size=2.126, origin=ORIGIN
    )


def test_voxels_that_are_no_cubes_are_named(volume, tmp_path, caplog):
    path = write_permuted(tmp_path / "map.mrc", volume, (1, 2, 3), 1.5)
    read_map(path)
    assert "cubes" not in caplog.text
    with mrcfile.open(path, mode="r+") as mrc:
        mrc.header.cella.z = float(mrc.header.cella.z) * 1.04
    read_map(path)
    assert "has voxels of 1.5 × 1.5 × 1.56 Å" in caplog.text
    assert "taken for cubes of 1.5 Å" in caplog.text
