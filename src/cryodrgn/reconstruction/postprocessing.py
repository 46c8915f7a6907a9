"""Maps to build in, from two half maps: masked FSC, sharpening, and filters.

The Fourier shell correlation C of half maps is taken under a soft mask and freed of what the
mask brings (Chen et al. 2013). It gives the resolution, and the weights sqrt(2C / (1 + C)) that
make of the mean of both half maps the best estimate of the structure (Rosenthal & Henderson
2003). The B factor of sharpening is fitted to the amplitudes so weighted (`guinier`), or
given.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError, NumericalError
from cryodrgn.fourier.filters import blurred, multiplied, squared_radii
from cryodrgn.fourier.resample import resize_volume
from cryodrgn.fourier.shells import (
    ShellCurve,
    fourier_shell_correlation,
    freed_of_mask,
    phase_randomised_fsc,
    shell_powers,
)
from cryodrgn.imaging.masks import largest_part, resize_mask, soft_mask
from cryodrgn.reconstruction.guinier import (
    GUINIER_FROM,
    THRESHOLD,
    GuinierFit,
    NoFit,
    fsc_weights,
    guinier_fit,
)
from cryodrgn.reconstruction.local_quality import local_resolution

# Phases are randomised from where the unmasked half maps correlate to less than this.
RANDOM_BELOW = 0.8
# Half maps that correlate to more than this in every shell have the same noise.
SAME_MAP = 0.9999
# Side in voxels on which masks are drawn, and the resolution in Å, or in voxels where that is
# coarser, of the map that they are drawn from.
DRAWING_SIZE = 64
MASK_RESOLUTION, MASK_RESOLUTION_PX = 15.0, 4.0
# Share of the highest density, and multiple of the noise, from which on a voxel belongs.
DENSITY_LEVEL, NOISE_LEVEL = 0.15, 4.0
DILATION, EDGE = 6.0, 9.0
# Width of the edge in which the filter at the resolution falls, in shells.
FALLING_SHELLS = 2.0
# Largest change of amplitudes at the resolution by a B factor that is given: ln 10⁶.
LARGEST_CHANGE = 13.8
NUM_LOCAL_FILTERS = 12

Volume = Float[Tensor, "box box box"]
HalfMaps = tuple[Volume, Volume]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MaskedAgreement:
    """Fourier shell correlations of two half maps.

    Attributes:
        unmasked: Of the maps as they are.
        masked: Of the maps times the mask.
        randomised: The same with random phases from ``first_random_shell`` on.
        corrected: The masked one, freed of what the mask brings.
        first_random_shell: Where the random phases begin; None where all shells agree too well
            for them, and the masked curve needs no correction.
    """

    unmasked: ShellCurve
    masked: ShellCurve
    randomised: ShellCurve
    corrected: ShellCurve
    first_random_shell: int | None

    def curves(self) -> dict[str, ShellCurve]:
        """All curves by name."""
        names = ("unmasked", "masked", "randomised", "corrected")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SharpenedMap:
    """The mean of two half maps, sharpened and filtered, and what was found on the way.

    Attributes:
        unfiltered: The mean of the half maps.
        weighted: The same, weighted by the corrected FSC up to the resolution.
        sharpened: The same, with the B factor.
        locally_filtered: That, filtered at the local resolution; None if not asked for.
        local_resolution: In Å, of the masked half maps; None if not asked for.
        mask: The mask.
        agreement: Correlations of the half maps.
        amplitudes: Root mean square amplitude of the masked mean by shell, and the part of it
            that is signal.
        guinier: The fit, or why there is none.
        b_factor: The B factor that was applied, Å²; None where none was given or could be
            fitted, and the map is not sharpened.
        pixel_size: Å/px.
    """

    unfiltered: Volume
    weighted: Volume
    sharpened: Volume
    locally_filtered: Volume | None
    local_resolution: Volume | None
    mask: Volume
    agreement: MaskedAgreement
    amplitudes: tuple[ShellCurve, ShellCurve]
    guinier: GuinierFit | NoFit
    b_factor: float | None
    pixel_size: float

    @property
    def resolution(self) -> float | None:
        """Å, where the corrected curve falls below 0.143; None where it starts below."""
        frequency = self.agreement.corrected.first_crossing(THRESHOLD)
        return None if frequency is None else self.pixel_size / frequency


def require_different(half_maps: HalfMaps, names: tuple[str, str]) -> None:
    """Refuse half maps that are empty, or the same map twice.

    Args:
        half_maps: The maps.
        names: Theirs, for the message.

    Raises:
        ConfigError: They cannot be the maps of two halves of the data.
    """
    for name, volume in zip(names, half_maps, strict=True):
        if float(volume.max()) == float(volume.min()):
            msg = f"{name} is the same value everywhere; expected the map of half of the images"
            raise ConfigError(msg)
    curve = fourier_shell_correlation(*half_maps)
    # Shells in which both maps are empty correlate to 0.
    filled = curve.values[curve.values != 0]
    if len(filled) and float(filled.min()) > SAME_MAP:
        msg = (
            f"{names[0]} and {names[1]} are the same map twice: they correlate to 1 in every "
            "shell; give the maps of two halves of the images, made without each other"
        )
        raise ConfigError(msg)


def masked_agreement(half_maps: HalfMaps, mask: Volume, seed: int = 0) -> MaskedAgreement:
    """Correlations without and with a mask, and freed of the mask by random phases.

    Phases are random from the first shell in which the unmasked half maps correlate to less
    than 0.8 (Chen et al. 2013), and the correction begins two shells later.

    Args:
        half_maps: Maps of two halves of the data.
        mask: A soft mask.
        seed: Of the random phases.
    """
    unmasked = fourier_shell_correlation(*half_maps)
    masked = fourier_shell_correlation(half_maps[0] * mask, half_maps[1] * mask)
    below = torch.nonzero(unmasked.values < RANDOM_BELOW)
    if not len(below):
        return MaskedAgreement(
            unmasked=unmasked,
            masked=masked,
            randomised=masked,
            corrected=masked,
            first_random_shell=None,
        )
    # Curves begin with shell 1.
    first_shell = max(2, int(below[0]) + 1)
    generator = torch.Generator().manual_seed(seed)
    randomised = phase_randomised_fsc(half_maps, mask, first_shell, generator)
    return MaskedAgreement(
        unmasked=unmasked,
        masked=masked,
        randomised=randomised,
        corrected=freed_of_mask(masked, randomised, first_shell),
        first_random_shell=first_shell,
    )


def solvent_mask(half_maps: HalfMaps, pixel_size: float) -> Volume:
    """A soft mask around the molecule, drawn from the mean of two half maps.

    Both the mean and half of the difference, which is noise, are blurred to 15 Å. Voxels
    denser than 15 % of the highest density and than four standard deviations of the noise
    belong; of these the largest connected part is grown by 6 Å, with an edge of 9 Å.

    Args:
        half_maps: The maps; densities may be negative.
        pixel_size: Å/px.

    Raises:
        ConfigError: Nothing stands out of the noise.
    """
    box_size = len(half_maps[0])
    size = min(DRAWING_SIZE, box_size)
    coarse = pixel_size * box_size / size
    width = max(MASK_RESOLUTION / coarse, MASK_RESOLUTION_PX) / 4
    first, second = (blurred(resize_volume(half.float(), size), width) for half in half_maps)
    mean, noise = (first + second) / 2, (first - second) / 2
    if mean.double().pow(3).sum() < 0:
        mean = -mean
    # Solvent that is not zero is no density.
    mean = mean - mean.median()
    level = max(DENSITY_LEVEL * float(mean.max()), NOISE_LEVEL * float(noise.std()))
    inside = mean > level
    if not inside.any():
        msg = (
            "no density stands out of the noise of the half maps, so no mask can be drawn; "
            "give one by `mask`, or look whether they show one molecule in one place"
        )
        raise ConfigError(msg)
    drawn = soft_mask(
        largest_part(inside).float(),
        coarse,
        threshold=0.5,
        dilation=max(DILATION, coarse),
        edge=max(EDGE, 2 * coarse),
    )
    return resize_mask(drawn, box_size)


def sharpened(
    half_maps: HalfMaps,
    mask: Volume,
    pixel_size: float,
    *,
    b_factor: float | None = None,
    coarsest: float = GUINIER_FROM,
    with_local: bool = True,
    seed: int = 0,
) -> SharpenedMap:
    """Sharpen and filter the mean of two half maps.

    Args:
        half_maps: Maps of two halves of the data, unfiltered.
        mask: A soft mask around the molecule.
        pixel_size: Å/px.
        b_factor: The B factor to apply, Å²; None fits it, and applies none where it cannot be.
        coarsest: Resolution in Å from which on the fit takes amplitudes.
        with_local: Whether to find the local resolution and filter by it.
        seed: Of the random phases.

    Raises:
        ConfigError: The B factor leaves nothing of the map, or nothing but its finest noise.
        NumericalError: The amplitudes at the resolution exceed single precision.
    """
    box_size = len(mask)
    mean = (half_maps[0] + half_maps[1]) / 2
    agreement = masked_agreement(half_maps, mask, seed)
    weights = fsc_weights(agreement.corrected)
    frequencies = agreement.corrected.frequencies
    observed = ShellCurve(frequencies, shell_powers(mean * mask).sqrt().float())
    signal = ShellCurve(frequencies, observed.values * weights)
    fit = guinier_fit(signal, agreement.corrected, box_size, pixel_size, coarsest)
    applied = b_factor
    if applied is None and isinstance(fit, GuinierFit):
        applied = fit.b_factor
    cutoff = agreement.corrected.first_crossing(THRESHOLD) or 0.0
    weighted = _weighted(mean, frequencies, weights, cutoff)
    finest = pixel_size / (cutoff + FALLING_SHELLS / box_size)
    _require_sensible(b_factor, finest)
    sharp = with_b_factor(weighted, applied or 0.0, pixel_size, finest)
    _require_finite(sharp, applied or 0.0, pixel_size)
    local = filtered = None
    if with_local:
        local = local_resolution(half_maps[0] * mask, half_maps[1] * mask, pixel_size)
        filtered = filter_by_local_resolution(sharp, local, pixel_size)
    return SharpenedMap(
        unfiltered=mean,
        weighted=weighted,
        sharpened=sharp,
        locally_filtered=filtered,
        local_resolution=local,
        mask=mask,
        agreement=agreement,
        amplitudes=(observed, signal),
        guinier=fit,
        b_factor=applied,
        pixel_size=pixel_size,
    )


def _require_finite(sharp: Volume, b_factor: float, pixel_size: float) -> None:
    """Refuse a map whose amplitudes have become too large for numbers.

    Raises:
        NumericalError: They have.
    """
    if not bool(torch.isfinite(sharp).all()):
        msg = (
            f"a B factor of {b_factor:g} Å² at {pixel_size:g} Å/px makes amplitudes too large "
            "for numbers; give a smaller one by `b_factor`"
        )
        raise NumericalError(msg)


def _require_sensible(b_factor: float | None, finest: float) -> None:
    """Refuse a B factor that leaves nothing of a map, or nothing but its finest noise.

    Raises:
        ConfigError: Amplitudes at the resolution would change by more than a million times.
    """
    most = 4 * finest**2 * LARGEST_CHANGE
    if b_factor is not None and abs(b_factor) > most:
        makes = "blurs everything away" if b_factor > 0 else "leaves nothing but noise"
        msg = (
            f"`b_factor` {b_factor:g} Å² {makes} in a map that ends at {finest:.3g} Å; those "
            f"of such a map lie between {-most:.2g} and {most:.2g} Å², negative ones sharpen; "
            "without it one is fitted"
        )
        raise ConfigError(msg)


def with_b_factor(
    volume: Volume, b_factor: float, pixel_size: float, finest: float = 0.0
) -> Volume:
    """A map whose amplitudes are multiplied by exp(−B s² / 4).

    Args:
        volume: The map.
        b_factor: B in Å²; negative ones sharpen.
        pixel_size: Å/px.
        finest: Resolution in Å beyond which all amplitudes are multiplied as they are there.
    """
    squares = squared_radii(len(volume), volume.device) / pixel_size**2
    if finest > 0:
        squares = squares.clamp_max(finest**-2)
    return multiplied(volume, torch.exp(-b_factor / 4 * squares))


def filter_by_local_resolution(volume: Volume, resolution: Volume, pixel_size: float) -> Volume:
    """A map whose every voxel is filtered at a resolution of its own.

    The map is filtered at twelve resolutions, equally apart in frequency, and each voxel is
    interpolated linearly between the two nearest its own.

    Args:
        volume: The map.
        resolution: Å, by voxel.
        pixel_size: Å/px.
    """
    box_size = len(volume)
    radii, falling = squared_radii(box_size, volume.device).sqrt(), FALLING_SHELLS / box_size
    wanted = pixel_size / resolution
    places = torch.linspace(float(wanted.min()), float(wanted.max()), NUM_LOCAL_FILTERS)
    step = max(float(places[1] - places[0]), 1e-6)
    transform = torch.fft.rfftn(volume)
    result = torch.zeros_like(volume)
    for place in places.tolist():
        share = (1 - (wanted - place).abs() / step).clamp_min(0)
        filtered = torch.fft.irfftn(transform * _fall(radii, place, falling), s=volume.shape)
        result += share * filtered
    return result


def _weighted(
    volume: Volume,
    frequencies: Float[Tensor, " shells"],
    weights: Float[Tensor, " shells"],
    cutoff: float,
) -> Volume:
    """A map weighted by shell, linearly between shells, up to a soft cutoff.

    The origin has the weight of the first shell, so that densities keep their mean.
    """
    box_size = len(volume)
    radii = squared_radii(box_size, volume.device).sqrt()
    last = int(torch.nonzero(weights)[-1]) if bool(weights.any()) else 0
    # The weight of the last shell that agrees goes on within the falling edge.
    known, values = frequencies[: last + 1], weights[: last + 1]
    right = torch.searchsorted(known, radii.flatten().contiguous()).clamp(1, max(1, last))
    if last == 0:
        gains = values[0].expand(radii.shape)
    else:
        left = right - 1
        share = (radii.flatten() - known[left]) / (known[right] - known[left])
        share = share.clamp(0, 1)
        gains = (values[left] + share * (values[right] - values[left])).view(radii.shape)
    return multiplied(volume, gains * _fall(radii, cutoff, FALLING_SHELLS / box_size))


def _fall(radii: Float[Tensor, "z y x"], cutoff: float, width: float) -> Float[Tensor, "z y x"]:
    """1 up to half a width before a cutoff, then a raised cosine, 0 from half a width on."""
    along = ((radii - cutoff) / width + 0.5).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(torch.pi * along)
