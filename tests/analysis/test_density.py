import numpy as np
import pytest

from cryodrgn.analysis.density import conformational_density, density_path, lifted
from cryodrgn.errors import ConfigError


def observed(truth, error, rng):
    """Posteriors under N(0, I) of latents that were measured with a known error."""
    variance = 1 / (1 + error**-2)
    measured = truth + error * rng.normal(size=truth.shape)
    mean = variance * error**-2 * measured
    covariance = np.broadcast_to(
        variance * np.eye(truth.shape[1]), (len(truth), *2 * (truth.shape[1],))
    )
    return mean.astype(np.float32), covariance.astype(np.float32)


def test_two_states_are_told_apart_where_a_histogram_shows_one(rng):
    truth = rng.choice([-1.0, 1.0], size=(4000, 1)) + 0.1 * rng.normal(size=(4000, 1))
    mean, covariance = observed(truth, 0.8, rng)
    found = conformational_density(mean, covariance, num_bootstraps=4)
    (axis,) = found.axes
    at = {z: found.values[np.abs(axis - z * 1.0).argmin()] for z in (-1, 0, 1)}
    assert min(at[-1], at[1]) > 1.5 * at[0]
    counts, _ = np.histogram(mean, bins=np.linspace(-1.2, 1.2, 9))
    assert counts[3:5].min() > 0.85 * counts.max()


def test_density_is_one_in_sum_and_its_bands_enclose_it(rng):
    mean, covariance = observed(rng.normal(size=(500, 2)) * [1.0, 0.5], 0.3, rng)
    found = conformational_density(mean, covariance, num_bootstraps=6)
    cell = np.prod([axis[1] - axis[0] for axis in found.axes])
    assert found.values.sum() * cell == pytest.approx(1, abs=1e-4)
    step = found.axes[0][1] - found.axes[0][0]
    assert found.marginal([0]).sum() * step == pytest.approx(1, abs=1e-4)
    low, high = found.band([0])
    dense = found.marginal([0]) > 0.3 * found.marginal([0]).max()
    inside = (low <= found.marginal([0])) & (found.marginal([0]) <= high)
    assert inside[dense].mean() > 0.7


def test_a_path_follows_the_ring_and_not_the_chord(rng):
    angle = rng.uniform(0, 2 * np.pi, 800)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ring += 0.05 * rng.normal(size=ring.shape)
    found = conformational_density(ring.astype(np.float32), None, num_bootstraps=2)
    path = density_path(found, np.array([1.0, 0.0]), np.array([-1.0, 0.0]))
    assert np.linalg.norm(path, axis=1).min() > 0.7
    np.testing.assert_allclose(path[[0, -1]], [[1, 0], [-1, 0]], atol=0.1)
    third = np.concatenate([ring, 5 * ring[:, :1]], axis=1)
    points = lifted(path, third, ring, 0.1)
    np.testing.assert_allclose(points[:, 2], 5 * path[:, 0], atol=0.7)


def test_more_than_four_dimensions_are_refused(rng):
    with pytest.raises(ConfigError, match="1 to 4 dimensions, got 5"):
        conformational_density(rng.normal(size=(50, 5)).astype(np.float32), None)


@pytest.mark.parametrize("count", [1, 3, 49])
def test_few_particles_make_no_density(rng, count):
    with pytest.raises(ConfigError, match=f"needs at least 50 particles, got {count}"):
        conformational_density(rng.normal(size=(count, 1)).astype(np.float32), None)


def test_latents_that_are_all_the_same_make_no_density(rng):
    latents = rng.normal(size=(60, 2)).astype(np.float32) * np.float32([1, 0])
    with pytest.raises(ConfigError, match="the same latent along dimension 2"):
        conformational_density(latents, None)
