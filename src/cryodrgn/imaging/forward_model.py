"""The image of a particle: slice of its volume, times CTF, weight and contrast."""

from jaxtyping import Float
from torch import Tensor


def transfer_function(
    ctf: Float[Tensor, "images points"] | None,
    weights: Float[Tensor, "images points"] | None,
) -> Float[Tensor, "images points"] | None:
    """Factor on the transform of a projection in the image: CTF times weight.

    Args:
        ctf: Contrast transfer function; None is 1.
        weights: How dose and tilt weaken the signal; None is 1.
    """
    if ctf is None or weights is None:
        return weights if ctf is None else ctf
    return ctf * weights


def predict(
    slices: Float[Tensor, "images points 2"],
    transfer: Float[Tensor, "images points"] | None,
    contrast: Float[Tensor, " images"] | None = None,
) -> Float[Tensor, "images points 2"]:
    """Images without noise: contrast × transfer × slice.

    Args:
        slices: Values of the volumes' transforms on the images' points.
        transfer: See :func:`transfer_function`; None is 1.
        contrast: Of every image; None is 1.
    """
    images = slices if transfer is None else slices * transfer[..., None]
    return images if contrast is None else images * contrast[:, None, None]
