"""Rotations as tensors: random ones, other parameters of them, and the angle between two."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def random_rotations(count: int, generator: torch.Generator) -> Float[Tensor, "count 3 3"]:
    """Rotations drawn uniformly (Haar measure), from normalised Gaussian quaternions."""
    quaternions = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return rotation_from_quaternion(quaternions).float()


def rotation_about_x(angle: float) -> Float[Tensor, "3 3"]:
    """Right-handed rotation about the x axis, angle in radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])


def rotation_about_y(angle: float) -> Float[Tensor, "3 3"]:
    """Right-handed rotation about the y axis, angle in radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def rotation_about_z(angle: float) -> Float[Tensor, "3 3"]:
    """Right-handed rotation about the z axis, angle in radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def rotation_from_vector(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Right-handed rotation about an axis, given as axis times angle in radians.

    Rodrigues' formula, R = I + sin θ/θ [v]ₓ + (1 − cos θ)/θ² [v]ₓ².
    """
    angle = vector.norm(dim=-1)[..., None, None]
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    cross = rows.unflatten(-1, (3, 3))
    first = torch.sinc(angle / torch.pi)
    second = torch.sinc(angle / (2 * torch.pi)).square() / 2
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + first * cross + second * (cross @ cross)


def rotation_from_quaternion(
    quaternion: Float[Tensor, "*batch 4"],
) -> Float[Tensor, "*batch 3 3"]:
    """Rotation of a quaternion (x, y, z, w) of any length but 0."""
    x, y, z, w = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    entries = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def quaternion_from_rotation(
    rotation: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (x, y, z, w) of a rotation.

    A row of the matrix 4 q qᵀ, which is linear in the rotation, divided by its length: the one
    with the largest diagonal element (Markley, J. Guid. Control Dyn. 31, 440, 2008).
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    entries = [
        *(1 + a - e - i, b + d, c + g, h - f),
        *(b + d, 1 - a + e - i, f + h, c - g),
        *(c + g, f + h, 1 - a - e + i, d - b),
        *(h - f, c - g, d - b, 1 + a + e + i),
    ]
    products = torch.stack(entries, dim=-1).unflatten(-1, (4, 4))
    largest = products.diagonal(dim1=-2, dim2=-1).argmax(-1)
    chosen = largest[..., None, None].expand(*largest.shape, 1, 4)
    return torch.nn.functional.normalize(products.gather(-2, chosen)[..., 0, :], dim=-1)


def orthonormal_columns(
    matrix: Float[Tensor, "*batch 3 columns"],
) -> Float[Tensor, "*batch 3 3"]:
    """The rotation whose first two columns are those of a matrix after Gram and Schmidt."""
    first = torch.nn.functional.normalize(matrix[..., 0], dim=-1)
    left = matrix[..., 1] - (first * matrix[..., 1]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(left, dim=-1)
    third = torch.linalg.cross(first, second, dim=-1)
    return torch.stack([first, second, third], dim=-1)


def nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation R with the least |R − M| (orthogonal Procrustes problem with det R = 1)."""
    left, _, right = torch.linalg.svd(matrix)
    signs = torch.ones_like(matrix[..., 0])
    signs[..., 2] = torch.linalg.det(left @ right).sign()
    return left * signs[..., None, :] @ right


def rotation_distance(
    first: Float[Tensor, "batch 3 3"], second: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, " batch"]:
    """Angle θ in radians of the rotation that takes ``first`` to ``second``.

    |R − R'| = 2 √2 sin(θ/2), which is exact for small angles, too.
    """
    chord = torch.linalg.matrix_norm(second - first)
    return 2 * torch.asin((chord / math.sqrt(8)).clamp_max(1))
