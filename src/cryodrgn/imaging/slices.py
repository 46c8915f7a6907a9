"""Points of a volume's transform that an image samples: its central slice."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.geometry.point_groups import canonical_name
from cryodrgn.geometry.symmetry import point_group


def slice_coordinates(
    grid: Float[Tensor, "points 2"],
    axes: Float[Tensor, "batch axes 3"],
    limit: float | Float[Tensor, ""] | None = None,
) -> Float[Tensor, "batch points 3"]:
    """Rotate the in-plane frequencies of an image into the volume's frame.

    By the projection-slice theorem, the transform of a projection taken along the third
    row of a rotation R equals the volume's transform on these points, q = Rᵀ (kx, ky, 0).

    Args:
        grid: ``(kx, ky)`` in the image plane, any unit.
        axes: Rotation matrices taking the volume's frame to the image's, or what
            :func:`slice_axes` makes of them: only their first two rows count.
        limit: Radius up to which the volume is known, in the unit of ``grid``; None takes
            the outermost of ``grid``, which may be only the inner ones of the images.

    Returns:
        ``(kx, ky, kz)`` in the volume's frame, in the unit of ``grid``; those of magnified
        images that lie beyond the limit are drawn back to it.
    """
    points = torch.einsum("pi,bij->bpj", grid, axes[:, :2, :])
    if axes.shape[1] == 3 or not len(grid):
        return points
    # A magnified slice reaches beyond the known frequencies, where images have no weight.
    limit = (1 - 1e-6) * (grid.norm(dim=-1).max() if limit is None else limit)
    return points * (limit / points.norm(dim=-1, keepdim=True).clamp_min(limit))


def slice_axes(
    rotations: Float[Tensor, "*batch 3 3"], magnifications: Float[Tensor, "*batch 2 2"] | None
) -> Float[Tensor, "*batch axes 3"]:
    """Vectors in the volume's frame along which the frequencies kx and ky of images count.

    They are the first two rows of the rotation, those of Mᵀ times these if an image is
    magnified: at k it shows what an image without distortion shows at M k.

    Args:
        rotations: From the volume's frame to the image's.
        magnifications: The matrices M; None where all are 1.
    """
    if magnifications is None:
        return rotations
    return magnifications.mT @ rotations[..., :2, :]


def magnified(
    frequencies: Float[Tensor, "#batch points 2"],
    magnifications: Float[Tensor, "batch 2 2"] | None,
) -> Float[Tensor, "#batch points 2"]:
    """Frequencies M k at which images show what one without distortion shows.

    Args:
        frequencies: The frequencies k of the images.
        magnifications: The matrices M; None where all are 1.
    """
    return frequencies if magnifications is None else frequencies @ magnifications.mT


def mates_of(name: str, device: torch.device) -> Float[Tensor, "mates 3 3"] | None:
    """The rotations of a point group as a tensor; None for C1, in which there is no other."""
    if canonical_name(name) == "C1":
        return None
    return torch.from_numpy(point_group(name)).float().to(device)
