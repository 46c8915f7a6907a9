"""Forecast of the detection of a component of a given strength by the linear model.

A covariance estimated from N noisy images has noise with an edge (Baik, Ben Arous & Péché
2005): a component whose signal-to-noise ratio per particle is λ stands out where λ > √(d / N),
d being the number of values of a volume that are free. With λ = Σ λ_s and d = Σ d_s over shells
s, each weighted as is best, it stands out where E = N Σ λ_s² / d_s > 1. Beyond the edge, how
well the component is known follows from the fixed point of the equations of state of a spiked
matrix (Lesieur, Krzakala & Zdeborová 2017): t = Q / (1 + Q) for the latent, Q = Σ λ_s ρ_s, and
ρ_s = x_s / (1 + x_s), x_s = t N λ_s / d_s for the component, whose volume of one half set has
noise of P_s / x_s beside its power P_s. From that follows the correlation of two half sets, by
which the fit tells signal from noise (:mod:`cryodrgn.linear.halves`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.linear.embed import subspace_of
from cryodrgn.linear.halves import SIGNAL_THRESHOLD
from cryodrgn.linear.masks import molecule_mask, starting_mask
from cryodrgn.linear.subspace import grid_size

FIXED_POINT_ROUNDS, CONVERGED, SEARCH_ROUNDS = 200, 1e-5, 12
# The fit ends after ten iterations from a random start, before components near the edge are
# whole: correlations of simulated sets were short of the theory's by about E / (E + 2).
UNFINISHED = 2.0
# Levels of noise, relative to the given one, at which the fit's mask is drawn.
MASK_LEVELS = 17
# Standard deviations of the logarithm of the number of particles that a correlation needs:
# of the forecast, and of single trials beside it.
FORECAST_ERROR, TRIAL_ERROR = 0.35, 0.2
# Numbers of particles beyond which nobody asks.
FEWEST, MOST = 8.0, 1e9
LARGEST_SHIFT = 1.5
# Correlations between which a trial tells by how much a forecast is off.
TELLING = (0.15, 0.92)
Mask = Callable[[float], float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Component:
    """Difference of two states in the images of a set.

    Attributes:
        signal: Mean signal-to-noise ratio of the difference in a particle's images, by shell,
            see :func:`~cryodrgn.linear.planting.signals`.
        power: Mean square of a real number of its transform, by shell.
    """

    signal: Float[Tensor, " shells"]
    power: Float[Tensor, " shells"]

    def __post_init__(self) -> None:
        """Refuse shells that do not fit."""
        assert self.signal.shape == self.power.shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Forecast for one size of motion, share and number of particles.

    Attributes:
        edge: E, the squared signal-to-noise ratio of the component relative to the edge of the
            noise, in one half set; below 1 nothing can be found.
        latent: Share of the variance of the latent that is known, t.
        correlation: Correlation of the component's volumes from two half sets.
    """

    edge: float
    latent: float
    correlation: float


def free_values(radius: int, share: float) -> Float[Tensor, " shells"]:
    """Number of real numbers of a volume's transform that a mask leaves free, by shell.

    Args:
        radius: The last shell.
        share: Share of the box within the mask.
    """
    return torch.from_numpy(_free(np.arange(radius + 1.0), share))


def _free(shells: Float[np.ndarray, " shells"], share: float) -> Float[np.ndarray, " shells"]:
    return np.maximum(4 * math.pi * shells**2 * share, 1.0)


def forecast(component: Component, share: float, num_particles: float, mask: Mask) -> Forecast:
    """Forecast of what the linear model finds of two states.

    Args:
        component: Their difference.
        share: Share of the particles in the minor state.
        num_particles: Number of particles, of which each half set has half.
        mask: Share of the box within the mask that the fit draws, by number of particles.
    """
    return _forecast(_by_shell(component), share, num_particles, mask)


