"""Wiener filters of a map whose signal and noise its half maps tell apart."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.fourier.shells import ShellCurve, shell_numbers, sums_by_place, weight_shells

# No shell and no distance is damped to less than a hundredth.
LEAST_SNR = 1e-2
# Distances over which signal and noise are averaged, as weights of voxels up to two further in
# or out.
NEIGHBOURS = (1.0, 2.0, 3.0, 2.0, 1.0)


def signal_to_noise(correlation: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
    """Ratio of powers in a map of all images, from a correlation of two half maps.

    SNR = 2 C / (1 − C) (Scheres 2012), at least :data:`LEAST_SNR`.
    """
    return (2 * correlation / (1 - correlation).clamp_min(1e-6)).clamp_min(LEAST_SNR)


def filter_by_distance(
    volume: Float[Tensor, "box box box"],
    half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]],
    fsc: ShellCurve,
) -> Float[Tensor, "box box box"]:
    """A map damped where, at its distance from the centre, half maps have little in common.

    A particle ends somewhere in the box, and beyond it a map is noise. As a shell in Fourier
    space is weighted by SNR / (1 + SNR), so is one in real space, of all voxels at one distance
    from the centre. Its correlation is that of half maps filtered by shell like the map,
    C = Σ a b / Σ (a² + b²) / 2. Nothing but the distance counts, so that the weights are those
    of thousands of voxels and know next to nothing of the noise of any.

    Args:
        volume: The map of all images, Wiener-filtered by shell.
        half_maps: Maps of both halves of the images, unfiltered.
        fsc: Their Fourier shell correlation.
    """
    snr = signal_to_noise(fsc.values)
    first, second = (weight_shells(half, snr / (1 + snr)) for half in half_maps)
    distances = shell_numbers(len(volume))
    common = _near(distances, first * second)
    power = _near(distances, first.square().add_(second.square())) / 2
    correlation = torch.where(power > 0, common / power.clamp_min(1e-300), 0.0)
    snr = signal_to_noise(correlation).float()
    return volume * (snr / (1 + snr))[distances]


def _near(
    distances: Tensor, quantity: Float[Tensor, "box box box"]
) -> Float[Tensor, " distances"]:
    """Sums of a quantity over voxels at about each distance from the centre."""
    count = int(distances.max()) + 1
    sums = sums_by_place(distances.flatten(), quantity.flatten(), count)
    weights = sums.new_tensor([[NEIGHBOURS]])
    return torch.nn.functional.conv1d(sums[None, None], weights, padding="same")[0, 0]
