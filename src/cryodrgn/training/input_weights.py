"""Weights of an encoder's inputs by the spectral signal-to-noise ratio of the images.

Most of what a perceptron sees of an image is noise at high frequencies. Inputs are multiplied
with √(SNR / (1 + SNR)), in units in which their mean square is 1. The product of weights
and inputs is the same as that of columns of the first layer and inputs, so the weights are
folded into that layer: its initial values are multiplied with them, and so is every change that
the optimiser makes to it (to Adam, whose steps do not depend on the scale of gradients, that is
the same as weighted inputs). Checkpoints hold an encoder like any other.
"""

import logging
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from cryodrgn.data.training_set import TrainingSet
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.models.protocols import Encoder
from cryodrgn.parallel import ALONE, Team
from cryodrgn.training.optimizers import TunedAdam
from cryodrgn.training.start import ResumePoint

logger = logging.getLogger(__name__)

# Particles from which the ratio is known well enough.
SAMPLE = 20_000
TOGETHER = 200


@torch.no_grad()
def spectral_snr(images: TrainingSet, team: Team = ALONE) -> Float[Tensor, " points"]:
    """Power of the particle over that of the noise in an image, at every stored frequency.

    The power of the particle by shell is the cross power of the sums of two halves of the
    images, Σ Re(S₁ S₂*) / Σ W₁ W₂ with S = Σ t y and W = Σ t² on the voxels of the volume's
    transform, t the transfer function: noise, which the halves do not share, has no part in it.
    The power of the noise is what of that of the images is left. Signal that varies between
    particles counts as noise. The grid is not padded, so that interpolation takes power from
    what lies far from the centre: ratios are too small, by a factor that hardly depends on
    frequency.

    Args:
        images: The images, with poses.
        team: Processes that share them.

    Returns:
        The ratio, not negative, averaged over images; 0 where there is no signal.
    """
    box_size, device = images.lattice.box_size, images.device
    grid = RfftVolumeGrid(box_size)
    halves = [SliceAccumulator(grid, 1, 1, device) for _ in range(2)]
    power, passed = torch.zeros(2, images.num_points, device=device)
    count = min(SAMPLE, len(images))
    sample = team.piece(torch.linspace(0, len(images) - 1, count).long())
    number, numbers = torch.zeros((), device=device), torch.from_numpy(images.numbers)
    for rows in sample.split(images.most_together(TOGETHER)):
        batch = images.batch(rows)
        transfer = batch.transfer()
        if transfer is None:
            transfer = torch.ones_like(batch.images[..., 0])
        power += batch.images.square().sum(-1).sum(0)
        passed += transfer.square().sum(0)
        number += batch.num_images
        parity = batch.grouping.spread(numbers[rows] % 2).to(device)
        for half, sums in enumerate(halves):
            chosen = (parity == half).nonzero()[:, 0]
            one = torch.ones(len(chosen), 1, device=device)
            sums.add(
                batch.coordinates[chosen] * box_size,
                batch.images[chosen] * transfer[chosen][..., None],
                transfer[chosen].square(),
                one,
                one,
            )
    for sums in halves:
        sums.share(team)
    team.add([power, passed, number])
    shells = images.lattice.points.to(device).float().square().sum(-1).sqrt().round().long()
    signal = _cross_power(grid, halves, int(shells.max()) + 1)[shells] * passed / number
    noise = power / number - signal
    ratio = signal.clamp_min(0) / noise.clamp_min(1e-6)
    # A shell holds noise of its own; its points share one value.
    totals = torch.zeros(int(shells.max()) + 1, device=device)
    counts = totals.index_add(0, shells, torch.ones_like(ratio))
    return (totals.index_add(0, shells, ratio) / counts.clamp_min(1))[shells]


def input_weights(ratio: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
    """√(SNR / (1 + SNR)) in units of its root mean square; 1 where nothing is known."""
    weights = (ratio / (1 + ratio)).sqrt()
    scale = float(weights.square().mean().sqrt())
    return weights / scale if scale > 0 and math.isfinite(scale) else torch.ones_like(weights)


def weigh_inputs(
    encoder: Encoder,
    images: TrainingSet,
    optimizer: Optimizer,
    start: ResumePoint,
    team: Team = ALONE,
) -> None:
    """Weight what an encoder sees by the signal-to-noise ratio, in its first layer.

    Args:
        encoder: The encoder; fresh weights are changed, those of a file are left as they are.
        images: The images.
        optimizer: Moves its weights, from now on in proportion to the weights of inputs.
        start: Where the run begins; one that goes on has its weights of the inputs in the
            state of the optimiser.
        team: Processes that train together.
    """
    assert isinstance(optimizer, TunedAdam)
    goes_on = start.checkpoint is not None and start.is_same_run
    count = images.num_points
    ratio = torch.ones(count, device=images.device) if goes_on else spectral_snr(images, team)
    found = encoder.input_columns(input_weights(ratio))
    if found is None:
        logger.warning(
            "`input_weighting` snr has no effect: the inputs of this encoder are no values at "
            "frequencies"
        )
        return
    parameter, factors = found
    optimizer.scale_changes(parameter, factors)
    if start.checkpoint is None:
        with torch.no_grad():
            parameter *= factors
    if not goes_on:
        shells = images.lattice.points.float().square().sum(-1).sqrt()
        above = shells[(ratio > 0.1).cpu()]
        logger.info(
            "inputs of the encoder are weighted by the signal-to-noise ratio of the images, "
            "which is above 0.1 up to a radius of %d of %d pixels",
            round(float(above.max())) if len(above) else 0,
            images.lattice.box_size // 2,
        )


def _cross_power(
    grid: RfftVolumeGrid, halves: list[SliceAccumulator], num_shells: int
) -> Float[Tensor, " shells"]:
    """Power by shell of what two halves share."""
    (first, of_first), (second, of_second) = (half.totals() for half in halves)
    shells = grid.radii(first.device).flatten().round().long()
    inside = shells < num_shells
    products = (first[:, 0] * second[:, 0]).sum(-1)
    weights = of_first[:, 0] * of_second[:, 0]
    zeros = torch.zeros(num_shells, device=first.device)
    above = zeros.index_add(0, shells[inside], products[inside])
    below = zeros.index_add(0, shells[inside], weights[inside])
    return above / below.clamp_min(1e-12)
