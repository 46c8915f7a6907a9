"""Particles that are listed several times count once, wherever something is counted."""

import numpy as np
import pytest

from cryodrgn.particles.copies import (
    bootstrap_weights,
    chosen_at_random,
    copies_per_particle,
    first_rows,
    mean_of_copies,
    number_of_different,
    shuffled,
    standard_error,
    sums_over_copies,
)

NUMBERS = np.array([4, 4, 0, 9, 9, 9])


@pytest.fixture
def twice(rng):
    """Values of 50 particles, and rows that list each of them three times in any order."""
    values = rng.normal(size=50)
    rows = rng.permutation(np.repeat(np.arange(50), 3))
    return values, rows


def test_means_are_over_all_rows_of_each_particle():
    values = np.array([1.0, 2, 3, 5, 7, 10])
    assert mean_of_copies(values, NUMBERS).tolist() == [3, 1.5, 22 / 3]
    assert mean_of_copies(np.stack([values, -values], 1), NUMBERS).shape == (3, 2)
    np.testing.assert_array_equal(mean_of_copies(values, np.arange(6)), values)
    assert sums_over_copies(values, NUMBERS).tolist() == [3, 3, 22]


def test_the_error_of_a_mean_is_that_of_the_set_without_copies(twice):
    values, rows = twice
    plain = standard_error(values)
    assert plain == pytest.approx(values.std() / np.sqrt(50), rel=1e-12)
    assert standard_error(values[rows], rows) == pytest.approx(plain, rel=1e-12)
    assert standard_error(values[rows]) < 0.6 * plain


def test_particles_are_counted_and_stand_where_they_are_first():
    assert number_of_different(NUMBERS, 6) == 3
    assert number_of_different(None, 6) == 6
    assert copies_per_particle(NUMBERS) == 2
    assert first_rows(NUMBERS).tolist() == [0, 2, 3]


def test_particles_are_drawn_with_all_of_their_copies(twice, rng):
    _, rows = twice
    chosen = chosen_at_random(rng, rows, len(rows), 30)
    assert len(chosen) == 30
    assert len(np.unique(chosen)) == 30
    drawn = np.unique(rows[chosen])
    np.testing.assert_array_equal(np.sort(chosen), np.flatnonzero(np.isin(rows, drawn)))


def test_bootstraps_draw_particles_and_not_rows(twice):
    values, rows = twice
    order = rows[first_rows(rows)]
    plain = bootstrap_weights(np.random.default_rng(1), None, 50, 400) @ values[order]
    copied = bootstrap_weights(np.random.default_rng(1), rows, len(rows), 400) @ values[rows]
    np.testing.assert_allclose(copied, plain, atol=1e-12)
    as_rows = bootstrap_weights(np.random.default_rng(1), None, len(rows), 400) @ values[rows]
    assert as_rows.std() < 0.7 * plain.std()


def test_shuffles_give_copies_of_one_particle_those_of_one_other(twice):
    _, rows = twice
    order = shuffled(np.random.default_rng(1), rows, len(rows))
    assert sorted(order.tolist()) == list(range(len(rows)))
    other = rows[order]
    assert all(len(np.unique(other[rows == number])) == 1 for number in range(50))


@pytest.mark.parametrize("draw", [shuffled, lambda *given: chosen_at_random(*given, 20)])
def test_without_copies_the_draws_are_those_of_rows(draw):
    plain, numbered = (
        draw(np.random.default_rng(3), numbers, 50) for numbers in (None, np.arange(50))
    )
    np.testing.assert_array_equal(plain, numbered)
