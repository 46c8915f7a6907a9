import numpy as np
from sklearn.metrics import adjusted_rand_score

from cryodrgn.analysis.communities import find_communities


def test_communities_are_the_groups_whatever_their_shape_and_order(rng):
    angle = rng.uniform(0, 2 * np.pi, 400)
    ring = 20 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    blobs = np.array([[0.0, 0.0], [60.0, 0.0]])[rng.integers(0, 2, 600)]
    noise = rng.normal(scale=0.5, size=(1000, 2))
    points = (np.concatenate([blobs, ring]) + noise).astype(np.float32)
    truth = np.concatenate([blobs[:, 0] > 0, np.full(400, 2)]).astype(int)
    found = find_communities(points, num_neighbours=30, resolution=0.3)
    # The ring may be cut into arcs, but no community mixes groups.
    assert all(len(set(truth[found == n])) == 1 for n in set(found))
    assert len(set(found[truth == 0])) == len(set(found[truth == 1])) == 1
    sizes = np.bincount(found)
    assert (np.diff(sizes) <= 0).all()
    order = rng.permutation(1000)
    again = find_communities(points[order], num_neighbours=30, resolution=0.3)
    assert adjusted_rand_score(again, found[order]) > 0.8


def test_the_same_seed_gives_the_same_communities_and_more_resolution_gives_more(rng):
    points = rng.normal(size=(500, 4)).astype(np.float32)
    first = find_communities(points, seed=3)
    np.testing.assert_array_equal(first, find_communities(points, seed=3))
    assert find_communities(points, resolution=4).max() > first.max()
