"""Maps to build in, from two half maps: masked FSC, sharpening, and filters.

The Fourier shell correlation C of half maps is taken under a soft mask and freed of what the
mask brings (Chen et al. 2013). It gives the resolution, and the weights sqrt(2C / (1 + C)) that
make of the mean of both half maps the best estimate of the structure (Rosenthal & Henderson
2003). The B factor of sharpening is fitted to the amplitudes so weighted (Guinier plot), or
given. A B factor is that of the exponential exp(−B s² / 4) by which amplitudes at the spatial
frequency s are multiplied: negative ones sharpen.
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
from cryodrgn.reconstruction.local_quality import local_resolution

THRESHOLD = 0.143
# Phases are randomised from where the unmasked half maps correlate to less than this.
RANDOM_BELOW = 0.8
# Half maps that correlate to more than this in every shell have the same noise.
SAME_MAP = 0.9999
# Structure factors of proteins fall like a Gaussian from this resolution on, in Å.
GUINIER_FROM = 10.0
FEWEST_SHELLS = 4
# A slope needs a range: the last frequency fitted is at least so many times the first, squared.
LEAST_RANGE = 2.0
# The coarsest resolution in Å, 7.1, at which there is a fit, wherever it begins.
COARSEST_FITTED = GUINIER_FROM / LEAST_RANGE**0.5
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
class GuinierFit:
    """A line through the logarithms of amplitudes against the square of the frequency.

    Attributes:
        b_factor: Four times its slope, Å²: the B factor that makes amplitudes level.
        error: Standard error of that, Å².
        intercept: The line's value at frequency zero.
        frequencies: First and last frequency of the fit, 1/Å.
    """

    b_factor: float
    error: float
    intercept: float
    frequencies: tuple[float, float]


@dataclass(frozen=True, slots=True)
class NoFit:
    """A map whose amplitudes are too few, or too coarse, for a line.

    Attributes:
        reason: Why there is no fit, as a clause.
    """

    reason: str


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


def fsc_weights(curve: ShellCurve) -> Float[Tensor, " shells"]:
    """C_ref = sqrt(2 C / (1 + C)) by shell (Rosenthal & Henderson 2003).

    The correlation of the mean of two half maps with the structure, if C is that of the half
    maps; 0 where C is negative, and from where C first falls below 0.143 on.
    """
    values = curve.values.double().clamp(0, 1)
    weights = (2 * values / (1 + values)).sqrt()
    below = torch.nonzero(curve.values < THRESHOLD)
    if len(below):
        weights[int(below[0]) :] = 0
    return weights.float()


def guinier_fit(
    signal: ShellCurve,
    correlation: ShellCurve,
    box_size: int,
    pixel_size: float,
    coarsest: float = GUINIER_FROM,
) -> GuinierFit | NoFit:
    """Fit the fall of the amplitudes of the signal with resolution.

    ln F = a + B s² / 4 over the shells from ``coarsest`` to the resolution, weighted by how
    well the amplitude of a shell is known.

    Args:
        signal: Root mean square amplitude of the signal by shell.
        correlation: Corrected correlation of the half maps.
        box_size: Side in voxels.
        pixel_size: Å/px.
        coarsest: Resolution in Å from which on amplitudes are fitted.

    Returns:
        The fit, or why there is none: it would have fewer than four shells, or end at a
        resolution coarser than 7.1 Å, or before the square of the frequency has doubled.
    """
    frequencies = signal.frequencies.double() / pixel_size
    weights = fsc_weights(correlation)
    has_signal = (weights > 0) & (signal.values > 0)
    used = (frequencies >= 1 / coarsest) & has_signal
    reason = _why_no_fit(frequencies[has_signal], frequencies[used], coarsest)
    if reason:
        return NoFit(reason)
    squares, logarithms = frequencies[used].square(), signal.values[used].double().log()
    precision = _precision(correlation.values[used].double(), frequencies[used] * pixel_size)
    precision = precision * box_size**2
    total = precision.sum()
    mean_x, mean_y = (precision * squares).sum() / total, (precision * logarithms).sum() / total
    from_mean = squares - mean_x
    spread = (precision * from_mean.square()).sum()
    slope = (precision * from_mean * (logarithms - mean_y)).sum() / spread
    left = logarithms - mean_y - slope * from_mean
    # What a line leaves is more than noise: structure factors are those of one molecule.
    excess = (precision * left.square()).sum() / max(1, len(squares) - 2)
    return GuinierFit(
        b_factor=4 * float(slope),
        error=4 * float((excess.clamp_min(1) / spread).sqrt()),
        intercept=float(mean_y - slope * mean_x),
        frequencies=(float(frequencies[used][0]), float(frequencies[used][-1])),
    )


def _why_no_fit(
    known: Float[Tensor, " shells"], used: Float[Tensor, " used"], coarsest: float
) -> str | None:
    """Why no line is fitted to shells of these frequencies, in 1/Å; None if one is.

    Args:
        known: Of all shells with signal.
        used: Of those among them that are no coarser than ``coarsest``.
        coarsest: Resolution in Å at which the fit begins.
    """
    if not len(known):
        return "the half maps agree at no resolution"
    finest = 1 / float(known[-1])
    # As squares, of which that of the limit is exact.
    if finest**2 * LEAST_RANGE > GUINIER_FROM**2:
        found, needed = _told_apart(finest, COARSEST_FITTED)
        return f"too coarse for a fit: {found} Å, and {needed} Å are needed"
    if len(used) < FEWEST_SHELLS:
        return (
            f"too few shells for a fit: {len(used)} from {coarsest:g} to {finest:.1f} Å, and "
            f"{FEWEST_SHELLS} are needed"
        )
    if (coarsest / finest) ** 2 < LEAST_RANGE:
        found, needed = _told_apart(finest, coarsest / LEAST_RANGE**0.5)
        return (
            f"too short a range for a fit: from {coarsest:g} to {found} Å, and {needed} Å are "
            "needed"
        )
    return None


def _told_apart(first: float, second: float) -> tuple[str, str]:
    """Two resolutions with as many decimals, one at least, as they need to look different."""
    texts = [(f"{first:.{n}f}", f"{second:.{n}f}") for n in range(1, 7)]
    return next((pair for pair in texts if pair[0] != pair[1]), texts[-1])


def _precision(
    correlation: Float[Tensor, " shells"], radii: Float[Tensor, " shells"]
) -> Float[Tensor, " shells"]:
    """One over the variance of ln F of a shell, but for a factor of all shells.

    That of ln sqrt(Σ|F|²) of n values, 1 / 2n, and that of ln C_ref with an error (1 − C²)/√n
    of the correlation C.
    """
    of_weight = (1 - correlation.square()) / (2 * correlation * (1 + correlation))
    return radii.square() / (0.5 + of_weight.square())


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
    if b_factor is not None:
        _require_sensible(b_factor, finest)
    sharp = with_b_factor(weighted, applied or 0.0, pixel_size, finest)
    if not bool(torch.isfinite(sharp).all()):
        msg = (
            f"a B factor of {applied:g} Å² at {pixel_size:g} Å/px makes amplitudes too large "
            "for numbers; give a smaller one by `b_factor`"
        )
        raise NumericalError(msg)
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


def _require_sensible(b_factor: float, finest: float) -> None:
    """Refuse a B factor that leaves nothing of a map, or nothing but its finest noise.

    Raises:
        ConfigError: Amplitudes at the resolution would change by more than a million times.
    """
    most = 4 * finest**2 * LARGEST_CHANGE
    if abs(b_factor) > most:
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
