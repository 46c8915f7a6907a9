"""Statistics over shells of equal resolution: Fourier shell correlation and its readings."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.fourier.transforms import centred_fft, centred_ifft

# Side of the smallest volume with a shell between zero and the Nyquist frequency.
SMALLEST_BOX = 4


@dataclass(frozen=True, slots=True, eq=False)
class ShellCurve:
    """A quantity per shell.

    Attributes:
        frequencies: Mean radius of each shell's voxels, in cycles per pixel.
        values: The quantity.
    """

    frequencies: Float[Tensor, " shells"]
    values: Float[Tensor, " shells"]

    def area(self) -> float:
        """Area under the curve (trapezoid rule), from the first to the last shell."""
        return float(torch.trapezoid(self.values, self.frequencies))

    def first_crossing(self, threshold: float) -> float | None:
        """Frequency (cycles per pixel) at which the curve first falls below ``threshold``.

        Returns:
            The frequency, interpolated between shells; the last shell's if the curve never
            falls; None if it starts below the threshold.
        """
        below = torch.nonzero(self.values < threshold)
        if len(below) == 0:
            return float(self.frequencies[-1])
        end = int(below[0])
        if end == 0:
            return None
        (x0, x1), (y0, y1) = (
            curve[end - 1 : end + 1].tolist() for curve in (self.frequencies, self.values)
        )
        return x0 + (x1 - x0) * (y0 - threshold) / (y0 - y1)


def shell_numbers(box_size: int) -> Int[Tensor, "box box box"]:
    """Shell of every voxel of a centred transform: its radius, rounded to whole voxels."""
    return _radii(box_size).round().long()


def shell_means(
    quantity: Float[Tensor, "box box box"], num_shells: int
) -> Float[Tensor, " shells"]:
    """Mean of a quantity over each of the shells 0 … ``num_shells`` − 1."""
    shells = shell_numbers(quantity.shape[0]).to(quantity.device)
    return _shell_sums(quantity, shells, num_shells) / _shell_sums(
        torch.ones_like(quantity), shells, num_shells
    )


def fourier_shell_correlation(
    first: Float[Tensor, "box box box"], second: Float[Tensor, "box box box"]
) -> ShellCurve:
    """Fourier shell correlation of two volumes.

    Shell i holds the voxels whose radius rounds to i, and is labelled with their mean
    radius. FSC_i = Re Σ A conj(B) / sqrt(Σ|A|² Σ|B|²) (Harauz & van Heel 1986); a shell in
    which a volume is exactly zero has correlation 0.

    Args:
        first: A real volume of even side.
        second: Another one of the same shape.

    Returns:
        The curve for the shells 1 … box / 2 − 1.

    Raises:
        ShapeMismatchError: The volumes are so small that they have no such shell.
    """
    box_size = first.shape[0]
    if box_size < SMALLEST_BOX:
        msg = (
            f"volumes of {box_size} voxels have no shell below their Nyquist frequency to "
            f"compare; at least {SMALLEST_BOX} are needed"
        )
        raise ShapeMismatchError(msg)
    # Half of a real volume's transform says all; where its centre is does not matter here.
    a, b = (torch.view_as_real(torch.fft.rfftn(volume.double())) for volume in (first, second))
    radii, counts = _half_radii(box_size)
    shells = radii.round().long()

    def sums(quantity: Tensor) -> Tensor:
        return _shell_sums(quantity * counts, shells, box_size // 2)[1:]

    cross = sums((a * b).sum(-1))
    power = sums(a.square().sum(-1)) * sums(b.square().sum(-1))
    correlation = torch.where(power > 0, cross / power.clamp_min(1e-300).sqrt(), 0.0)
    radii = sums(radii) / sums(torch.ones_like(radii))
    return ShellCurve((radii / box_size).float(), correlation.float())


def shell_powers(volume: Float[Tensor, "box box box"]) -> Float[Tensor, " shells"]:
    """Mean squared amplitude of a volume's transform in the shells 1 … box / 2 − 1."""
    box_size = len(volume)
    radii, counts = _half_radii(box_size)
    shells = radii.round().long()
    power = torch.view_as_real(torch.fft.rfftn(volume.double())).square().sum(-1)
    sums = _shell_sums(power * counts, shells, box_size // 2)
    return (sums / _shell_sums(counts.expand_as(radii), shells, box_size // 2))[1:]


def weight_shells(
    volume: Float[Tensor, "box box box"], weights: Float[Tensor, " shells"]
) -> Float[Tensor, "box box box"]:
    """A volume whose transform is multiplied by a number per shell.

    Args:
        volume: A real volume of even side.
        weights: For the shells 1, 2, …; the origin and shells beyond become 0.
    """
    shells = _half_radii(len(volume))[0].round().long()
    of_shell = weights.new_zeros(int(shells.max()) + 1)
    of_shell[1 : len(weights) + 1] = weights
    return torch.fft.irfftn(torch.fft.rfftn(volume) * of_shell[shells], s=volume.shape)


def randomise_phases(
    volume: Float[Tensor, "box box box"], first_shell: int, generator: torch.Generator
) -> Float[Tensor, "box box box"]:
    """A real volume with the amplitudes of another, and random phases from a shell on.

    The phases are those of white noise, so that F(−k) = conj F(k) still holds.

    Args:
        volume: A real volume of even side.
        first_shell: The first shell whose phases are changed.
        generator: Of the noise.
    """
    transform = centred_fft(volume.double(), 3)
    noise = centred_fft(torch.randn(volume.shape, generator=generator, dtype=torch.float64), 3)
    changed = transform.abs() * torch.sgn(noise)
    chosen = shell_numbers(len(volume)) >= first_shell
    return centred_ifft(torch.where(chosen, changed, transform), 3).real.float()


def mask_corrected_fsc(
    half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]],
    mask: Float[Tensor, "box box box"],
    first_shell: int,
    generator: torch.Generator,
) -> ShellCurve:
    """FSC of masked half maps, freed of the correlation that the mask itself brings.

    FSC = (FSC_t − FSC_n) / (1 − FSC_n) from ``first_shell`` on, FSC_t being that of the masked
    half maps and FSC_n that of the same after their phases were randomised from that shell on
    (Chen et al. 2013). The first two of these shells keep FSC_t, since the mask spreads the
    phases that were left in order into them.

    Args:
        half_maps: Volumes of two halves of the data.
        mask: A soft mask.
        first_shell: Where the random phases begin.
        generator: Of the random phases.
    """
    masked = fourier_shell_correlation(half_maps[0] * mask, half_maps[1] * mask)
    noise = phase_randomised_fsc(half_maps, mask, first_shell, generator)
    return freed_of_mask(masked, noise, first_shell)


def phase_randomised_fsc(
    half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]],
    mask: Float[Tensor, "box box box"],
    first_shell: int,
    generator: torch.Generator,
) -> ShellCurve:
    """FSC of masked half maps whose phases were randomised: the mask's own correlation.

    Args:
        half_maps: Volumes of two halves of the data.
        mask: A soft mask.
        first_shell: Where the random phases begin.
        generator: Of the random phases.
    """
    random = [randomise_phases(half, first_shell, generator) for half in half_maps]
    return fourier_shell_correlation(random[0] * mask, random[1] * mask)


