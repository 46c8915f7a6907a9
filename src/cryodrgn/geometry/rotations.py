"""Rotations as tensors: random ones, about an axis, and the angle between two."""

import math

import roma
import torch
from jaxtyping import Float
from torch import Tensor


def random_rotations(count: int, generator: torch.Generator) -> Float[Tensor, "count 3 3"]:
    """Rotations drawn uniformly (Haar measure), from normalised Gaussian quaternions."""
    quaternions = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return roma.unitquat_to_rotmat(roma.quat_normalize(quaternions)).float()


def rotation_about_x(angle: float) -> Float[Tensor, "3 3"]:
    """Right-handed rotation about the x axis, angle in radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])


def rotation_from_vector(vector: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """Right-handed rotation about an axis, given as axis times angle in radians."""
    return roma.rotvec_to_rotmat(vector)


def rotation_distance(
    first: Float[Tensor, "batch 3 3"], second: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, " batch"]:
    """Angle in radians of the rotation that takes ``first`` to ``second``."""
    return roma.rotmat_geodesic_distance(first, second)
