"""In-plane rotation of images in Fourier space."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import images_from_lattice, transform_on_lattice


def rotate_in_plane(
    transforms: Float[Tensor, "batch points 2"],
    lattice: HalfPlaneFrequencies,
    angles: Float[Tensor, " batch"],
) -> Float[Tensor, "batch points 2"]:
    """Transforms of images turned about the middle of the box, bilinear between pixels.

    Args:
        transforms: On the lattice, zero elsewhere.
        lattice: Where they are given.
        angles: In radians, from the axis x to y. What comes in from outside is the mirror
            image of what is inside, so that noise stays what it is.
    """
    images = images_from_lattice(transforms, lattice)[:, None]
    cosine, sine = angles.cos(), angles.sin()
    backwards = torch.stack([cosine, sine, -sine, cosine], dim=-1).view(-1, 2, 2)
    box_size = lattice.box_size
    # Of an even box the middle stands half a pixel beyond the middle of torch's coordinates.
    axis = (torch.arange(box_size, device=images.device) - box_size // 2) * (2 / box_size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    places = torch.stack([x, y], dim=-1).flatten(0, 1) @ backwards.mT
    places = places.view(len(images), box_size, box_size, 2) + 1 / box_size
    turned = torch.nn.functional.grid_sample(
        images, places, padding_mode="reflection", align_corners=False
    )
    return transform_on_lattice(turned[:, 0], lattice)
