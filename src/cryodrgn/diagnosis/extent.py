"""Radius of the molecule, from half maps."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.shells import shell_numbers

# Half maps of noise agree by far less.
LEAST_AGREEMENT = 0.3


def density_radius(
    half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]],
) -> float | None:
    """Radius to which half maps agree, as a fraction of half the box.

    On every spherical shell of voxels the correlation of the half maps is taken; density is
    seen by both, noise by one.

    Args:
        half_maps: Maps of two halves of the images.

    Returns:
        The radius of the outermost shell on which they agree; None if they agree on none.
    """
    first, second = (volume.double().flatten() for volume in half_maps)
    box_size = len(half_maps[0])
    shells = shell_numbers(box_size).flatten()

    def sums(values: Tensor) -> Tensor:
        return torch.bincount(shells, values)[: box_size // 2]

    power = (sums(first.square()) * sums(second.square())).sqrt()
    agreeing = torch.nonzero(sums(first * second) > LEAST_AGREEMENT * power)
    return None if len(agreeing) == 0 else min(1.0, (int(agreeing[-1]) + 1) / (box_size // 2))
