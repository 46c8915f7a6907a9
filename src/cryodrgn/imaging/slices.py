"""Points of a volume's transform that an image samples: its central slice."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.geometry.symmetry import canonical_name, point_group


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


def mates_of(name: str, device: torch.device) -> Float[Tensor, "mates 3 3"] | None:
    """The rotations of a point group as a tensor; None for C1, in which there is no other."""
    if canonical_name(name) == "C1":
        return None
    return torch.from_numpy(point_group(name)).float().to(device)
