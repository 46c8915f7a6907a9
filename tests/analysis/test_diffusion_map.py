import numpy as np
import pytest

from cryodrgn.analysis.diffusion_map import diffusion_map
from cryodrgn.errors import ShapeMismatchError


def test_functions_on_a_circle_are_its_harmonics(rng):
    angle = rng.uniform(0, 2 * np.pi, 1500)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    found = diffusion_map(circle, 4)
    assert len(found.landmarks) == 1500
    waves = np.stack([f(k * angle) for k in (1, 2) for f in (np.cos, np.sin)], axis=1)
    basis, _ = np.linalg.qr(waves - waves.mean(0))
    functions = found.values - found.values.mean(0)
    explained = np.square(basis.T @ functions).sum(0) / np.square(functions).sum(0)
    assert explained.min() > 0.95


def test_separate_clusters_are_all_told_apart(rng):
    labels = rng.integers(5, size=2000)
    centres = 10 * rng.normal(size=(5, 3))
    points = (centres[labels] + 0.2 * rng.normal(size=(2000, 3))).astype(np.float32)
    found = diffusion_map(points, 4)
    means = np.stack([found.values[labels == cluster].mean(0) for cluster in range(5)])
    within = np.mean([found.values[labels == cluster].std(0).max() for cluster in range(5)])
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1) + 10 * np.eye(5)
    assert apart.min() > 5 * within
    assert np.linalg.svd(means - means.mean(0), compute_uv=False)[3] > 0.5


def test_what_images_do_not_tell_apart_is_near(rng):
    points = rng.normal(size=(300, 2)).astype(np.float32)
    found = diffusion_map(points, 2, covariance=np.diag([0.01, 4.0]).astype(np.float32))
    spread = found.landmarks.std(0)
    assert spread[0] > 10 * spread[1]


def test_too_few_points_are_refused(rng):
    with pytest.raises(ShapeMismatchError, match="need more than 30 particles, got 20"):
        diffusion_map(rng.normal(size=(20, 2)).astype(np.float32), 4)