def freed_of_mask(masked: ShellCurve, noise: ShellCurve, first_shell: int) -> ShellCurve:
    """The corrected curve of :func:`mask_corrected_fsc`.

    Args:
        masked: FSC_t, of the masked half maps.
        noise: FSC_n, of those of random phases.
        first_shell: Where the random phases begin.
    """
    corrected = (masked.values - noise.values) / (1 - noise.values).clamp_min(1e-6)
    # Curves begin with shell 1.
    far = torch.arange(1, len(corrected) + 1) >= first_shell + 2
    return ShellCurve(masked.frequencies, torch.where(far, corrected, masked.values))


def _radii(box_size: int) -> Float[Tensor, "box box box"]:
    axis = torch.arange(box_size, dtype=torch.float64) - box_size // 2
    squares = axis.square()
    return (squares[:, None, None] + squares[None, :, None] + squares[None, None, :]).sqrt()


def _half_radii(
    box_size: int,
) -> tuple[Float[Tensor, "box box half"], Float[Tensor, " half"]]:
    """Radii in the half transform of ``rfftn``; how many voxels each of a row stands for."""
    axis = torch.fft.fftfreq(box_size, 1 / box_size, dtype=torch.float64).square()
    half = torch.arange(box_size // 2 + 1, dtype=torch.float64)
    counts = torch.full_like(half, 2.0)
    counts[0] = counts[-1] = 1.0
    return (axis[:, None, None] + axis[:, None] + half.square()).sqrt(), counts


def _shell_sums(quantity: Tensor, shells: Tensor, num_shells: int) -> Tensor:
    places = shells.flatten().clamp_max(num_shells)
    return sums_by_place(places, quantity.flatten(), num_shells + 1)[:num_shells]


def sums_by_place(
    places: Int[Tensor, " values"], values: Float[Tensor, " values"], count: int
) -> Float[Tensor, " places"]:
    """Sums of values that have the same place, in double precision.

    Args:
        places: From 0 on.
        values: What is added up.
        count: Number of places.
    """
    if values.device.type == "cpu":
        return torch.bincount(places, values.double(), count)
    # Twice as slow on processors, but cards can do this one in the same order in every run.
    sums = torch.zeros(count, dtype=torch.float64, device=values.device)
    return sums.index_add_(0, places, values.double())
