"""Shapes are checked in every test, of the first calls and of some of the others."""

import pytest
import torch
from jaxtyping import TypeCheckError

import shape_checks
from cryodrgn.geometry.rotations import rotation_from_vector
from cryodrgn.imaging.ctf import CtfParameters


def wrong():
    with pytest.raises(TypeCheckError):
        rotation_from_vector(torch.ones(2, 4))


def test_wrong_shapes_are_refused_at_the_first_call_of_a_test():
    wrong()


def test_wrong_shapes_are_refused_again_after_many_right_ones():
    for _ in range(shape_checks.THEN_ONE_OF):
        rotation_from_vector(torch.ones(2, 3))
    wrong()
    shape_checks.begin_test()
    wrong()


def test_fields_of_data_are_checked():
    with pytest.raises(TypeCheckError):
        CtfParameters(**dict.fromkeys(CtfParameters.__dataclass_fields__, "no tensor"))
