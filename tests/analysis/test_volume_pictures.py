import io

import numpy as np
import pytest
from PIL import Image

from coarse_surfaces import FINE, draw
from cryodrgn.analysis.chimerax import chimerax_script
from cryodrgn.analysis.surfaces import iso_surface, render, view
from cryodrgn.analysis.volume_pictures import (
    as_png,
    choose_look,
    difference_tile,
    film,
    surfaces_of,
    tile,
)

AXIS = np.arange(32) - 16


def ball(x=0.0, y=0.0, z=0.0, radius=6.0):
    squares = (AXIS - x) ** 2 + (AXIS[:, None] - y) ** 2 + (AXIS[:, None, None] - z) ** 2
    return (1 / (1 + np.exp(np.sqrt(squares) - radius))).astype(np.float32)


@pytest.fixture(autouse=True)
def fine(monkeypatch):
    draw(monkeypatch, FINE)


def test_the_surface_of_a_ball_is_a_sphere():
    surface = iso_surface(ball(x=3, z=-4), 0.5)
    centred = 32 * surface.vertices - [3, 0, -4]
    radii = np.linalg.norm(centred, axis=1)
    np.testing.assert_allclose(radii, 6, atol=0.2)
    outwards = (centred / radii[:, None] * surface.normals).sum(1)
    assert outwards.min() > 0.95


def test_views_are_right_handed_frames():
    for angles in ((0, 0), (90, 0), (0, 90), (33, -20)):
        frame = view(*angles)
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame) == pytest.approx(1)
    np.testing.assert_allclose(view(0, 90)[2], [0, 0, 1], atol=1e-12)


def test_pictures_show_the_molecule_where_it_is():
    surface = iso_surface(ball(x=8, z=5), 0.5)
    picture = render(surface, view(0, 0), size=64)
    rows, columns = np.nonzero((picture < 250).any(-1))
    # x to the right, z up; two pixels per voxel.
    assert columns.mean() == pytest.approx(32 + 16, abs=1)
    assert rows.mean() == pytest.approx(31 - 10, abs=1.5)
    # No holes within the outline.
    assert len(rows) == pytest.approx(np.pi * 12**2, rel=0.08)


def test_what_is_nearer_hides_what_is_behind():
    # Looking along y, the ball at smaller y is nearer to the viewer, who stands at −y.
    near, far = ball(y=-8, radius=3), ball(y=8, radius=3)
    alone = render(iso_surface(near, 0.5), view(0, 0), size=64)
    both = render(iso_surface(near + far, 0.5), view(0, 0), size=64)
    behind = render(iso_surface(far, 0.5), view(0, 0), size=64)
    middle = (slice(28, 36), slice(28, 36))
    np.testing.assert_allclose(both[middle], alone[middle], atol=2)
    assert np.abs(behind[middle].astype(int) - alone[middle]).max() > 5


def test_a_volume_that_never_reaches_the_level_is_drawn_empty():
    picture = render(iso_surface(ball(), 5.0), view(0, 0), size=16)
    assert (picture == 255).all()


def test_the_view_is_the_one_in_which_the_motion_shows():
    # A motion along z and y is seen best along x, the last axis of the array.
    look = choose_look([ball(y=y, z=y) for y in (-5, 0, 5)])
    assert look.axis == 2
    assert look.sign == 1
    assert 0.2 < look.level < 0.8


def test_negative_densities_are_drawn_with_the_other_sign():
    look = choose_look([-ball(), -ball(x=1)])
    assert look.sign == -1
    (surface,) = surfaces_of([-ball()], look)
    assert len(surface.faces) > 100


def test_tiles_differences_and_films():
    volumes = [ball(y=y) for y in (-6, 0, 6)]
    look = choose_look(volumes)
    surfaces = surfaces_of(volumes, look)
    picture = tile(volumes[0], surfaces[0], look, (0.3, 0.5, 0.7))
    assert Image.open(io.BytesIO(as_png(picture))).size == (300, 300)
    difference = difference_tile(volumes[0], volumes[1], look).astype(float)
    redness = difference[..., 0] - difference[..., 2]
    # The ball left y = −6 (blue) for y = 0 (red).
    reach = np.abs(redness).max() / 2
    steps = np.argwhere(redness > reach).mean(0) - np.argwhere(redness < -reach).mean(0)
    # Seen along x, y points to the right.
    assert look.axis == 2
    assert steps[1] > 20
    assert abs(steps[0]) < 1
    same = difference_tile(volumes[0], volumes[0], look)
    assert np.ptp(same.reshape(-1, 3), axis=0).max() == 0
    with Image.open(io.BytesIO(film(surfaces, look, np.ones((3, 4))))) as movie:
        assert movie.n_frames == 4


def test_the_script_names_files_from_where_it_lies(tmp_path):
    paths = [tmp_path / "pc1/vol_000.mrc", tmp_path / "pc1/vol_001.mrc"]
    series = [("pc1", paths, np.eye(4)[:2], 0.25), ("more", paths[:1], np.eye(4)[:1], 0.5)]
    lines = chimerax_script(tmp_path, series).splitlines()
    assert "open pc1/vol_001.mrc id 2 name pc1_vol_001" in lines
    assert "volume #2 style surface step 1 level 0.25 color #00ff00" in lines
    assert "mseries slider #1-2" in lines
    assert "hide #3-3 models" in lines
