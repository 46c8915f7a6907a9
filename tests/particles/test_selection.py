import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.particles.selection import (
    complement,
    positions_in,
    random_subset,
    rows_with_labels,
    to_original_rows,
)


@given(st.sets(st.integers(0, 30), min_size=1), st.integers(31, 40))
def test_a_selection_and_its_complement_are_everything(rows, count):
    rows = np.array(sorted(rows))
    others = complement(rows, count)
    assert sorted([*rows, *others]) == list(range(count))


def test_random_choices_are_those_of_numpys_old_generator():
    old = np.random.RandomState(7)
    expected = np.sort(old.choice(995, 100, replace=False))
    np.testing.assert_array_equal(random_subset(995, 100, 7), expected)
    for size in (0, 11):
        with pytest.raises(ShapeMismatchError, match="cannot be chosen out of 10"):
            random_subset(10, size, 0)


@given(st.permutations(range(20)), st.integers(1, 20))
def test_positions_in_a_filtered_table_lead_back_to_the_original_rows(order, size):
    parent = np.array(order[:size])
    places = np.arange(size)[::2]
    rows = to_original_rows(places, size, parent, num_original=20)
    np.testing.assert_array_equal(positions_in(rows, parent, source="table"), places)


def test_tables_that_do_not_belong_to_the_filter_are_refused():
    with pytest.raises(ShapeMismatchError, match="selects 2 particles, but the table has 3"):
        to_original_rows(np.array([0]), 3, np.array([5, 6]), source="ind.pkl")
    with pytest.raises(ShapeMismatchError, match="holds index 9"):
        to_original_rows(np.array([0]), 1, np.array([9]), num_original=9)
    with pytest.raises(ShapeMismatchError, match="give the indices by which"):
        to_original_rows(np.array([0]), 3, None, num_original=4)
    with pytest.raises(ShapeMismatchError, match="no row for particle 3"):
        positions_in(np.array([1, 3]), np.array([0, 1]), source="z.pkl")


def test_clusters_are_numbered_as_in_their_file():
    labels = np.array([0, 2, 1, 0])
    assert rows_with_labels(labels, [0, 2]).tolist() == [0, 1, 3]
    with pytest.raises(ShapeMismatchError, match="no particle is in cluster 3"):
        rows_with_labels(labels, [0, 3])
