"""Points of a volume's transform that an image samples: its central slice."""

import torch
from jaxtyping import Float
from torch import Tensor


def slice_coordinates(
    grid: Float[Tensor, "points 2"], rotations: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, "batch points 3"]:
    """Rotate the in-plane frequencies of an image into the volume's frame.

    By the projection-slice theorem, the transform of a projection taken along the third
    row of ``rotations`` equals the volume's transform on these points, q = Rᵀ (kx, ky, 0).

    Args:
        grid: ``(kx, ky)`` in the image plane, any unit.
        rotations: Rotation matrices taking the volume's frame to the image's.

    Returns:
        ``(kx, ky, kz)`` in the volume's frame, in the unit of ``grid``.
    """
    return torch.einsum("pi,bij->bpj", grid, rotations[:, :2, :])
