"""Particles behind a piece of density."""

import csv
import shutil

import numpy as np
import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.io.selection_files import load_indices
from cryodrgn.jobs.feature_selection import FeatureOptions
from cryodrgn.linear.feature import Amounts, two_groups
from cryodrgn.linear.feature_files import feature_mask
from cryodrgn.simulation.simulate import SimulationSettings, simulate

BOX, PIXEL, COUNT = 24, 8.0, 600
# The piece that comes and goes, x, y, z in voxels from the first.
PIECE = (17, 12, 9)


def ball(centre, radius):
    shift = tuple(np.subtract(centre, BOX // 2)[::-1].tolist())
    return torch.roll(soft_sphere(BOX, float(radius), 2.0), shift, (0, 1, 2))


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """Images of a body with a piece in two of three particles, and a linear run on them."""
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("composed")
    body = ball((12, 12, 12), 3) + ball((7, 12, 14), 2) + 0.8 * ball((12, 17, 14), 2)
    whole = body + ball(PIECE, 2)
    simulate(
        [volume.numpy() for volume in (body, whole, whole)],
        SimulationSettings(num_images=COUNT, pixel_size=PIXEL, snr=0.5),
        folder / "sim",
    )
    words = ["train_linear", str(folder / "sim/particles.star"), "--components", "2"]
    assert main([*words, "-o", str(folder / "run")]) == 0
    return folder


def place(offset=0.0):
    return ",".join(f"{PIXEL * index + offset:g}" for index in PIECE)


def chosen(run, composed, out, *words):
    said = run("select", composed / "run", *words, "-o", out)
    return np.isin(np.arange(COUNT), load_indices(out)), said


def test_particles_with_a_piece_are_told_from_those_without(run, composed, tmp_path, drawn):
    present = np.load(composed / "sim/labels.npy") > 0
    found, said = chosen(run, composed, tmp_path / "kept.pkl", "--feature", place() + ",16")
    assert (found == present).mean() > 0.98
    assert "particles have the density" in said
    rows = list(csv.DictReader((tmp_path / "kept.csv").read_text().splitlines()))
    probability = np.array([float(row["probability"]) for row in rows])
    assert [int(row["row"]) for row in rows] == list(range(COUNT))
    np.testing.assert_array_equal(probability >= 0.5, found)
    assert (tmp_path / "kept.png").stat().st_size > 10_000
    words = ("--feature", place() + ",16", "--absent", "--probability", 0.9)
    missing, _ = chosen(run, composed, tmp_path / "missing.pkl", *words)
    np.testing.assert_array_equal(missing, 1 - probability >= 0.9)


def test_a_mask_and_a_place_on_another_map_choose_like_a_place(run, composed, tmp_path):
    plain, _ = chosen(run, composed, tmp_path / "a.pkl", "--feature", place())
    write_volume(tmp_path / "mask.mrc", ball(PIECE, 1).numpy(), PIXEL)
    by_mask, _ = chosen(run, composed, tmp_path / "b.pkl", "--feature", tmp_path / "mask.mrc")
    assert (by_mask == plain).mean() > 0.99
    there = MapGeometry(pixel_size=PIXEL, origin=(-100.0, -100.0, -100.0))
    write_volume(tmp_path / "map.mrc", np.ones((BOX,) * 3, np.float32), there)
    words = (f"--feature={place(-100)}", "--like", tmp_path / "map.mrc")
    moved, _ = chosen(run, composed, tmp_path / "c.pkl", *words)
    np.testing.assert_array_equal(moved, plain)


@pytest.mark.parametrize("numbers", [(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0, 4.0, 5.0)])
def test_a_place_has_three_or_four_numbers(numbers):
    with pytest.raises(ConfigError, match="neither a file nor X,Y,Z or X,Y,Z,RADIUS"):
        feature_mask(numbers, BOX, MapGeometry(pixel_size=PIXEL))


def test_a_place_is_given_as_text_or_as_numbers():
    geometry = MapGeometry(pixel_size=PIXEL)
    expected = feature_mask("96,80.5,96,20", BOX, geometry)
    assert torch.equal(feature_mask((96.0, 80.5, 96.0, 20.0), BOX, geometry), expected)
    for given in ("96,80.5,96", [96, 80.5, 96], (96, 80.5, 96), np.array([96, 80.5, 96])):
        options = FeatureOptions(feature=given)
        assert options.feature in {"96,80.5,96", (96.0, 80.5, 96.0)}


def test_other_criteria_hold_beside_the_density(run, composed, tmp_path):
    with_it, _ = chosen(run, composed, tmp_path / "a.pkl", "--feature", place())
    both, _ = chosen(run, composed, tmp_path / "b.pkl", "--feature", place(), "--box", 0, 0, 9)
    z = load_latents(composed / "run/z.pkl")[:, 0]
    np.testing.assert_array_equal(both, with_it & (z >= 0) & (z <= 9))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--feature", "900,0,0"), "lies outside of the volumes"),
        (("--feature", "4,4,4"), "which lies in the solvent"),
        (("--feature", place() + ",0"), "radius of `feature` must be positive"),
        (("--feature", "12,34"), "12,34 is neither a file nor X,Y,Z or X,Y,Z,RADIUS in Å"),
        (("--feature", "nan,1,2"), "nan,1,2 is neither a file nor X,Y,Z"),
        (("--feature", "1,2,inf"), "1,2,inf is neither a file nor X,Y,Z"),
        (("--feature", "1,2,3,4,5"), "1,2,3,4,5 is neither a file nor X,Y,Z"),
        (("--feature", "none.mrc"), "none.mrc"),
        (("--feature", "96,96,96,12"), "feature"),
        ((), "without a criterion all particles would be chosen"),
    ],
)
def test_what_no_image_can_tell_is_refused(fail, composed, tmp_path, words, said):
    out = tmp_path / "x.pkl"
    error = fail("select", composed / "run", *words, "-o", out)
    assert said.replace("`feature`", "--feature") in error
    assert not list(tmp_path.iterdir())


