"""Curvature of the Ewald sphere: an image as the sum of two side bands.

Electrons of wavelength λ scattered by a frequency k of the image come from a point of the
volume's transform at (k, ± λ k² / 2) rather than on the plane through the origin: the image is

    I(k) = c V(k, s λk²/2) + c̄ V(k, −s λk²/2),    c = (sin χ + i cos χ) / 2,

where sin χ is the CTF (DeRosier, Ultramicroscopy 81, 83, 2000; Wolf, DeRosier & Grigorieff,
Ultramicroscopy 106, 376, 2006; Russo & Henderson, Ultramicroscopy 187, 26, 2018). The two
terms are the side bands. With a flat sphere they are one, and c + c̄ = sin χ.

The sign s is the hand of the curvature. With s = +1 an atom at a height z above the centre,
along the direction of view that is the third row of the rotation, is seen as if defocus were
smaller by z; with s = −1, as if it were larger. Which one holds depends on the hand of the map
and on the conventions of the microscope's images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.imaging.ctf import CtfParameters, contrast_phase, preparation_factors
from cryodrgn.units import electron_wavelengths

# Sign of the curvature; 0 is a flat sphere.
Curvature = Literal[-1, 0, 1]
# Diameter of a particle as a share of the side of its box, where nothing else is known of it.
PARTICLE_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sidebands:
    """Points of the two side bands of images, and their shares in the images.

    Attributes:
        offsets: From the points of a flat slice to those of the first side band, in cycles per
            pixel; the second lies as far on the other side.
        factors: c as pairs (real, imaginary); the second side band has its conjugate.
        overlap: Correlation of the transform of a particle at the points of both.
    """

    offsets: Float[Tensor, "images points 3"]
    factors: Float[Tensor, "images points 2"]
    overlap: Float[Tensor, "images points"]

    def points(
        self, coordinates: Float[Tensor, "images points 3"]
    ) -> tuple[Float[Tensor, "images points 3"], Float[Tensor, "images points 3"]]:
        """Points of both side bands, in cycles per pixel.

        Their distance from the origin is kept that of the frequency, from which it differs by
        the share (λk)² / 8, so that none leaves the sphere of known frequencies.

        Args:
            coordinates: Points of the flat slice.
        """
        length = coordinates.norm(dim=-1, keepdim=True)
        bands = (coordinates + self.offsets, coordinates - self.offsets)
        first, second = (
            band * (length / band.norm(dim=-1, keepdim=True).clamp_min(1e-12)) for band in bands
        )
        return first, second

    def predicted(
        self,
        first: Float[Tensor, "images points *volumes 2"],
        second: Float[Tensor, "images points *volumes 2"],
    ) -> Float[Tensor, "images points *volumes 2"]:
        """The transform of the images, c F₊ + c̄ F₋, from the volumes' at both side bands."""
        factors = self.factors
        for _ in range(first.ndim - 3):
            factors = factors.unsqueeze(2)
        total, difference = first + second, first - second
        real, imaginary = factors.unbind(-1)
        return torch.stack(
            [
                real * total[..., 0] - imaginary * difference[..., 1],
                real * total[..., 1] + imaginary * difference[..., 0],
            ],
            dim=-1,
        )

    def matched(
        self,
        images: Float[Tensor, "images points 2"],
        coordinates: Float[Tensor, "images points 3"],
        weights: Float[Tensor, "images points"] | None,
        precision: Float[Tensor, "images points"] | None = None,
    ) -> Iterator[
        tuple[
            Float[Tensor, "images points 3"],
            Float[Tensor, "images points 2"],
            Float[Tensor, "images points"],
        ]
    ]:
        """Points, values and weights that each side band adds to the normal equations.

        The values are a c̄ y and a c y. An image couples its two side bands: with the volume's
        values v₊ and v₋ there, the equation at the first reads |c|² v₊ + c̄² v₋ = c̄ y. The mean
        of v₋ given v₊ is ρ v₊, with the overlap ρ, so that the weight is |c|² + ρ Re c² =
        (1 − ρ cos 2χ) / 4; what is left of c̄² v₋ has a phase that turns with defocus and
        direction and averages out. Where both bands are one point, ρ = 1, both together have
        the weight of the flat slice, sin² χ; where they are far apart, ½.

        Args:
            images: The images y.
            coordinates: Points of the flat slice, in cycles per pixel.
            weights: Attenuation a by dose and tilt; None is 1.
            precision: Factor 1 / σ² of both; None is 1.
        """
        real, imaginary = self.factors.unbind(-1)
        weight = real.square() + imaginary.square()
        weight = weight + self.overlap * (real.square() - imaginary.square())
        share = images.new_ones(()) if weights is None else weights
        scale = share if precision is None else share * precision
        for points, sign in zip(self.points(coordinates), (-1.0, 1.0), strict=True):
            turned = torch.stack(
                [
                    real * images[..., 0] - sign * imaginary * images[..., 1],
                    real * images[..., 1] + sign * imaginary * images[..., 0],
                ],
                dim=-1,
            )
            yield points, turned * scale[..., None], weight * share * scale


def sidebands(
    frequencies: Float[Tensor, "#images points 2"],
    ctf: CtfParameters,
    rotations: Float[Tensor, "images 3 3"],
    sign: Curvature,
    *,
    pixel_sizes: Float[Tensor, " images"],
    box_size: int,
) -> Sidebands:
    """The side bands of images.

    Args:
        frequencies: (kx, ky) in 1/Å.
        ctf: Their CTF.
        rotations: From the volume's frame to the image's.
        sign: Hand of the curvature, +1 or −1.
        pixel_sizes: Å/px, of the images as they are now.
        box_size: Their side, from which the extent of the particle is guessed.
    """
    phases = contrast_phase(frequencies, ctf)
    depths = electron_wavelengths(ctf.voltage_kv)[:, None] / 2 * frequencies.square().sum(-1)
    in_pixels = sign * depths * pixel_sizes[:, None]
    diameter = PARTICLE_SHARE * box_size * pixel_sizes[:, None]
    factors = torch.stack([phases.sin(), phases.cos()], dim=-1) / 2
    prepared = preparation_factors(phases.sin(), ctf)
    if prepared is not None:
        factors = factors * prepared[..., None]
    return Sidebands(
        offsets=in_pixels[..., None] * rotations[:, None, 2, :],
        factors=factors,
        overlap=_overlap(2 * torch.pi * diameter * depths),
    )


def _overlap(x: Float[Tensor, "images points"]) -> Float[Tensor, "images points"]:
    """3 (sin x − x cos x) / x³: the transform of a ball of diameter t at a distance x / π t."""
    series = 1 - x.square() / 10
    safe = x.clamp_min(0.1)
    return torch.where(x < 0.1, series, 3 * (safe.sin() - safe * safe.cos()) / safe**3)


def depth_limit(wavelength: float, diameter: float) -> float:
    """Resolution in Å beyond which the curvature matters, d = √(0.7 λ t).

    A particle of the diameter t is within the depth of field 1.4 d² / λ down to this resolution
    (DeRosier 2000); beyond it, atoms at its rim are out of phase by more than
    π λ t / 2 d² = 129° with a flat sphere.

    Args:
        wavelength: λ in Å.
        diameter: t in Å.
    """
    return (0.7 * wavelength * diameter) ** 0.5
