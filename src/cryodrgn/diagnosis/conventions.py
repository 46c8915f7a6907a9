"""Conventions under which a file of poses and CTF parameters may have been written.

Every way in which programs and conversions are known to differ is one :class:`Convention`, with
the words in which it is reported. The convention of the file as it is read has no change.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from cryodrgn.imaging.aberrations import zernike_orders
from cryodrgn.particles.optics import CtfTable

RotationChange = Literal["none", "inverse"]
ShiftChange = Literal["none", "negative", "off", "exchanged"]
CtfChange = Literal["none", "off", "magnitude", "recorded", "swapped", "mirrored"]
TermChange = Literal["none", "negative", "off"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """Changes to what a file says, in the order in which they are made.

    Attributes:
        row_offset: Poses and CTF of row i belong to image i − offset.
        upside_down: The y axis of the images points the other way than that of the poses.
        rotation: ``inverse`` transposes the matrices.
        shift: What is done to the shifts.
        shift_scale: Factor on the shifts.
        ctf: ``off`` means images without CTF; ``magnitude``, images whose phases are flipped
            already; ``recorded``, images whose phases are not flipped, though the file says
            so; ``swapped``, defocus U for V; ``mirrored``, a defocus angle that turns the
            other way.
        pixel_scale: Factor on the pixel size by which the CTF is computed.
        odd: What is done to the antisymmetric aberrations.
        even: What is done to the symmetric ones.
        attenuation: ``off`` means that neither B factors nor scales weaken the images.
    """

    row_offset: int = 0
    upside_down: bool = False
    rotation: RotationChange = "none"
    shift: ShiftChange = "none"
    shift_scale: float = 1.0
    ctf: CtfChange = "none"
    pixel_scale: float = 1.0
    odd: TermChange = "none"
    even: TermChange = "none"
    attenuation: Literal["none", "off"] = "none"

    def rotations(
        self, rotations: Float[np.ndarray, "rows 3 3"]
    ) -> Float[np.ndarray, "rows 3 3"]:
        """Rotations as this convention understands those of the file."""
        if self.rotation == "inverse":
            rotations = rotations.transpose(0, 2, 1)
        if self.upside_down:
            # Images mirrored in y are those of the mirrored volume, whose hand none can see.
            mirror = np.array([[1, 1, -1], [-1, -1, 1], [1, 1, -1]], dtype=np.float32)
            rotations = rotations * mirror
        return np.ascontiguousarray(rotations)

    def shifts(self, shifts: Float[np.ndarray, "rows 2"]) -> Float[np.ndarray, "rows 2"]:
        """Shifts as this convention understands those of the file."""
        factor = {"none": 1.0, "negative": -1.0, "off": 0.0, "exchanged": 1.0}[self.shift]
        shifts = shifts[:, ::-1] if self.shift == "exchanged" else shifts
        signs = np.array([1, -1 if self.upside_down else 1], dtype=np.float32)
        return shifts * (signs * np.float32(factor * self.shift_scale))

    def ctf_table(self, ctf: CtfTable) -> CtfTable:
        """CTF parameters as this convention understands those of the file."""
        if self.ctf == "swapped":
            ctf = replace(ctf, defocus_u=ctf.defocus_v, defocus_v=ctf.defocus_u)
        if self.ctf == "recorded":
            ctf = replace(ctf, correction=None)
        ctf = replace(
            ctf,
            odd_zernike=self._aberrations(ctf.odd_zernike, self.odd, is_odd=True),
            even_zernike=self._aberrations(ctf.even_zernike, self.even, is_odd=False),
        )
        mirrored = (self.ctf == "mirrored") != self.upside_down
        return replace(ctf, defocus_angle=-ctf.defocus_angle) if mirrored else ctf

    def _aberrations(
        self,
        coefficients: Float[np.ndarray, "rows count"] | None,
        change: TermChange,
        *,
        is_odd: bool,
    ) -> Float[np.ndarray, "rows count"] | None:
        """Coefficients as this convention understands those of the file."""
        if coefficients is None or change == "off":
            return None
        orders = zernike_orders(coefficients.shape[1], is_odd=is_odd)
        # Polynomials with a sine change sign where the y axis does.
        signs = np.array([-1 if self.upside_down and m < 0 else 1 for _, m in orders])
        return coefficients * np.float32(signs * (-1 if change == "negative" else 1))

    def combined(self, other: "Convention") -> "Convention":
        """This convention with the changes of another one added."""
        plain = Convention()
        changes = {
            name: getattr(other, name)
            for name in self.__slots__
            if getattr(other, name) != getattr(plain, name)
        }
        return replace(self, **changes)


STATED = Convention()

WRONG_SIGN, ABSENT = "have the wrong sign", "are not those of these images"
FLIPPED = {"images are phase flipped already": Convention(ctf="magnitude")}
NOT_FLIPPED = {
    "images are not phase flipped, though the file says so": Convention(ctf="recorded")
}
# Scales between which a wrong pixel size is looked for; the last step is finer.
PIXEL_SCALES = (0.5, 0.625, 0.8, 0.9, 0.95, 1.05, 1.11, 1.25, 1.6, 2.0)


def alternatives(
    *, has_ctf: bool, has_shifts: bool, is_corrected: bool = False
) -> dict[str, Convention]:
    """Conventions that differ from the stated one in one respect, by the words for it.

    Args:
        has_ctf: Whether the file gives CTF parameters.
        has_shifts: Whether it gives shifts.
        is_corrected: Whether it says of images that their phases are flipped.
    """
    found = {
        "rotations are the inverse of what they should be": Convention(rotation="inverse"),
        "the y axis of the images is reversed": Convention(upside_down=True),
        "poses and CTF stand one row too early": Convention(row_offset=-1),
        "poses and CTF stand one row too late": Convention(row_offset=1),
    }
    if has_shifts:
        found |= {
            "shifts have the wrong sign": Convention(shift="negative"),
            "images are centred already, shifts must not be applied": Convention(shift="off"),
            "x and y of the shifts are exchanged": Convention(shift="exchanged"),
            "shifts must be doubled (they count in pixels twice as large)": Convention(
                shift_scale=2.0
            ),
            "shifts must be halved (they count in pixels half as large)": Convention(
                shift_scale=0.5
            ),
        }
    if has_ctf:
        found |= {
            "images carry no CTF": Convention(ctf="off"),
            **(NOT_FLIPPED if is_corrected else FLIPPED),
            "defocus U and V are exchanged": Convention(ctf="swapped"),
            "the defocus angle has the wrong sign": Convention(ctf="mirrored"),
        }
        found |= {pixel_words(scale): Convention(pixel_scale=scale) for scale in PIXEL_SCALES}
    return found


def term_alternatives(
    *, has_odd: bool, has_even: bool, has_attenuation: bool
) -> dict[str, Convention]:
    """Other signs of the terms of the optics that a file gives, and none at all, by words.

    Args:
        has_odd: Whether it gives antisymmetric aberrations.
        has_even: Whether it gives symmetric ones.
        has_attenuation: Whether it gives B factors or scales.
    """
    found = {}
    if has_odd:
        found |= {
            f"antisymmetric aberrations (beam tilt, trefoil) {WRONG_SIGN}": Convention(
                odd="negative"
            ),
            f"antisymmetric aberrations (beam tilt, trefoil) {ABSENT}": Convention(odd="off"),
        }
    if has_even:
        found |= {
            f"symmetric aberrations {WRONG_SIGN}": Convention(even="negative"),
            f"symmetric aberrations {ABSENT}": Convention(even="off"),
        }
    if has_attenuation:
        found[f"B factors and scales {ABSENT}"] = Convention(attenuation="off")
    return found


def pixel_words(scale: float) -> str:
    """The words for a wrong pixel size."""
    return f"the pixel size of the CTF must be multiplied by {scale:.3g}"
