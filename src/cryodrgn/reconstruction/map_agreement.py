"""Agreement of two maps: Fourier shell correlations under several masks."""

import logging

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.shells import (
    ShellCurve,
    fourier_shell_correlation,
    mask_corrected_fsc,
)
from cryodrgn.imaging.masks import soft_mask, soft_sphere

logger = logging.getLogger(__name__)

# Dilation and edge in Å of masks that follow from a map.
LOOSE_MASK, TIGHT_MASK = (25.0, 15.0), (6.0, 6.0)
# Of the resolution under the tight mask, where random phases begin.
SHARE_OF_RESOLUTION = 0.75
THRESHOLD = 0.143
NOT_REACHED = "not reached"
Maps = tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]]


def masked_curves(
    half_maps: Maps,
    reference: Float[Tensor, "box box box"],
    pixel_size: float,
    seed: int = 0,
    *,
    mask: Float[Tensor, "box box box"] | None = None,
    frequency: float | None = None,
) -> dict[str, ShellCurve]:
    """FSC of half maps without mask, in a ball, under masks of a map, and corrected.

    Args:
        half_maps: The maps.
        reference: The map from which the masks are made.
        pixel_size: Å/px.
        seed: Of the random phases of the correction.
        mask: A mask of one's own, for one curve more; the corrected curve is then its.
        frequency: Where random phases begin, in cycles per pixel; by default at three quarters
            of the resolution under the mask that is corrected for.

    Returns:
        Curves by name, in the order of what they leave out.
    """
    box_size = len(reference)
    masks = {
        "Spherical": soft_sphere(box_size, 0.85 * box_size / 2, 0.14 * box_size / 2),
        "Loose": _mask(reference, pixel_size, LOOSE_MASK),
        "Tight": _mask(reference, pixel_size, TIGHT_MASK),
    }
    if mask is not None:
        masks["Given"] = mask
    curves = {"NoMask": fourier_shell_correlation(*half_maps)}
    for name, one in masks.items():
        curves[name] = fourier_shell_correlation(half_maps[0] * one, half_maps[1] * one)
    corrected = "Tight" if mask is None else "Given"
    if frequency is None:
        crossing = curves[corrected].first_crossing(THRESHOLD)
        frequency = SHARE_OF_RESOLUTION * (crossing or 0.25)
    curves["Corrected"] = corrected_curve(half_maps, masks[corrected], frequency, seed)
    return curves


def corrected_curve(
    half_maps: Maps, mask: Float[Tensor, "box box box"], frequency: float, seed: int = 0
) -> ShellCurve:
    """FSC under a mask, freed of what the mask brings, see :func:`mask_corrected_fsc`.

    Args:
        half_maps: The maps.
        mask: The mask.
        frequency: Where random phases begin, in cycles per pixel.
        seed: Of the random phases.
    """
    first_shell = max(2, int(frequency * len(mask)))
    generator = torch.Generator().manual_seed(seed)
    return mask_corrected_fsc(half_maps, mask, first_shell, generator)


def describe_resolution(curve: ShellCurve, pixel_size: float, name: str = "") -> None:
    """Log the resolutions at which a curve first falls below 0.5 and 0.143."""
    for threshold in (0.5, THRESHOLD):
        found = resolution_in_words(curve, pixel_size, threshold)
        logger.info("%sresolution at FSC %g: %s", f"{name}: " if name else "", threshold, found)


def resolution_in_words(curve: ShellCurve, pixel_size: float, threshold: float) -> str:
    """Resolution in Å at a threshold; that a curve starts below it, or does not fall to it."""
    frequency = curve.first_crossing(threshold)
    if frequency is None:
        return NOT_REACHED
    falls = curve.values.min() < threshold
    words = "" if falls else f" (the last shell; the FSC stays above {threshold:g})"
    return f"{pixel_size / frequency:.4g} Å{words}"


def _mask(
    reference: Float[Tensor, "box box box"], pixel_size: float, lengths: tuple[float, float]
) -> Float[Tensor, "box box box"]:
    return soft_mask(reference, pixel_size, dilation=lengths[0], edge=lengths[1])
