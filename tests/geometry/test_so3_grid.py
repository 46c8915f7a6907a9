import numpy as np
import pytest
import torch

from cryodrgn.geometry.rotations import rotation_distance
from cryodrgn.geometry.so3_grid import So3Grid, healpix_directions


@pytest.mark.parametrize("level", range(6))
def test_directions_are_those_of_healpix(level):
    # It loads astropy, which nothing else does.
    import healpy

    polar, longitude = healpix_directions(level).T
    side = 2**level
    expected = healpy.pix2ang(side, np.arange(12 * side**2), nest=True)
    np.testing.assert_allclose(polar, expected[0], atol=1e-12)
    np.testing.assert_allclose(longitude, expected[1], atol=1e-12)


@pytest.mark.parametrize("level", range(3))
def test_every_rotation_of_a_level_has_one_parent_that_is_near(level):
    grid = So3Grid(level)
    children = grid.children(torch.arange(len(grid)))
    assert torch.equal(children.flatten().sort().values, torch.arange(len(grid.finer())))
    parents = grid.rotations().repeat_interleave(8, 0)
    distance = rotation_distance(parents, grid.finer().rotations(children.flatten()))
    assert distance.max() < 0.7 * grid.spacing


def test_children_stay_near_where_longitudes_converge():
    # The turns of neighbouring directions differ most about the poles.
    grid = So3Grid(5)
    polar = healpix_directions(5)[:, 0]
    poles = torch.tensor([int(polar.argmin()), int(polar.argmax())]) * grid.num_turns
    children = grid.children(poles)
    distance = rotation_distance(
        grid.rotations(poles).repeat_interleave(8, 0),
        grid.finer().rotations(children.flatten()),
    )
    assert distance.max() < 0.8 * grid.spacing


def test_neighbours_wrap_around_and_are_the_nearest():
    grid = So3Grid(1)
    points = torch.tensor([0, grid.num_turns - 1, len(grid) - 1])
    around = grid.neighbours(points)
    assert around.shape == (3, 26)
    rotations = grid.rotations()
    for point, found in zip(points, around, strict=True):
        assert len(set(found.tolist())) == 26
        distance = rotation_distance(rotations, rotations[point].expand_as(rotations))
        assert set(distance.argsort()[1:7].tolist()) <= set(found.tolist())
        assert distance[found].max() < 2.6 * grid.spacing


def test_a_grid_covers_all_rotations():
    grid = So3Grid(2)
    generator = torch.Generator().manual_seed(0)
    from cryodrgn.geometry.rotations import random_rotations

    rotations = grid.rotations()
    for rotation in random_rotations(50, generator):
        distance = rotation_distance(rotations, rotation.expand_as(rotations))
        assert distance.min() < 0.75 * grid.spacing
