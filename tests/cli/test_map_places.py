"""Commands that read a map: its hand in every axis order, and its place in space."""

import mrcfile
import numpy as np
import pytest
import torch

from cryodrgn.geometry.rotations import rotation_about_x
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.curves import read_curves
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import read_map, read_volume, write_volume
from mrc_orders import ORDERS, place_in_chimerax, write_permuted

BOX_SIZE, PIXEL_SIZE = 16, 2.0
PLACES = {
    "origin": ((10.5, -20.25, 3.0), (0, 0, 0)),
    "start": ((0.0, 0.0, 0.0), (-8, -8, 4)),
    "odd start": ((0.0, 0.0, 0.0), (-7, 5, 3)),
    "both": ((10.5, -20.25, 3.0), (-7, 5, 3)),
}


def blobs():
    """Four balls of different weight, which no rotation takes to their mirror image."""
    z, y, x = np.indices((BOX_SIZE,) * 3)
    centres = ((8, 8, 8, 4), (8, 8, 11, 3), (8, 11, 8, 2), (11, 8, 8, 1))
    parts = [
        weight * np.exp(-((z - k) ** 2 + (y - j) ** 2 + (x - i) ** 2) / 4)
        for k, j, i, weight in centres
    ]
    return np.sum(parts, axis=0).astype(np.float32)


@pytest.fixture
def plain(tmp_path):
    return write_permuted(tmp_path / "plain.mrc", blobs(), (1, 2, 3))


@pytest.mark.parametrize("order", ORDERS)
def test_a_map_correlates_perfectly_with_its_copy_in_another_order(
    tool, plain, tmp_path, order
):
    copy = write_permuted(tmp_path / "copy.mrc", blobs(), order)
    tool("fsc", plain, copy, "-o", tmp_path / "fsc.txt")
    values = read_curves(tmp_path / "fsc.txt")["fsc"].values
    torch.testing.assert_close(values, torch.ones_like(values))


@pytest.mark.parametrize("order", ORDERS)
def test_the_hand_does_not_depend_on_the_axis_order(tool, run, plain, tmp_path, order):
    copy = write_permuted(tmp_path / "copy.mrc", blobs(), order)
    for path, name in ((plain, "a"), (copy, "b")):
        run("downsample", path, "-D", 8, "--is-vol", "-o", tmp_path / f"{name}.small.mrc")
        tool("gen_mask", path, tmp_path / f"{name}.mask.mrc", "--dilate", 2, "--dist", 4)
        pictures = ("-N", 2, "--out-pose", tmp_path / f"{name}.pkl")
        tool("project3d", path, *pictures, "-o", tmp_path / f"{name}.images.mrc")
    for kind in ("small", "mask", "images"):
        first, second = (tmp_path / f"{name}.{kind}.mrc" for name in "ab")
        assert first.read_bytes() == second.read_bytes()
    mask = read_volume(tmp_path / "b.mask.mrc")[0]
    assert not np.array_equal(mask, mask[::-1])


@pytest.fixture(params=sorted(PLACES))
def placed(request, tmp_path):
    origin, start = PLACES[request.param]
    return write_permuted(
        tmp_path / "placed.mrc", blobs(), (3, 1, 2), PIXEL_SIZE, origin, start
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gen_mask", ()),
        ("flip_hand", ("-o",)),
        ("invert_contrast", ("-o",)),
        ("add_psize", ("--Apix", PIXEL_SIZE, "--flip", "--invert", "-o")),
    ],
)
def test_a_tool_leaves_a_map_where_it_is(tool, placed, tmp_path, name, options):
    out = tmp_path / "out.mrc"
    tool(name, placed, *options, out)
    assert read_map(out)[1] == read_map(placed)[1]
    np.testing.assert_array_equal(place_in_chimerax(out), place_in_chimerax(placed))


def centre_of_mass(path):
    """In Å along x, y and z, where ChimeraX shows it."""
    volume, geometry = read_map(path)
    weights = volume.astype(np.float64) / volume.sum(dtype=np.float64)
    places = [(weights * axis).sum() for axis in np.indices(volume.shape)]
    return place_in_chimerax(path) + geometry.pixel_size * np.array(places[::-1])


@pytest.mark.parametrize("box_size", [8, 12, 16])
def test_a_downsampled_map_lies_on_the_original(run, placed, tmp_path, box_size):
    out = tmp_path / "out.mrc"
    run("downsample", placed, "-D", box_size, "--is-vol", "-o", out)
    np.testing.assert_allclose(place_in_chimerax(out), place_in_chimerax(placed), rtol=1e-6)
    np.testing.assert_allclose(centre_of_mass(out), centre_of_mass(placed), atol=0.1)
    expected = np.array(read_map(placed)[1].start) * box_size / BOX_SIZE
    np.testing.assert_allclose(read_map(out)[1].start, expected, atol=0.5)


def test_an_aligned_map_lies_on_the_reference(tool, placed, tmp_path):
    volume = blobs()
    write_volume(
        tmp_path / "away.mrc",
        volume,
        MapGeometry(pixel_size=PIXEL_SIZE, origin=(500.0, 0.0, 0.0), start=(1, 1, 1)),
    )
    search = ("--r-resol", 1, "--keep-r", 4, "--niter", 2)
    tool("align3d", placed, tmp_path / "away.mrc", *search, "-o", tmp_path / "out.mrc")
    assert read_map(tmp_path / "out.mrc")[1] == read_map(placed)[1]
    np.testing.assert_allclose(
        centre_of_mass(tmp_path / "out.mrc"), centre_of_mass(placed), atol=0.5
    )


def test_a_map_moved_with_its_poses_keeps_its_place_or_takes_the_references(
    tool, placed, tmp_path
):
    rotations = torch.stack([rotation_about_x(0.3 * number) for number in range(8)])
    poses = (rotations.numpy(), np.zeros((8, 2), np.float32))
    save_pickles(tmp_path / "poses.pkl", [poses])
    words = ("align_poses", tmp_path / "poses.pkl", tmp_path / "poses.pkl")
    out = ("-o", tmp_path / "o.pkl", "--out-vol", tmp_path / "out.mrc")
    tool(*words, *out, "--vol", placed)
    assert read_map(tmp_path / "out.mrc")[1] == read_map(placed)[1]
    other = write_permuted(tmp_path / "other.mrc", blobs(), (1, 2, 3))
    tool(*words, *out, "--vol", other, "--ref-vol", placed)
    assert read_map(tmp_path / "out.mrc")[1] == read_map(placed)[1]


def test_a_written_map_is_in_standard_order(run, placed, tmp_path):
    run("downsample", placed, "-D", 8, "--is-vol", "-o", tmp_path / "out.mrc")
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        header = mrc.header
        assert (header.mapc, header.mapr, header.maps) == (1, 2, 3)
        assert (header.mx, header.my, header.mz) == (8, 8, 8)
