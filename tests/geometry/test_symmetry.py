"""Point groups: they are groups, and their axes are where the conventions say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryodrgn.errors import ConfigError
from cryodrgn.geometry.point_groups import canonical_name
from cryodrgn.geometry.symmetry import point_group

ORDERS = {
    "C1": 1,
    "C4": 4,
    "D1": 2,
    "D2": 4,
    "D7": 14,
    "D7Y": 14,
    "T": 12,
    "O": 24,
    "I1": 60,
    "I2": 60,
    "I3": 60,
    "I4": 60,
}


def axes_of(name, order):
    """Directions about which the group has a rotation by 360° / order, both ways."""
    found = []
    for rotation in point_group(name):
        values, vectors = np.linalg.eig(rotation)
        angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
        if np.isclose(angle, 2 * np.pi / order, atol=1e-6):
            axis = np.real(vectors[:, np.argmin(np.abs(values - 1))])
            found += [axis, -axis]
    return np.array(found)


def has_axis(name, order, direction):
    direction = np.array(direction) / np.linalg.norm(direction)
    return bool((axes_of(name, order) @ direction > 1 - 1e-9).any())


def is_member(group, rotation):
    return np.abs(group - rotation).max((1, 2)).min() < 1e-9


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_rotations_are_a_group_of_the_right_order(name, order):
    group = point_group(name)
    assert len(group) == order
    np.testing.assert_array_equal(group[0], np.eye(3))
    np.testing.assert_allclose(
        group @ group.transpose(0, 2, 1), [np.eye(3)] * order, atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(group), 1)
    distances = np.abs(group[:, None] - group[None]).max((2, 3))
    assert (distances + 9 * np.eye(order)).min() > 1e-3
    products = group[:, None] @ group[None]
    # Every row and every column of the table of products is a permutation of the group.
    table = np.abs(products[:, :, None] - group[None, None]).max((3, 4))
    assert table.min(-1).max() < 1e-9
    numbers = np.sort(table.argmin(-1), axis=1)
    np.testing.assert_array_equal(numbers, [np.arange(order)] * order)


@given(st.integers(1, 40))
def test_axial_groups_turn_about_z_and_over_about_x_or_y(order):
    cyclic, dihedral = point_group(f"C{order}"), point_group(f"d{order}")
    assert len(dihedral) == 2 * len(cyclic) == 2 * order
    np.testing.assert_allclose(cyclic[:, 2], [[0, 0, 1]] * order, atol=1e-12)
    assert is_member(dihedral, np.diag([1, -1, -1]))
    assert is_member(point_group(f"D{order}Y"), np.diag([-1, 1, -1]))
    same = all(is_member(dihedral, rotation) for rotation in point_group(f"D{order}y"))
    assert same == (order % 2 == 0)


def test_axes_of_the_cubic_groups_are_those_of_the_conventions():
    assert has_axis("T", 3, [0, 0, 1])
    assert has_axis("T", 2, [0, 0.816496580, 0.577350269])
    for axis in np.eye(3):
        assert has_axis("O", 4, axis)
    assert has_axis("O", 3, [1, 1, 1])
    assert has_axis("O", 2, [1, 1, 0])


@pytest.mark.parametrize("name", ["I1", "I2"])
def test_icosahedra_of_the_222_setting_have_two_fold_axes_on_x_y_and_z(name):
    for axis in np.eye(3):
        assert has_axis(name, 2, axis)


def test_front_most_axes_of_icosahedra_are_in_the_plane_that_names_their_setting():
    golden = (1 + 5**0.5) / 2
    assert has_axis("I1", 5, [0, 1, golden])
    assert not has_axis("I1", 5, [1, 0, golden])
    assert has_axis("I2", 5, [1, 0, golden])
    # Three-fold axes stand in the other plane (Heymann et al. 2005).
    assert has_axis("I1", 3, [1 / golden, 0, golden])
    assert has_axis("I2", 3, [0, 1 / golden, golden])
    for name, sign in (("I3", -1), ("I4", 1)):
        assert has_axis(name, 5, [0, 0, 1])
        assert has_axis(name, 2, [0, 1, 0])
        assert has_axis(name, 5, [sign * 2, 0, 1])
        assert not has_axis(name, 5, [-sign * 2, 0, 1])


def test_names_are_read_in_any_case_and_relions_i_is_i2():
    assert [canonical_name(text) for text in ("c4", "d7", "D7y", "t", "i", "I", "i3")] == [
        *("C4", "D7", "D7Y", "T", "I2", "I2", "I3"),
    ]


@pytest.mark.parametrize("text", ["", "C", "C0", "C-2", "X3", "D", "I5", "T2", "C1000", "C4Y"])
def test_other_names_are_refused(text):
    with pytest.raises(ConfigError, match="there is no point group"):
        point_group(text)