class _Shells(NamedTuple):
    """Numbers of a component by shell from the first on, and the shells."""

    signal: Float[np.ndarray, " shells"]
    power: Float[np.ndarray, " shells"]
    shells: Float[np.ndarray, " shells"]


def _by_shell(component: Component) -> _Shells:
    """Numbers of a component, those of its power as sums over shells."""
    signal, power = (
        values.double().numpy()[1:] for values in (component.signal, component.power)
    )
    shells = np.arange(1.0, len(signal) + 1)
    return _Shells(signal, power * shells**2, shells)


def _forecast(known: _Shells, share: float, num_particles: float, mask: Mask) -> Forecast:
    variance, half = share * (1 - share), num_particles / 2
    signal, power = variance * known.signal, known.power
    free = _free(known.shells, mask(num_particles))
    edge = float((half * signal**2 / free).sum())
    latent, strength = 1.0, np.zeros_like(signal)
    for _ in range(FIXED_POINT_ROUNDS):
        strength = latent * half * signal / free
        told = float((signal * strength / (1 + strength)).sum())
        before, latent = latent, told / (1 + told)
        if abs(before - latent) < CONVERGED or latent < CONVERGED:
            break
    noise = power / np.maximum(strength, 1e-12)
    correlation = float(power.sum() / max((power + noise).sum(), 1e-30))
    return Forecast(
        edge=edge,
        latent=latent,
        correlation=correlation * edge / (edge + UNFINISHED),
    )


