import numpy as np
import pytest

from cryodrgn.analysis.selection import Candidates, outlier_scores
from cryodrgn.errors import ConfigError, ShapeMismatchError

ROWS = np.array([10, 12, 14, 16, 18])
COORDINATES = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [-9.0, 9.0]])


@pytest.fixture
def everyone():
    return Candidates.all_of(ROWS)


def test_selections_are_rows_of_the_original_file(everyone):
    labels = np.array([1, 0, 1, 2, 2])
    assert everyone.in_clusters(labels, [1]).chosen.tolist() == [10, 14]
    assert everyone.in_box(COORDINATES, 0, 0.0, 1.0).chosen.tolist() == [10, 12, 14]
    assert everyone.beyond(COORDINATES, 1.5).chosen.tolist() == [18]
    assert everyone.among(np.array([12, 16, 99])).chosen.tolist() == [12, 16]


def test_criteria_add_up_and_can_be_turned_round(everyone):
    inside = everyone.in_box(COORDINATES, 0, 0.0, 3.0)
    assert inside.in_box(COORDINATES, 1, 1.0, 9.0).chosen.tolist() == [14, 16]
    assert inside.inverted().chosen.tolist() == [18]
    assert sorted([*inside.chosen, *inside.inverted().chosen]) == ROWS.tolist()


def test_the_nearest_are_found_among_those_that_are_left(everyone):
    point = np.array([0.1, 0.1])
    assert everyone.nearest(COORDINATES, point, 2).chosen.tolist() == [10, 12]
    left = everyone.in_box(COORDINATES, 1, 1.0, 9.0)
    assert left.nearest(COORDINATES, point, 2).chosen.tolist() == [14, 16]


def test_random_choices_stay_among_those_that_are_left_and_repeat(everyone):
    left = everyone.in_box(COORDINATES, 0, 0.0, 3.0)
    chosen = left.sampled(3, 5).chosen
    assert len(set(chosen.tolist()) & set(left.chosen.tolist())) == 3
    np.testing.assert_array_equal(chosen, left.sampled(3, 5).chosen)


def test_scores_are_standard_deviations_of_the_length(rng):
    z = rng.normal(size=(500, 4))
    scores = outlier_scores(z)
    assert scores.mean() == pytest.approx(0, abs=1e-9)
    assert scores.std() == pytest.approx(1)
    assert scores.argmax() == np.linalg.norm(z, axis=1).argmax()


def test_tables_of_other_particles_and_impossible_wishes_are_refused(everyone):
    with pytest.raises(ShapeMismatchError, match="labels have 3 rows, but there are 5"):
        everyone.in_clusters(np.zeros(3, dtype=int), [0])
    with pytest.raises(ConfigError, match="axis 2 of `boxes` does not exist"):
        everyone.in_box(COORDINATES, 2, 0.0, 1.0)
    with pytest.raises(ConfigError, match="6 particles cannot be chosen out of the 5"):
        everyone.sampled(6, 0)
    with pytest.raises(ConfigError, match="the point has 3 coordinates"):
        everyone.nearest(COORDINATES, np.zeros(3), 1)