def test_no_file_of_a_run_is_replaced_by_the_table_or_the_picture(fail, composed, tmp_path):
    shutil.copytree(composed / "run", tmp_path / "run")
    for name in ("scores", "junk"):
        before = {
            path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()
        }
        out = tmp_path / f"run/{name}.pkl"
        said = fail("select", composed / "run", "--feature", place(), "-o", out)
        assert "is there already and is not of this command" in said
        assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("words", [("--absent",), ("--probability", 0.9)])
def test_a_choice_by_a_density_that_is_not_named_is_refused(fail, tmp_path, words):
    out = tmp_path / "x.pkl"
    said = fail("select", "--num-original", 5, "--random", "--count", 2, *words, "-o", out)
    assert f"{words[0]} chooses particles by a density; say which with --feature" in said
    assert not out.exists()


def test_a_density_without_run_is_refused(fail, tmp_path):
    words = ("--feature", "1,2,3", "--num-original", 5, "-o", tmp_path / "x.pkl")
    assert "name its folder" in fail("select", *words)


def test_probabilities_are_the_shares_of_those_with_the_density(rng):
    count = 12_000
    present = rng.random(count) < 0.3
    noise = rng.uniform(0.1, 1.0, count)
    values = np.where(present, 1.4, -0.6) + 0.2 * rng.normal(size=count)
    values += np.sqrt(noise) * rng.normal(size=count)
    noise[:50] = np.inf
    found = two_groups(Amounts(values=values, variances=noise, mean=0.6, spread=1.0))
    # Of images of the other sign, the particles with the density are those with less.
    with pytest.raises(ConfigError, match="density is negative"):
        two_groups(Amounts(values=-values, variances=noise, mean=-0.6, spread=1.0))
    assert found.share == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(found.means, [-0.6, 1.4], atol=0.05)
    np.testing.assert_allclose(found.probabilities[:50], found.share)
    groups = np.digitize(found.probabilities, np.linspace(0, 1, 11)[1:-1])
    for group in range(10):
        inside = groups == group
        expected = found.probabilities[inside].mean()
        error = np.sqrt(expected * (1 - expected) / inside.sum())
        assert present[inside].mean() == pytest.approx(expected, abs=0.015 + 4 * error)


def test_one_group_is_not_divided(rng):
    noise = rng.uniform(0.1, 1.0, 5000)
    values = np.sqrt(noise) * rng.normal(size=5000) + 0.5 * rng.normal(size=5000)
    with pytest.raises(ConfigError, match="does not fall into two groups"):
        two_groups(Amounts(values=values, variances=noise, mean=1.0, spread=1.0))


def test_a_ball_lies_where_its_coordinates_are(tmp_path):
    geometry = MapGeometry(pixel_size=2.0, start=(-5, 0, 3))
    mask = feature_mask("4, 10,12,8", 16, geometry)
    z, y, x = np.argwhere(mask.numpy() == mask.numpy().max()).mean(0)
    assert ((x - 5) * 2, y * 2, (z + 3) * 2) == (4, 10, 12)
    assert float(mask.sum()) * 8 == pytest.approx(4 / 3 * np.pi * 512, rel=0.1)
    write_volume(tmp_path / "m.mrc", mask.numpy(), geometry)
    np.testing.assert_array_equal(
        feature_mask(str(tmp_path / "m.mrc"), 16, geometry), read_volume(tmp_path / "m.mrc")[0]
    )
