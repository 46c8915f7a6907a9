import csv
import itertools

import numpy as np
import pytest

from cryodrgn.analysis.density import (
    ConformationalDensity,
    conformational_density,
    measured_latents,
)
from cryodrgn.analysis.density_plots import plot_density
from cryodrgn.analysis.even_motion import fit_even_motion
from cryodrgn.analysis.plots import save_figure
from cryodrgn.analysis.shares import (
    dependences_in_words,
    fit_shares,
    share_dependences,
    write_shares,
)
from cryodrgn.analysis.stable_states import (
    cluster_shares,
    stable_states,
    write_stable_states,
)


def measured(truth, errors):
    """Posteriors under N(0, I) of latents with known values and errors of measurement."""
    variances = 1 / (1 + errors**-2)
    means = truth * (variances * errors**-2)[:, None]
    covariances = variances[:, None, None] * np.eye(truth.shape[1])
    return means.astype(np.float32), covariances.astype(np.float32)


def two_states(rng, share, count=1500, apart=4.0, dimensions=1):
    """Latents of two states, the minor one at larger z, and which of them each is."""
    is_minor = rng.random(count) < share
    truth = 0.3 * rng.normal(size=(count, dimensions))
    truth[:, 0] += apart * (is_minor - share)
    scale = np.sqrt(share * (1 - share) * apart**2 + 0.09)
    errors = np.exp(0.3 * rng.normal(size=count)) / scale
    seen = truth / scale + errors[:, None] * rng.normal(size=truth.shape)
    return *measured(seen, errors), is_minor


def analytic(centres, weights, width=0.5, points=201):
    """A density of Gaussians on a line, its bootstrap samples the same."""
    axis = np.linspace(-4, 6, points)
    density = sum(
        weight * np.exp(-((axis - centre) ** 2) / (2 * width**2))
        for centre, weight in zip(centres, weights, strict=True)
    ) / (np.sqrt(2 * np.pi) * width)
    return ConformationalDensity(
        axes=(axis,), values=density, samples=np.stack([density] * 3), smoothing=0.1
    )


def test_depth_is_the_barrier_of_the_density_in_kt(rng):
    density = analytic((0.0, 3.0), (0.7, 0.3))
    latents = np.where(rng.random(2000) < 0.7, 0.0, 3.0) + 0.5 * rng.normal(size=2000)
    found = stable_states(density, latents[:, None].astype(np.float32), None)
    assert [state.place[0] for state in found.states] == pytest.approx([0, 3], abs=0.03)
    (axis,), values = density.axes, density.values
    valley = values[(axis > 0) & (axis < 3)].min()
    peaks = [values[(axis > low) & (axis < high)].max() for low, high in ((-1, 1), (2, 4))]
    depths = [state.depth or 0 for state in found.states]
    np.testing.assert_allclose(depths, np.log(np.array(peaks) / valley), rtol=1e-6)
    border = axis[(axis > 0) & (axis < 3)][values[(axis > 0) & (axis < 3)].argmin()]
    step = axis[1] - axis[0]
    integral = values[axis < border].sum() * step
    assert found.states[0].basin_share == pytest.approx(integral, abs=0.01)
    assert sum(state.basin_share for state in found.states) == pytest.approx(1, abs=1e-3)
    assert found.states[0].width[0] == pytest.approx(0.5, abs=0.05)
    assert found.states[1].free_energy == pytest.approx(np.log(0.7 / 0.3), abs=0.25)


def test_basins_part_a_plane_where_the_valley_is():
    axis = np.linspace(-3, 3, 31)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    wells = ((-1.5, -1.5), (1.5, 1.5), (1.5, -1.5))
    values = np.sum([np.exp(-((x - a) ** 2 + (y - b) ** 2)) for a, b in wells], axis=0)
    values = values / values.sum() / (axis[1] - axis[0]) ** 2
    density = ConformationalDensity(
        axes=(axis, axis), values=values, samples=np.stack([values] * 3), smoothing=0.1
    )
    rng = np.random.default_rng(0)
    latents = np.array(wells)[rng.integers(3, size=900)] + 0.5 * rng.normal(size=(900, 2))
    found = stable_states(density, latents.astype(np.float32), None)
    assert len(found.states) == 3
    for number, state in enumerate(found.states):
        near = (x - state.place[0]) ** 2 + (y - state.place[1]) ** 2 < 0.5
        assert set(found.basins[near]) == {number}
    assert np.bincount(found.basins.ravel()).min() > 200


@pytest.mark.parametrize("dimensions", [1, 2])
def test_one_state_is_not_split(rng, dimensions):
    errors = np.exp(0.3 * rng.normal(size=300))
    truth = rng.normal(size=(300, dimensions))
    seen = truth + errors[:, None] * rng.normal(size=truth.shape)
    latents, covariances = measured(seen, errors)
    density = conformational_density(latents, covariances, num_bootstraps=4)
    (state,) = stable_states(density, latents, covariances).states
    assert state.share == 1
    assert state.interval is None
    assert "%" not in state.in_words()
    assert state.depth is None


