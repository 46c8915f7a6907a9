"""Comparison of images with slices and shifts around poses of their own."""

from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.kernels.backends import kernels_for
from cryodrgn.orientation.comparison import WhitenedImages
from cryodrgn.orientation.slices import PADDING, Slices


def local_pose_search(
    slices: Slices,
    points: Float[Tensor, "points 2"],
    observed: WhitenedImages,
    axes: Float[Tensor, "batch kept parts axes 3"],
    shifts: Float[Tensor, "batch kept 2"],
    steps: Float[Tensor, "steps 2"],
) -> tuple[Float[Tensor, "batch kept parts"], Int[Tensor, "batch kept parts"]]:
    """The gain of each slice at the best of the nearby shifts, and which of these it is.

    Gains are those of :func:`~cryodrgn.imaging.likelihood.log_likelihood_ratios`.

    Args:
        slices: The reference, of one map.
        points: (kx, ky) in cycles per box, within the radius of the slices.
        observed: The images, at these points.
        axes: Of the slices that each image is compared with, several around each kept pose, see
            :func:`~cryodrgn.imaging.slices.slice_axes`.
        shifts: (x, y) of the kept poses as fractions of the box.
        steps: Shifts that are tried, from there.
    """
    return kernels_for(points.device).local_pose_search(
        slices.grid,
        slices.table,
        PADDING,
        points,
        observed.images,
        observed.weights,
        axes,
        shifts,
        steps,
    )
