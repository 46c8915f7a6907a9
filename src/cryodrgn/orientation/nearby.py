"""Comparison of images with slices and shifts around poses of their own.

On processors a compiled loop does it where numba is installed, torch everywhere else.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier import compiled as fourier_compiled
from cryodrgn.orientation import compiled
from cryodrgn.orientation.comparison import Observed, phases, shifted
from cryodrgn.orientation.slices import PADDING, Slices

# Images whose phases are held at once: enough to occupy some threads.
IMAGES_AT_ONCE = 64


def is_compiled(device: torch.device) -> bool:
    """True if slices on a device are compared by the compiled loop."""
    return fourier_compiled.IS_AVAILABLE and device.type == "cpu"


def best_of_shifts(
    slices: Slices,
    points: Float[Tensor, "points 2"],
    observed: Observed,
    rotations: Float[Tensor, "batch kept parts 3 3"],
    shifts: Float[Tensor, "batch kept 2"],
    steps: Float[Tensor, "steps 2"],
) -> tuple[Float[Tensor, "batch kept parts"], Int[Tensor, "batch kept parts"]]:
    """The gain of each slice at the best of the nearby shifts, and which of these it is.

    Gains are those of :func:`~cryodrgn.imaging.likelihood.log_likelihood_ratios`.

    Args:
        slices: The reference, of one map.
        points: (kx, ky) in cycles per box, within the radius of the slices.
        observed: The images, at these points.
        rotations: Slices that each image is compared with, several around each kept pose.
        shifts: (x, y) of the kept poses as fractions of the box.
        steps: Shifts that are tried, from there.
    """
    if not is_compiled(points.device):
        return _by_products(slices, points, observed, rotations, shifts, steps)
    # The loop looks at no borders.
    assert float(points.square().sum(-1).max()) <= slices.radius**2, "points beyond the slices"
    # Neighbours in a row of the slice find their voxels in the processor's cache.
    order = points[:, 0].argsort(stable=True)
    order = order[points[order, 1].argsort(stable=True)]
    points, turns = points[order], phases(points[order], steps)
    found = [
        compiled.best_of_shifts(
            *(slices.table, slices.grid.shape, PADDING * points, rotations[rows]),
            *(observed.images[rows][:, order], observed.weights[rows][:, order]),
            *(phases(points, shifts[rows]), turns),
        )
        for rows in torch.arange(len(shifts)).split(IMAGES_AT_ONCE)
    ]
    return torch.cat([gains for gains, _ in found]), torch.cat([which for _, which in found])


def _by_products(
    slices: Slices,
    points: Float[Tensor, "points 2"],
    observed: Observed,
    rotations: Float[Tensor, "batch kept parts 3 3"],
    shifts: Float[Tensor, "batch kept 2"],
    steps: Float[Tensor, "steps 2"],
) -> tuple[Float[Tensor, "batch kept parts"], Int[Tensor, "batch kept parts"]]:
    """Comparison with slices by products of matrices, where no compiled loop is available."""
    read = slices.at(points, rotations)[0]
    moved = shifted(observed.images, phases(points, shifts[:, :, None] + steps))
    overlap = read.flatten(3) @ moved.flatten(3).mT
    power = read.square().sum(-1).flatten(1, 2)
    cost = 0.5 * (power @ observed.weights[..., None]).view(overlap.shape[:3])
    values, which = overlap.max(-1)
    return values - cost, which
