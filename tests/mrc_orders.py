"""Maps whose file has another axis order, written from the MRC2014 description with mrcfile."""

from itertools import permutations

import mrcfile
import numpy as np

ORDERS = list(permutations((1, 2, 3)))


def write_permuted(
    path, volume, order, pixel_size=2.0, origin=(0.0, 0.0, 0.0), start=(0, 0, 0)
):
    """A file whose columns, rows and sections run along the axes that the order names.

    Args:
        path: The file.
        volume: Densities in the order z, y, x.
        order: MAPC, MAPR, MAPS.
        pixel_size: Å/px.
        origin: Along x, y and z, in Å.
        start: First voxel along x, y and z.
    """
    sides = dict(zip((3, 2, 1), volume.shape, strict=True))
    columns, rows, sections = (sides[axis] for axis in order)
    stored = np.empty((sections, rows, columns), volume.dtype)
    places = dict(zip(order, np.indices(stored.shape)[::-1], strict=True))
    stored[...] = volume[places[3], places[2], places[1]]
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(stored)
        mrc.set_volume()
        header = mrc.header
        header.mapc, header.mapr, header.maps = order
        header.nxstart, header.nystart, header.nzstart = (start[axis - 1] for axis in order)
        header.mx, header.my, header.mz = (sides[axis] for axis in (1, 2, 3))
        header.cella = tuple(pixel_size * sides[axis] for axis in (1, 2, 3))
        header.origin = origin
    return path


def place_in_chimerax(path):
    """Where ChimeraX puts the first voxel, in Å along x, y and z, from the raw header."""
    with mrcfile.open(path, header_only=True) as mrc:
        header = mrc.header
        origin = np.array(header.origin.item())
        intervals = np.array([header.mx, header.my, header.mz])
        spacing = np.array(header.cella.item()) / intervals
        stored = (header.nxstart, header.nystart, header.nzstart)
        order = (int(header.mapc), int(header.mapr), int(header.maps))
        start = np.array([stored[order.index(axis)] for axis in (1, 2, 3)])
    return origin if origin.any() else start * spacing


def write_consensus(path):
    """An empty map in a box of 192 Å that begins away from zero and between coarser voxels."""
    empty = np.zeros((32, 32, 32), np.float32)
    return write_permuted(path, empty, (3, 1, 2), 192 / 32, start=(-16, -5, 8))


def assert_in_one_place(paths, reference, shift=0.0):
    """All maps begin where the reference does, or so many Å beyond on each axis."""
    assert paths
    for path in paths:
        expected = place_in_chimerax(reference) + shift
        np.testing.assert_allclose(place_in_chimerax(path), expected, err_msg=str(path))
