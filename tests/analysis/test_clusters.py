import re

import numpy as np
import pytest

from cryodrgn.analysis.clusters import cluster_by_means, similarity_order
from cryodrgn.analysis.embedding import umap_embedding
from cryodrgn.errors import ConfigError


@pytest.fixture
def blobs(rng):
    centres = np.array([[0, 0], [30, 0], [10, 0], [20, 0]])
    truth = np.repeat(np.arange(4), [50, 40, 30, 20])
    return centres[truth] + rng.normal(size=(140, 2)), truth


def test_clusters_find_separate_groups_in_the_order_of_a_line(blobs):
    points, truth = blobs
    clusters = cluster_by_means(points.astype(np.float32), 4)
    # Every true group is one cluster, and their order along the line is kept or reversed.
    sizes = clusters.sizes.tolist()
    assert sizes in ([50, 30, 20, 40], [40, 20, 30, 50])
    for group in range(4):
        assert len(np.unique(clusters.labels[truth == group])) == 1
    assert (clusters.labels[clusters.particles] == np.arange(4)).all()
    np.testing.assert_array_equal(
        points.astype(np.float32)[clusters.particles], clusters.centres
    )


def test_central_particles_are_nearest_to_the_mean_of_their_cluster(blobs):
    points, _ = blobs
    clusters = cluster_by_means(points, 4)
    for number, particle in enumerate(clusters.particles):
        members = points[clusters.labels == number]
        distances = np.linalg.norm(members - members.mean(0), axis=1)
        own = np.linalg.norm(points[particle] - members.mean(0))
        assert own == pytest.approx(distances.min())


def test_the_same_seed_gives_the_same_clusters(blobs):
    first, second = (cluster_by_means(blobs[0], 7, seed=3).labels for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_clusters_need_different_particles():
    with pytest.raises(ConfigError, match="3 clusters need as many different latents"):
        cluster_by_means(np.repeat([[0.0], [1.0]], 50, axis=0), 3)
    for count in (0, -1, 2.5, True, "2"):
        with pytest.raises(ConfigError, match=f"whole number of at least 1, got {count!r}"):
            cluster_by_means(np.zeros((5, 1)), count)
    assert len(cluster_by_means(np.arange(8.0)[:, None], np.int64(2)).sizes) == 2


def test_similar_points_stand_beside_one_another(rng):
    points = rng.permutation(np.arange(12.0))[:, None]
    order = points[similarity_order(points), 0]
    assert (np.abs(np.diff(order)) == 1).all()


def test_too_few_particles_for_a_map_are_refused():
    with pytest.raises(ConfigError, match="at least 4 particles"):
        umap_embedding(np.zeros((3, 4), np.float32))


@pytest.mark.slow
def test_a_map_keeps_groups_apart_and_places_what_it_was_not_fitted_to(
    rng, caplog, monkeypatch
):
    caplog.set_level("INFO")
    monkeypatch.setattr("cryodrgn.progress.SECONDS_BETWEEN_LINES", 0)
    truth = np.repeat([0, 1], 60)
    points = (rng.normal(size=(120, 3)) + 20 * truth[:, None]).astype(np.float32)
    first, second = (umap_embedding(points, 1, fitted_at_most=80) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    middles = [first[truth == group].mean(0) for group in (0, 1)]
    nearest = np.argmin([np.linalg.norm(first - middle, axis=1) for middle in middles], axis=0)
    assert (nearest == truth).all()
    # Long maps tell how far they are, outside of terminals too.
    line = re.compile(r"embedding: \d+ of 500 epochs \(\d+ %\), \d\d:\d\d left")
    assert any(line.fullmatch(message) for message in caplog.messages)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_latents_that_cannot_be_told_apart_make_no_empty_cluster():
    points = np.array([[0.0], [1e-30], [1.0]], np.float32)
    with pytest.raises(ConfigError, match="3 clusters need as many different latents"):
        cluster_by_means(points, 3)