def shadow_of_a_motion(rng, count, dimensions, noise=0.3, half_angle=1.9):
    """Latents of a motion at an even pace along a bent curve, and their uncertainty."""
    angles = rng.uniform(-half_angle, half_angle, count)
    truth = np.stack([np.sin(angles), np.cos(angles)], axis=1)[:, :dimensions]
    truth = (truth - truth.mean(0)) / truth.std()
    errors = noise * np.exp(0.3 * rng.normal(size=count))
    return measured(truth + errors[:, None] * rng.normal(size=truth.shape), errors)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_motion_at_an_even_pace_has_no_stable_states(dimensions):
    """Its shadow on one component is densest at both ends, however many images there are."""
    rng = np.random.default_rng(3)
    latents, covariances = shadow_of_a_motion(rng, 1500, dimensions)
    density = conformational_density(latents, covariances, num_bootstraps=10)
    found = stable_states(density, latents, covariances)
    assert len(found.states) == 1
    assert found.states[0].depth is None
    if dimensions == 1:
        assert len(found.by_motion) == 2
        assert "one motion at an even pace" in found.in_words()[0]


def test_maxima_of_few_particles_are_within_noise():
    within = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        errors = 0.3 * np.exp(0.3 * rng.normal(size=400))
        truth = rng.uniform(-1.7, 1.7, (400, 1))
        seen = truth + errors[:, None] * rng.normal(size=truth.shape)
        latents, covariances = measured(seen, errors)
        density = conformational_density(latents, covariances, num_bootstraps=10, seed=seed)
        found = stable_states(density, latents, covariances, seed)
        assert len(found.states) == 1
        within += bool(found.by_chance) and "within noise" in found.in_words()[0]
    assert within >= 2


def test_an_even_motion_is_fitted_to_its_true_curve():
    latents, covariances = shadow_of_a_motion(np.random.default_rng(5), 1500, 2, noise=0.2)
    found = fit_even_motion(*measured_latents(latents, covariances))
    assert found.width < 0.15
    radius = np.linalg.norm(found.curve[1:], axis=1)
    angles = np.linspace(-found.half_angle, found.half_angle, 50)
    curve = found.curve[0] + np.outer(np.cos(angles), found.curve[1])
    curve = curve + np.outer(np.sin(angles), found.curve[2])
    truth = np.stack(
        [np.sin(np.linspace(-1.9, 1.9, 200)), np.cos(np.linspace(-1.9, 1.9, 200))], 1
    )
    truth = (truth - truth.mean(0)) / truth.std()
    gaps = np.linalg.norm(curve[:, None] - truth, axis=2).min(1)
    assert np.median(gaps) < 0.1
    assert radius.min() > 0.5


def test_shares_are_those_of_the_particles_and_not_of_the_smoothed_density():
    rng = np.random.default_rng(4)
    latents, covariances, is_minor = two_states(rng, 0.1, count=4000, apart=3.0)
    shares = cluster_shares(latents, covariances, is_minor.astype(int))
    assert shares.values[1] == pytest.approx(is_minor.mean(), abs=0.02)
    low, high = shares.interval()
    assert low[1] < 0.1 < high[1]
    assert 0.005 < high[1] - low[1] < 0.06
    energies, reach = shares.free_energies()
    assert energies[0] == reach[0] == 0
    assert energies[1] == pytest.approx(-np.log(shares.values[1] / shares.values[0]))
    wider = shares.interval(0.99)
    assert wider[0][1] < low[1]
    assert wider[1][1] > high[1]


def test_errors_of_shares_are_those_of_counting_where_states_are_far_apart(rng):
    """A binomial distribution's, if it is plain which particle is in which state."""
    count, share = 2000, 0.2
    truth = np.where(rng.random(count) < share, 50.0, 0.0)[:, None] + rng.normal(
        size=(count, 1)
    )
    blurs = np.full((count, 1, 1), 0.1)
    found = fit_shares(truth, blurs, np.array([[0.0], [50.0]]), 1.0)
    low, high = found.interval(0.6827)
    error = np.sqrt(found.values[1] * (1 - found.values[1]) / count)
    assert (high[1] - low[1]) / 2 == pytest.approx(error, rel=0.02)
    np.testing.assert_allclose(found.covariances.ravel(), 0.9 + 0.1, rtol=0.2)