def mask_shares(
    consensus: Float[Tensor, "box box box"],
    information: Float[Tensor, " shells"],
    num_components: int,
    radius: int,
    num_particles: int,
    seed: int = 0,
) -> Mask:
    """Share of the box within the mask that a fit draws from noisy volumes, as a function.

    Where components are noise, the mask follows it, up to the whole box. Volumes of noise are
    drawn at several levels, and masks from them as the fit draws them.

    Args:
        consensus: The map, in units of the images.
        information: Mean of C² / σ² that a particle adds to a real number of the volume's
            transform, by shell.
        num_components: Components that are fitted.
        radius: Radius of the fit; masks are drawn at three quarters of it.
        num_particles: Largest number of particles that is asked for.
        seed: Of the noise.
    """
    drawn = max(2, 3 * radius // 4)
    base = subspace_of(consensus[None].cpu(), drawn)
    side = grid_size(drawn, len(consensus))
    grid, ball = RfftVolumeGrid(side), starting_mask(side, torch.device("cpu"))
    shells = grid.radii().round().long().clamp_max(drawn + 1)
    spread = torch.zeros(drawn + 2)
    spread[1:-1] = information[1 : drawn + 1].clamp_min(1e-12).rsqrt()
    # The transform of white noise of unit variance has side³ / 2 in every real number.
    factors = spread[shells] / math.sqrt(side**3 / 2)
    white = torch.randn(
        2 * num_components, side, side, side, generator=generator_at(seed, (0,))
    )
    noise = torch.stack([grid.volume_of(grid.spectrum_of(part) * factors) for part in white])
    counts = num_particles / np.geomspace(1, 256, MASK_LEVELS)
    shares, free = [], float(free_values(drawn, float(ball.mean())).sum())
    for count in counts:
        # Share of the variance of a latent of pure noise that is left of it by then; so it was
        # found on simulated sets of two radii, noise levels and four numbers of images.
        ratio = (free / (count / 2)) ** 2
        level = math.sqrt(ratio / (1 + ratio) / (count / 2))
        components = level * noise * ball / math.sqrt(2)
        volumes = torch.cat([base.volumes * ball, components])
        shares.append(float(molecule_mask(volumes, len(consensus)).mean()))
    logs, found = np.log(counts[::-1]), np.array(shares[::-1])
    return lambda count: float(np.interp(math.log(count), logs, found))


def needed_particles(
    component: Component, share: float, mask: Mask, correlation: float = SIGNAL_THRESHOLD
) -> float:
    """Number of particles from which on a correlation of half sets is forecast.

    Args:
        component: The difference of the states.
        share: Share of the particles in the minor state.
        mask: Share of the box within the mask that the fit draws, by number of particles.
        correlation: The correlation; by default that of a component that carries signal.

    Returns:
        The number, between 8 and 10⁹.
    """
    known, low, high = _by_shell(component), math.log(FEWEST), math.log(MOST)
    for _ in range(SEARCH_ROUNDS):
        middle = (low + high) / 2
        if _forecast(known, share, math.exp(middle), mask).correlation < correlation:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One planted set, fitted.

    Attributes:
        expected: Correlation of half sets that was forecast; 0 where nothing was planted.
        found: The largest correlation of a component.
        shift: Logarithm of the factor on the number of particles with which the forecast would
            have been right; None where correlations are too low or too high to tell.
    """

    expected: float
    found: float
    shift: float | None = None

    @property
    def is_detected(self) -> bool:
        """True if a component carries signal, as a linear run says it."""
        return self.found > SIGNAL_THRESHOLD


def trial_of(
    component: Component, share: float, num_particles: float, mask: Mask, found: float
) -> Trial:
    """A trial, compared with its forecast.

    Args:
        component: The difference of the states that was planted.
        share: Share of the particles in the minor state.
        num_particles: Number of particles.
        mask: Share of the box within the mask that the fit draws, by number of particles.
        found: The largest correlation of a component.
    """
    expected = forecast(component, share, num_particles, mask).correlation
    low, high = TELLING
    shift = None
    if max(expected, found) > low and min(expected, found) < high:
        # Correlations of noise say no more than that there is less.
        needed = needed_particles(component, share, mask, min(max(found, low), high))
        shift = math.log(needed / num_particles)
        shift = min(max(shift, -LARGEST_SHIFT), LARGEST_SHIFT)
    return Trial(expected=expected, found=found, shift=shift)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Correction of forecasts by trials: a factor on the number of particles.

    Attributes:
        shift: Logarithm of that factor.
        shift_error: Its standard error.
        spread: Standard deviation of single trials about it.
        false_alarms: Probability that noise alone is taken for a component.
    """

    shift: float = 0.0
    shift_error: float = FORECAST_ERROR
    spread: float = TRIAL_ERROR
    false_alarms: float = 0.0

    def probability(
        self, num_particles: float, needed: float, deviations: float | None = None
    ) -> float:
        """Probability that a component is detected.

        Args:
            num_particles: Number of particles.
            needed: Number from which on it is forecast to be detected.
            deviations: The shift lies so many standard errors above its estimate; None takes
                the mean over what it may be.
        """
        above = math.log(num_particles / needed) + self.shift
        spread = self.spread
        if deviations is None:
            spread = math.hypot(spread, self.shift_error)
        else:
            above += deviations * self.shift_error
        signal = _normal(above / spread)
        return signal + (1 - signal) * self.false_alarms


def calibrated(trials: Sequence[Trial]) -> Calibration:
    """Correction that trials give, beside what is known of forecasts without any.

    Every trial that tells measures the shift with the spread of single trials; without trials
    it is 0 ± 0.35.
    """
    misses = np.array([trial.shift for trial in trials if trial.shift is not None])
    count, spread = len(misses), TRIAL_ERROR
    if count:
        # Spread with a prior worth four trials.
        about = misses - misses.mean()
        spread = math.sqrt((4 * TRIAL_ERROR**2 + float(about @ about)) / (4 + count - 1))
    weight = count / spread**2
    precision = weight + FORECAST_ERROR**-2
    empty = [trial.is_detected for trial in trials if trial.expected == 0]
    return Calibration(
        shift=float(misses.mean()) * weight / precision if count else 0.0,
        shift_error=precision**-0.5,
        spread=spread,
        false_alarms=sum(empty) / (len(empty) + 1),
    )


def _normal(value: float) -> float:
    """Cumulative distribution of a standard normal variable."""
    return (1 + math.erf(value / math.sqrt(2))) / 2
