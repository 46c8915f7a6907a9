"""A set and the same set listed several times say the same, and are as sure of it."""

import numpy as np
import pytest

from cryodrgn.analysis.density import conformational_density
from cryodrgn.analysis.landscape import particle_density
from cryodrgn.analysis.shares import fit_shares, share_dependences
from cryodrgn.analysis.stable_states import stable_states
from cryodrgn.diagnosis.nuisance import nuisance_scores
from cryodrgn.errors import ConfigError

COPIES = 3


@pytest.fixture(scope="module")
def latents():
    rng = np.random.default_rng(0)
    centres = np.where(rng.random(400) < 0.3, -1.2, 0.8)
    return (centres + 0.35 * rng.normal(size=400))[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    return np.repeat(np.arange(400), COPIES)


def covariances_of(latents):
    return np.full((len(latents), 1, 1), 0.1, np.float32)


def test_shares_and_their_intervals_are_those_of_the_set(latents, rows):
    starts, blurs = np.array([[-1.0], [1.0]]), covariances_of(latents)
    once = fit_shares(latents, blurs, starts, 0.3)
    copied = fit_shares(latents[rows], blurs[rows], starts, 0.3, rows)
    np.testing.assert_allclose(copied.values, once.values, rtol=1e-6)
    np.testing.assert_allclose(copied.interval(), once.interval(), rtol=1e-4)
    assert copied.information_criterion == pytest.approx(once.information_criterion, rel=1e-6)
    as_rows = fit_shares(latents[rows], blurs[rows], starts, 0.3)
    widths = [np.ptp(shares.interval(), axis=0) for shares in (once, as_rows)]
    assert (widths[1] < 0.65 * widths[0]).all()


def test_shares_depend_on_a_nuisance_as_in_the_set(latents, rows):
    shares = fit_shares(latents, covariances_of(latents), np.array([[-1.0], [1.0]]), 0.3)
    nuisance = latents + np.random.default_rng(1).normal(size=latents.shape) * 8
    (once,) = share_dependences(shares.memberships, {"tilt": nuisance})
    (copied,) = share_dependences(shares.memberships[rows], {"tilt": nuisance[rows]}, rows)
    assert copied.chance == pytest.approx(once.chance, rel=1e-6)
    assert 1e-6 < once.chance < 0.5


def test_densities_and_stable_states_are_those_of_the_set(latents, rows):
    covariances = covariances_of(latents)
    once = conformational_density(latents, covariances)
    copied = conformational_density(latents[rows], covariances[rows], numbers=rows)
    assert copied.smoothing == once.smoothing
    pairs = zip((copied.values, *copied.band([0])), (once.values, *once.band([0])), strict=True)
    for ours, theirs in pairs:
        # Grids end at quantiles, which are not quite those of the set.
        there = np.interp(once.axes[0], copied.axes[0], ours)
        np.testing.assert_allclose(there, theirs, atol=5e-3 * once.values.max())
    states = stable_states(once, latents, covariances).states
    found = stable_states(copied, latents[rows], covariances[rows], numbers=rows).states
    assert len(found) == len(states) == 2
    for ours, theirs in zip(found, states, strict=True):
        np.testing.assert_allclose(ours.interval, theirs.interval, atol=2e-3)
        np.testing.assert_allclose(ours.depth_band, theirs.depth_band, rtol=0.02)


def test_copies_do_not_make_a_density_of_too_few_particles(latents):
    few = np.repeat(np.arange(40), COPIES)
    with pytest.raises(ConfigError, match="at least 50 particles, got 40"):
        conformational_density(latents[few], None, numbers=few)


def test_the_band_of_a_particle_density_is_that_of_the_set(rng):
    places, rows = rng.normal(size=(500, 2)), np.repeat(np.arange(500), COPIES)
    once = particle_density(places, bins=8, samples=400)
    copied = particle_density(places[rows], bins=8, samples=400, numbers=rows)
    as_rows = particle_density(places[rows], bins=8, samples=400)
    np.testing.assert_allclose(copied.density, once.density, rtol=1e-9)
    width, copied_width, row_width = (
        float((one.high - one.low).mean()) for one in (once, copied, as_rows)
    )
    assert copied_width == pytest.approx(width, rel=0.05)
    assert row_width < 0.7 * width


def test_a_nuisance_explains_no_more_by_chance_than_in_the_set(rng):
    latents, nuisance = rng.normal(size=(300, 1)), rng.normal(size=(300, 4))
    rows = np.repeat(np.arange(300), COPIES)
    (once,) = nuisance_scores(latents, {"view": nuisance})
    (copied,) = nuisance_scores(latents[rows], {"view": nuisance[rows]}, numbers=rows)
    for name in ("explained", "baseline", "baseline_deviation"):
        np.testing.assert_allclose(getattr(copied, name), getattr(once, name), atol=1e-3)
