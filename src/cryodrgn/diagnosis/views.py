"""Averages of images seen from nearly the same direction, beside projections of a map."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.diagnosis.conventions import Convention
from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.geometry.so3_grid import So3Grid
from cryodrgn.kernels.projection import VolumeSlicer

MAX_IMAGES = 300


def view_averages(
    images: QuickImages,
    convention: Convention,
    volume: Float[Tensor, "box box box"],
    count: int = 6,
) -> tuple[Float[Tensor, "views box box"], Float[Tensor, "views box box"], list[int]]:
    """Averages of images in the most frequent directions of view, and projections there.

    Images are shifted, multiplied by their CTF and turned in their plane before they are
    added, as class averages are.

    Args:
        images: The images.
        convention: How to understand their poses.
        volume: The map to project.
        count: Number of directions; fewer are returned where all images are seen from fewer.

    Returns:
        Averages, projections, and the number of images in each average.
    """
    grid = So3Grid(0)
    frames = grid.rotations(torch.arange(0, len(grid), grid.num_turns))
    rotations = torch.from_numpy(
        convention.rotations(images.table.require_poses().rotations[images.rows])
    )
    nearest = (rotations[:, 2] @ frames[:, 2].T).argmax(1)
    members = torch.bincount(nearest, minlength=len(frames))
    chosen = members.argsort(descending=True)[:count]
    chosen = chosen[members[chosen] > 0]
    averages, numbers = [], []
    for view in chosen.tolist():
        places = torch.nonzero(nearest == view).squeeze(1)[:MAX_IMAGES].numpy()
        averages.append(_average(images, convention, places, frames[view]))
        numbers.append(int(members[view]))
    lattice = HalfPlaneFrequencies.disc(len(volume), images.radius)
    slices = VolumeSlicer(volume).slices(lattice, frames[chosen])
    return torch.stack(averages), images_from_lattice(slices, lattice), numbers


def _average(
    images: QuickImages,
    convention: Convention,
    places: Int[np.ndarray, " members"],
    frame: Float[Tensor, "3 3"],
) -> Float[Tensor, "box box"]:
    values, ctf, _ = images.model(places, convention)
    lattice = HalfPlaneFrequencies.disc(images.grid.box_size, images.radius)
    weighted = images_from_lattice(values * ctf[..., None], lattice)
    rotations = torch.from_numpy(
        convention.rotations(images.table.require_poses().rotations[images.rows[places]])
    )
    # In-plane part of frame · Rᵀ, which takes the image to the frame.
    product = torch.einsum("ij,bkj->bik", frame, rotations)
    angle = torch.atan2(
        product[:, 1, 0] - product[:, 0, 1], product[:, 0, 0] + product[:, 1, 1]
    )
    cosine, sine = angle.cos(), angle.sin()
    zero = torch.zeros_like(cosine)
    # Where a pixel of the result comes from: the inverse turn.
    rows = [torch.stack(row, 1) for row in ([cosine, sine, zero], [-sine, cosine, zero])]
    places_from = torch.nn.functional.affine_grid(
        torch.stack(rows, 1), [len(places), 1, *weighted.shape[1:]], align_corners=False
    )
    turned = torch.nn.functional.grid_sample(
        weighted[:, None], places_from, align_corners=False
    )
    return turned.mean(0)[0]
