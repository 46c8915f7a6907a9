import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryodrgn.geometry.conventions import (
    matrices_from_cryosparc_poses,
    matrices_from_relion_angles,
    relion_angles_from_matrices,
)

angles = st.tuples(st.floats(-360, 360), st.floats(0, 180), st.floats(-360, 360))


def test_relion_matrix_of_the_recorded_angles():
    # Recorded with RELION's own convention, reference.md §2.4.
    expected = [
        [0.90571941, 0.21306972, 0.36643367],
        [-0.27142096, 0.95553406, 0.11526193],
        [-0.32558103, -0.20385275, 0.92327734],
    ]
    matrix = matrices_from_relion_angles(np.array([[-147.9485, 22.58999, 162.539]]))[0]
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


@given(angles)
def test_relion_matrix_is_the_transpose_of_scipys_intrinsic_zyz(triple):
    expected = Rotation.from_euler("ZYZ", triple, degrees=True).as_matrix().T
    matrix = matrices_from_relion_angles(np.array([triple]))[0]
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


@given(angles)
def test_angles_read_from_a_matrix_give_the_matrix_back(triple):
    matrices = matrices_from_relion_angles(np.array([triple]))
    again = matrices_from_relion_angles(relion_angles_from_matrices(matrices))
    np.testing.assert_allclose(again, matrices, atol=2e-6)


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_cryosparc_pose_is_the_transpose_of_scipys_rotation_vector(vector):
    expected = Rotation.from_rotvec(vector).as_matrix().T
    matrix = matrices_from_cryosparc_poses(np.array([vector]))[0]
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


def test_no_rotation_in_cryosparc_is_the_identity():
    np.testing.assert_array_equal(matrices_from_cryosparc_poses(np.zeros((1, 3)))[0], np.eye(3))
