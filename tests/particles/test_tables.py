import numpy as np
import pytest

from cryodrgn.errors import MetadataError, ShapeMismatchError
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.poses import Poses
from cryodrgn.particles.selection import check_indices


def poses(rotations, shifts=None):
    rotations = np.asarray(rotations, dtype=np.float32)
    shifts = np.zeros((len(rotations), 2), np.float32) if shifts is None else shifts
    return Poses(rotations=rotations, shifts=shifts, source="poses.pkl")


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), 1.1 * np.eye(3), np.diag([1, 1, -1])])
def test_matrices_that_are_no_rotations_are_refused(matrix):
    with pytest.raises(MetadataError, match=r"poses.pkl: the matrix of row 1 is no rotation"):
        poses([np.eye(3), matrix])


def test_poses_that_are_not_finite_are_refused():
    shifts = np.array([[0, 0], [0, np.inf]], dtype=np.float32)
    with pytest.raises(MetadataError, match=r"poses.pkl: the pose of row 1 is not finite"):
        poses([np.eye(3)] * 2, shifts)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("defocus_u", np.nan, "defocus_u of row 1 is nan, expected finite"),
        ("voltage_kv", 0.0, "voltage_kv of row 1 is 0.0, expected between 10 and 5000 kV"),
        ("amplitude_contrast", 1.0, "amplitude_contrast of row 1 is 1.0"),
    ],
)
def test_ctf_parameters_out_of_range_are_refused(field, value, words):
    names = (
        "defocus_u defocus_v defocus_angle voltage_kv spherical_aberration_mm "
        "amplitude_contrast phase_shift"
    )
    columns = {name: np.full(2, 0.5, np.float32) for name in names.split()}
    columns["voltage_kv"][:] = 300
    columns[field][1] = value
    with pytest.raises(MetadataError, match=f"ctf.pkl: {words}"):
        CtfTable(**columns, source="ctf.pkl")


def test_an_empty_selection_is_refused():
    with pytest.raises(ShapeMismatchError, match=r"ind.pkl selects no particles"):
        check_indices(np.array([], dtype=np.int64), 5, source="ind.pkl", of="p.mrcs")