@pytest.mark.parametrize("copies", [1, 3])
def test_the_fit_climbs_and_knows_its_optimum(rng, copies):
    latents, covariances, _ = two_states(rng, 0.4, count=300)
    labels = (latents[:, 0] > latents[:, 0].mean()).astype(int)
    rows = np.tile(np.arange(300), copies)
    found = cluster_shares(latents[rows], covariances[rows], labels[rows])
    once = cluster_shares(latents, covariances, labels)
    np.testing.assert_allclose(found.values, once.values, atol=1e-4)
    assert found.log_likelihood == pytest.approx(copies * once.log_likelihood, rel=1e-4)
    # The mean membership is the share: the likelihood has no slope along it.
    np.testing.assert_allclose(found.memberships.mean(0), found.values, atol=2e-3)


def test_shares_that_follow_views_are_said_to(rng):
    directions = rng.normal(size=(3000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    features = np.concatenate([directions, directions**2], axis=1)
    for slope, is_said in ((0.0, False), (0.2, True)):
        minor = rng.random(3000) < 0.25 + slope * directions[:, 2]
        certain = np.where(minor, 0.9, 0.1)
        memberships = np.stack([1 - certain, certain], axis=1)
        (found,) = share_dependences(memberships, {"view direction": features, "x": minor * 1})
        assert (found.chance < 1e-3) is is_said
        words = dependences_in_words([found])
        assert ("may have made them" in words) is is_said
    assert found.low < 0.7 < found.high
    assert "not known" in dependences_in_words([])


def test_a_test_of_views_has_the_chance_that_it_says():
    rng = np.random.default_rng(2)
    chances = []
    for _ in range(200):
        features = rng.normal(size=(400, 6))
        certain = rng.beta(0.5, 1.5, size=400)
        memberships = np.stack([certain, 1 - certain], axis=1)
        chances.append(share_dependences(memberships, {"v": features})[0].chance / 2)
    assert 0.02 < np.mean(np.array(chances) < 0.1) < 0.18


def test_states_are_written_and_drawn(rng, tmp_path, drawn):
    latents, covariances, _ = two_states(rng, 0.3, count=400, apart=5.0, dimensions=2)
    density = conformational_density(latents, covariances, num_bootstraps=4)
    found = stable_states(density, latents, covariances)
    write_stable_states(tmp_path / "states.csv", found)
    rows = list(csv.DictReader((tmp_path / "states.csv").read_text().splitlines()))
    assert [float(row["share"]) for row in rows] == pytest.approx([0.7, 0.3], abs=0.08)
    for row in rows:
        assert float(row["share_low"]) < float(row["share"]) < float(row["share_high"])
        assert float(row["depth_low_kt"]) <= float(row["depth_high_kt"])
    save_figure(plot_density(density, None, found.states), tmp_path / "density.png")
    assert (tmp_path / "density.png").stat().st_size > 20_000


@pytest.mark.slow
def test_intervals_cover_the_share_as_often_as_they_say():
    inside = []
    for seed, share in itertools.product(range(12), (0.05, 0.2, 0.5)):
        rng = np.random.default_rng([seed, round(100 * share)])
        latents, covariances, _ = two_states(rng, share, count=600, apart=3.5)
        density = conformational_density(latents, covariances, num_bootstraps=10, seed=seed)
        found = stable_states(density, latents, covariances)
        assert len(found.states) == 2
        low, high = max(found.states, key=lambda state: state.place[0]).interval
        inside.append(low <= share <= high)
    # 32 ± 2 of 36 sets are expected; benchmarks/shares.py has 100 of every share.
    assert 0.8 <= np.mean(inside) <= 0.98


def test_a_maximum_beyond_all_particles_is_no_state(rng, tmp_path):
    density = analytic((0.0, 4.0), (0.6, 0.4))
    latents = rng.uniform(-1, 1, size=(500, 1)).astype(np.float32)
    found = stable_states(density, latents, None)
    assert all(abs(state.place[0]) < 1 for state in found.states)
    beyond = stable_states(analytic((4.0,), (1.0,)), latents, None)
    assert beyond.states == []
    assert beyond.latents().size == 0
    write_stable_states(tmp_path / "states.csv", beyond, "noise")
    (row,) = csv.DictReader((tmp_path / "states.csv").read_text().splitlines())
    assert {name for name, cell in row.items() if cell} == {"remark"}
    assert row["remark"] == "noise"


def test_the_table_has_no_interval_of_a_single_state(rng, tmp_path):
    latents = 0.5 * rng.normal(size=(500, 1)).astype(np.float32)
    found = stable_states(analytic((0.0,), (1.0,)), latents, None)
    write_stable_states(tmp_path / "states.csv", found)
    write_shares(tmp_path / "shares.csv", found.shares, [0])
    for name in ("states.csv", "shares.csv"):
        (row,) = csv.DictReader((tmp_path / name).read_text().splitlines())
        assert row["share"] == "1"
        empty = {column for column, cell in row.items() if not cell}
        assert {"share_low", "share_high", "free_energy_error_kt"} <= empty
    assert found.shares.in_words() == ["one state"]
