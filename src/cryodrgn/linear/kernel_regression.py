"""Volumes of states by kernel regression, the bandwidth chosen shell by shell.

As in Gilles & Singer (2025): the images near a state in the latent space are averaged, with a
wide kernel where signal is scarce and a narrow one where states differ.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.fourier.half_grid import RfftVolumeGrid, interpolation_envelope
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.linear.embed import subspace_of
from cryodrgn.linear.halves import LEAST_FSC, Halves, correlations
from cryodrgn.linear.iteration import DiscImages, add_batch
from cryodrgn.linear.regression import LIGHT_DAMPING
from cryodrgn.linear.subspace import grid_shells, grid_size, shell_averages
from cryodrgn.progress import Progress

# Standard deviations of the kernels, in units of those of the latents.
BANDWIDTHS = (0.3, 0.5, 0.8, 1.2, 1.8, 3.0)
# Images of lower weight, relative to the highest, are left out.
LEAST_WEIGHT = 0.02
STATES_COMPARED = 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KernelState:
    """One state.

    Attributes:
        volume: From all images, masked and filtered by the agreement of the halves.
        halves: From every other image, filtered and masked alike.
        half_maps: The same unfiltered and without mask.
        effective_number: (Σ w)² / Σ w² for the weights of different images at the bandwidth of
            most shells.
    """

    volume: Float[Tensor, "box box box"]
    halves: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]]
    half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]]
    effective_number: float


def kernel_weights(
    latents: Float[Tensor, "particles z"],
    covariances: Float[Tensor, "particles z z"] | None,
    state: Float[Tensor, " z"],
) -> Float[Tensor, "particles bandwidths"]:
    """Weight of every image for one state, by bandwidth, 1 for the nearest images.

    w_i = N(z; z_i, S_i + h² C), S_i being the uncertainty of z_i and C the covariance of all
    latents, relative to the mean of the twenty highest.
    """
    spread = torch.atleast_2d(torch.cov(latents.T))
    offsets = latents - state
    columns = []
    for bandwidth in BANDWIDTHS:
        widened = bandwidth**2 * spread
        if covariances is not None:
            widened = widened + covariances
        factor = torch.linalg.cholesky(widened.expand(len(latents), -1, -1))
        scaled = torch.linalg.solve_triangular(factor, offsets[..., None], upper=False)[..., 0]
        volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        exponent = -scaled.square().sum(1) / 2 - volume
        nearest = exponent.topk(min(20, len(exponent))).values.mean()
        columns.append((exponent - nearest).clamp_max(0).exp())
    weights = torch.stack(columns, dim=1)
    return torch.where(weights < LEAST_WEIGHT, 0.0, weights)


class KernelRegression:
    """Volumes at points of a latent space.

    One bandwidth per shell serves all states: the one whose half maps, with the narrowest
    kernel's data of the other half, leave the least error (cross-validation), summed over a few
    states.

    Args:
        images: The images.
        halves: Rows of those of each half.
        latents: Latent of every image.
        covariances: Its uncertainty, where it is known.
        half_latents: Latents by independent half models, for the half maps; None takes the
            same.
        noise: The noise.
        mask: Where there may be density.
        contrasts: Contrast of every image; None where all are 1.
    """

    def __init__(
        self,
        images: DiscImages,
        halves: Halves,
        latents: Float[Tensor, "particles z"],
        covariances: Float[Tensor, "particles z z"] | None,
        half_latents: Float[Tensor, "particles z"] | None,
        noise: NoiseModel,
        mask: Float[Tensor, "size size size"],
        contrasts: Float[Tensor, " particles"] | None = None,
    ) -> None:
        self._images, self._rows = images, halves
        self._latents, self._covariances = latents, covariances
        self._contrasts = latents.new_ones(len(latents)) if contrasts is None else contrasts
        self._half_latents = latents if half_latents is None else half_latents
        self._noise = noise
        self._mask = mask
        self._radius = min(images.largest_radius, images.box_size // 2 - 1)
        self._chosen: Int[Tensor, " shells"] | None = None

    def choose_bandwidths(self, states: Float[Tensor, "states z"]) -> Int[Tensor, " shells"]:
        """Number of the bandwidth in every shell, by cross-validation at some states."""
        few = torch.linspace(0, len(states) - 1, min(len(states), STATES_COMPARED)).long()
        errors = torch.zeros(len(BANDWIDTHS), self._radius + 2, device=self._mask.device)
        with Progress(len(few), "choosing bandwidths", "state") as progress:
            for state in states[few]:
                weights = kernel_weights(self._latents, self._covariances, state)
                errors += _errors(self._halves(weights), self._mask, self._radius)
                progress.advance()
        self._chosen = errors.argmin(0)
        # Images say nothing of the origin, where only rounding would choose.
        self._chosen[0] = self._chosen[1]
        return self._chosen

    def state(self, state: Float[Tensor, " z"]) -> KernelState:
        """The volume at one point, bandwidths being chosen."""
        assert self._chosen is not None
        weights = kernel_weights(self._latents, self._covariances, state)
        common = weights[:, int(self._chosen.bincount().argmax())]
        common = self._images.sums_of_copies(common)
        number = float(common.sum().square() / common.square().sum().clamp_min(1e-12))
        halves = self._halves(weights)
        apart = halves
        if self._half_latents is not self._latents:
            apart = self._halves(kernel_weights(self._half_latents, self._covariances, state))
        return _state(halves, apart, self._chosen, self._mask, self._radius, number)

    def _halves(self, weights: Float[Tensor, "particles bandwidths"]) -> list[SliceAccumulator]:
        return [
            _sums(self._images, weights, self._contrasts, self._noise, self._radius, rows)
            for rows in self._rows
        ]


def _sums(
    images: DiscImages,
    weights: Float[Tensor, "particles bandwidths"],
    contrasts: Float[Tensor, " particles"],
    noise: NoiseModel,
    radius: int,
    rows: Int[Tensor, " rows"],
) -> SliceAccumulator:
    count = weights.shape[1]
    grid = RfftVolumeGrid(grid_size(radius, images.box_size))
    sums = SliceAccumulator(grid, count, count, images.device, images.mates)
    near = rows[(weights[rows].amax(1) > 0).cpu()]
    for batch in images.batches(images.team.piece(near), radius):
        precision = noise.precision(batch.image_rows, images.num_points(radius))
        contrast = contrasts[batch.rows, None]
        coefficients = weights[batch.rows] * contrast
        products = coefficients * contrast
        add_batch(sums, batch, precision, coefficients, products, images.box_size)
    sums.share(images.team)
    return sums


def _errors(
    sums: list[SliceAccumulator], mask: Float[Tensor, "size size size"], radius: int
) -> Float[Tensor, "bandwidths shells"]:
    """Error of each kernel bandwidth against the other half set, optimally scaled, by shell."""
    grid = sums[0].grid
    errors = torch.zeros(len(BANDWIDTHS), radius + 2, device=mask.device)
    for part, other in (sums, sums[::-1]):
        values, weights = other.totals()
        for number in range(len(BANDWIDTHS)):
            spectrum = _masked_spectrum(part, number, mask, radius)
            powers = torch.stack(
                [
                    weights[:, 0] * spectrum.square().sum(1),
                    (values[:, 0] * spectrum).sum(1),
                ],
                dim=1,
            )
            power, match = shell_averages(grid, powers, radius).T
            errors[number] -= match.clamp_min(0).square() / power.clamp_min(1e-30)
    return errors


def _masked_spectrum(
    sums: SliceAccumulator, number: int, mask: Float[Tensor, "size size size"], radius: int
) -> Float[Tensor, "voxels 2"]:
    grid = sums.grid
    volume = _quotient(sums, torch.full((radius + 2,), number, device=mask.device), radius, 0.3)
    envelope = interpolation_envelope(grid.box_size, grid.box_size, mask.device)
    masked = volume * resize_mask(mask, grid.box_size) / envelope
    inside = grid.radii(mask.device) <= radius + 1
    return torch.view_as_real(grid.spectrum_of(masked) * inside).reshape(-1, 2)


def _quotient(
    sums: SliceAccumulator,
    chosen: Int[Tensor, " shells"],
    radius: int,
    damping: float | Float[Tensor, " shells"],
) -> Float[Tensor, "box box box"]:
    """Averages with the chosen bandwidth in every shell, damped in units of its mean weight."""
    grid = sums.grid
    values, weights = sums.totals()
    shells = grid_shells(grid, radius, sums.device)
    column = chosen[shells]
    row = torch.arange(len(shells), device=sums.device)
    value, weight = values[row, column], weights[row, column]
    mean = shell_averages(grid, weight[:, None], radius)[:, 0].clamp_min(1e-12)
    spectrum = value / (weight + (damping * mean)[shells])[:, None]
    spectrum *= (grid.radii(sums.device).flatten() <= radius + 1)[:, None]
    volume = grid.volume_of(torch.view_as_complex(spectrum).view(grid.shape))
    return volume / interpolation_envelope(grid.box_size, grid.box_size, sums.device)


def _state(
    halves: list[SliceAccumulator],
    apart: list[SliceAccumulator],
    chosen: Int[Tensor, " shells"],
    mask: Float[Tensor, "size size size"],
    radius: int,
    effective_number: float,
) -> KernelState:
    grid = halves[0].grid
    stencil = resize_mask(mask, grid.box_size)
    light = [_quotient(part, chosen, radius, LIGHT_DAMPING) * stencil for part in halves]
    fsc = correlations(*(subspace_of(volume[None], radius) for volume in light))[0]
    fsc = fsc.clamp(LEAST_FSC, 0.999)
    filtered = (1 - fsc) / (2 * fsc)
    whole = halves[0].merged(halves[1])
    first, second = (_quotient(part, chosen, radius, LIGHT_DAMPING) for part in apart)
    damped = [_quotient(part, chosen, radius, filtered) * stencil for part in apart]
    return KernelState(
        volume=_quotient(whole, chosen, radius, filtered) * stencil,
        halves=(damped[0], damped[1]),
        half_maps=(first, second),
        effective_number=effective_number,
    )
