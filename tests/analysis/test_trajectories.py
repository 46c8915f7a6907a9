import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryodrgn.analysis.neighbours import nearest_neighbours
from cryodrgn.analysis.pca import principal_components
from cryodrgn.analysis.trajectories import component_path, direct_path, graph_path
from cryodrgn.io.latent_text import load_latent_text


@pytest.fixture
def z_path(rng, write_pickle):
    return write_pickle(rng.normal(size=(200, 3)).astype(np.float32), "z.pkl")


@pytest.mark.parametrize("dim", [2, 20])
def test_neighbours_agree_with_scipy(rng, dim):
    points = rng.normal(size=(300, dim)).astype(np.float32)
    queries = rng.normal(size=(50, dim)).astype(np.float32)
    for asked in (None, queries):
        distances, indices = nearest_neighbours(points, 7, asked, block=33)
        expected = cKDTree(points).query(points if asked is None else asked, 7)
        np.testing.assert_allclose(distances, expected[0], atol=1e-5)
        np.testing.assert_array_equal(indices, expected[1])


@pytest.mark.parametrize("shape", [(500, 4), (6, 400)])
def test_components_diagonalise_the_covariance(rng, shape):
    points = rng.normal(size=shape) * np.linspace(3, 1, shape[1])
    components = principal_components(points)
    coordinates = components.project(points)
    covariance = np.cov(coordinates.T)
    np.testing.assert_allclose(np.diag(covariance), components.variances)
    np.testing.assert_allclose(covariance - np.diag(components.variances), 0, atol=1e-9)
    assert components.explained.sum() == pytest.approx(1)
    np.testing.assert_allclose(components.restore(coordinates), points, atol=1e-9)


def test_a_component_path_moves_along_that_component_alone(rng):
    points = rng.normal(size=(500, 3)).astype(np.float32) * [5, 2, 1] + 4
    components = principal_components(points)
    path = component_path(points, components, 2, 7, limits=(10, 90))
    coordinates = components.project(path.points)
    np.testing.assert_allclose(coordinates[:, [0, 2]], 0, atol=1e-5)
    np.testing.assert_allclose(np.diff(coordinates[:, 1], 2), 0, atol=1e-5)
    share = [(components.project(points)[:, 1] < c).mean() for c in path.coordinates[[0, -1]]]
    assert share == pytest.approx([0.1, 0.9], abs=2e-3)


def test_equal_percentiles_hold_equally_many_particles(rng):
    points = rng.exponential(size=(1000, 1))
    components = principal_components(points)
    path = component_path(points, components, 1, 4, limits=(0, 100), by_percentile=True)
    counts, _ = np.histogram(components.project(points), np.sort(path.coordinates))
    assert np.ptp(counts) <= 2


def test_a_direct_path_visits_its_anchors_once_and_can_come_back():
    anchors = np.array([[0.0, 0], [1, 0], [1, 2]])
    path = direct_path(anchors, 3)
    np.testing.assert_allclose(path, [[0, 0], [0.5, 0], [1, 0], [1, 1], [1, 2]])
    np.testing.assert_allclose(direct_path(anchors, 3, closed=True)[-1], anchors[0])


def test_a_graph_path_follows_the_particles_around_a_gap():
    angles = np.linspace(0, 1.5 * np.pi, 60)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    path = graph_path(ring, [0, 59], max_neighbours=5, average_neighbours=3)
    assert path.nodes[0] == 0
    assert path.nodes[-1] == 59
    assert (np.diff(path.nodes) > 0).all()
    assert path.legs[0].length == pytest.approx(1.5 * np.pi, rel=0.01)
    assert path.legs[0].distance == pytest.approx(np.sqrt(2))


def test_particles_at_the_same_place_are_joined():
    points = np.array([[0.0], [0], [0.1], [0.2], [0.3], [9]])
    path = graph_path(points, [0, 1, 4], max_neighbours=4, average_neighbours=3)
    assert path.nodes[[0, -1]].tolist() == [0, 4]


@pytest.mark.parametrize("command", ["pc_traversal", "get_z_pcs"])
def test_paths_along_components_are_written_one_file_each(run, z_path, tmp_path, command):
    printed = run(command, z_path, "-o", tmp_path / "pcs", "-n", 4)
    names = sorted(path.name for path in (tmp_path / "pcs").iterdir())
    assert names == ["pc1.txt", "pc2.txt", "pc3.txt"]
    assert load_latent_text(tmp_path / "pcs/pc2.txt", 3).shape == (4, 3)
    assert printed.count("particles within 3 of each point") == 3
    # Writing into the same folder again is no mistake.
    run(command, z_path, "-o", tmp_path / "pcs", "--pc", 2)


def test_traversals_write_what_eval_vol_reads(run, z_path, tmp_path):
    (tmp_path / "anchors.txt").write_text("5\n17\n")
    direct = ("direct_traversal", z_path, "--anchors", tmp_path / "anchors.txt", 3)
    run(*direct, "-o", tmp_path / "d.txt")
    assert load_latent_text(tmp_path / "d.txt", 3).shape == (11, 3)
    assert run(*direct).count("\n") == 11
    out = ("-o", tmp_path / "i.txt", "--out-z", tmp_path / "z.txt")
    wide = ("--max-neighbors", 60, "--avg-neighbors", 50)
    run("graph_traversal", z_path, "--anchors", 5, 17, *wide, *out)
    nodes = np.loadtxt(tmp_path / "i.txt", dtype=int)
    assert len(load_latent_text(tmp_path / "z.txt", 3)) == len(nodes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pc_traversal", "--pc", 0), "--pc must be at least 1 in every place, got 0"),
        (("pc_traversal", "--lim", 0.9, 0.1), "two percentiles from 0 to 100"),
        (("pc_traversal", "-n", 0), "-n must be at least 1"),
        (("direct_traversal", "--anchors", 0, 200), "numbered 0 to 199"),
        (("direct_traversal", "--anchors", 1), "two anchors"),
        (("direct_traversal", "--anchors", "no.txt", 1), "no.txt does not exist"),
        (("direct_traversal", "--anchors", 1, "--loop"), "two anchors"),
        (("direct_traversal", "--anchors", 1, 7, 7), "names particle 7 twice in a row"),
        (("direct_traversal", "--anchors", 1, 7, 1, "--loop"), "--loop adds it again"),
        (("graph_traversal", "--anchors", 7, 7), "names particle 7 twice in a row"),
        (("graph_traversal", "--anchors", 0, 1, "--avg-neighbors", 20), "must be positive"),
        (("graph_traversal", "--anchors", 0, 1, "--avg-neighbors", 1e-3), "no path leads"),
        (("graph_traversal", "--anchors", 0, 1, "--max-images", 0), "must be at least 1"),
    ],
)
def test_impossible_paths_end_in_one_sentence(
    fail, z_path, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    assert message in fail(words[0], z_path, *words[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["z.pkl"]
