"""Attenuation of the signal of an image by electron dose, tilt of the stage and B factor."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.devices import to_device
from cryodrgn.errors import MetadataError

# Share of the electrons' damage at other voltages than 300 kV.
DAMAGE = {300: 1.0, 200: 0.75}
# Beyond this multiple of the critical exposure an image adds more noise than signal.
OPTIMAL_EXPOSURE = 2.51284


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExposureParameters:
    """Dose, tilt, B factor and band limit of images; None attenuates nothing.

    Attributes:
        doses: Electrons per Å² that the specimen had seen.
        tilt_angles: Tilt of the stage in radians.
        weights: Factor of the whole image.
        b_factors: B in Å², of the factor exp(−B s² / 4).
        damage: What :func:`damage_at` finds for their voltage, which doses need.
        band_limits: Spatial frequency in 1/Å beyond which an image shows nothing.
    """

    doses: Float[Tensor, " images"] | None = None
    tilt_angles: Float[Tensor, " images"] | None = None
    weights: Float[Tensor, " images"] | None = None
    b_factors: Float[Tensor, " images"] | None = None
    damage: Float[Tensor, " images"] | None = None
    band_limits: Float[Tensor, " images"] | None = None

    def __getitem__(self, rows: Tensor | slice) -> "ExposureParameters":
        """The parameters of some of the images."""
        return ExposureParameters(
            **{name: None if value is None else value[rows] for name, value in self._items()}
        )

    def to(self, device: torch.device) -> "ExposureParameters":
        """A copy of the parameters on a device."""
        return ExposureParameters(
            **{
                name: None if value is None else to_device(value, device)
                for name, value in self._items()
            }
        )

    def _items(self) -> list[tuple[str, Tensor | None]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


def damage_at(voltages_kv: Float[Tensor, " images"]) -> Float[Tensor, " images"]:
    """Share of the first term of the critical exposure at 300 kV that holds at other voltages.

    Raises:
        MetadataError: A voltage is neither 200 nor 300 kV.
    """
    found = torch.zeros_like(voltages_kv)
    for voltage, share in DAMAGE.items():
        found = torch.where((voltages_kv - voltage).abs() < 1, share, found)
    if not bool((found > 0).all()):
        odd = float(voltages_kv[found == 0][0])
        msg = f"dose weights are known at 200 and 300 kV, but an image was taken at {odd:g} kV"
        raise MetadataError(msg)
    return found


def critical_exposures(
    frequencies: Float[Tensor, "images points"], damage: Float[Tensor, " images"]
) -> Float[Tensor, "images points"]:
    """Exposure in e/Å² at which the signal has fallen to 1/e, by spatial frequency.

    0.245 s^−1.665 + 2.81 at 300 kV (Grant & Grigorieff, eLife 2015, eq. 3), infinite at the
    origin.

    Args:
        frequencies: s in 1/Å.
        damage: Factor of the first term, see :func:`damage_at`.
    """
    return damage[:, None] * 0.245 * frequencies.pow(-1.665) + 2.81


def exposure_weights(
    frequencies: Float[Tensor, "images points 2"], parameters: ExposureParameters
) -> Float[Tensor, "images points"]:
    """Factor of the signal of images at spatial frequencies.

    w(s) = weight · cos(tilt) · exp(−B s² / 4) · exp(−dose / 2 N(s)), and 0 where the dose
    exceeds 2.51284 N(s), the optimal exposure (Grant & Grigorieff 2015); N is the critical
    exposure. Beyond an image's band limit it is 0, too.

    Args:
        frequencies: (kx, ky) in 1/Å.
        parameters: Of every image.
    """
    result = frequencies.new_ones(frequencies.shape[:2])
    if parameters.doses is not None:
        assert parameters.damage is not None
        critical = critical_exposures(frequencies.norm(dim=-1), parameters.damage)
        doses = parameters.doses[:, None]
        result = torch.exp(-doses / (2 * critical)) * (doses < OPTIMAL_EXPOSURE * critical)
    if parameters.tilt_angles is not None:
        result = result * parameters.tilt_angles.cos()[:, None]
    if parameters.weights is not None:
        result = result * parameters.weights[:, None]
    if parameters.b_factors is not None:
        squared = frequencies.square().sum(-1)
        result = result * torch.exp(-parameters.b_factors[:, None] / 4 * squared)
    if parameters.band_limits is not None:
        result = result * (frequencies.norm(dim=-1) < parameters.band_limits[:, None])
    return result
