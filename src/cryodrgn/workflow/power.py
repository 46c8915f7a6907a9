"""Power of a set: would a motion of this size, or a state of this share, have been seen?"""

import bisect
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.data.config import DataConfig
from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.io.log import only_warnings
from cryodrgn.linear.detection import (
    Calibration,
    Component,
    Forecast,
    Mask,
    Trial,
    calibrated,
    forecast,
    mask_shares,
    needed_particles,
    trial_of,
)
from cryodrgn.linear.embed import subspace_of
from cryodrgn.linear.planting import coverage, drawn_rows, plant, sampled, signals
from cryodrgn.linear.state_resolution import Coverage, StateResolution
from cryodrgn.linear.subspace import grid_size
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress
from cryodrgn.settings import settings
from cryodrgn.workflow.options import NoiseSource, PowerOptions
from cryodrgn.workflow.power_scene import (
    LARGEST_TRIAL,
    FitSettings,
    MotionSettings,
    Scene,
    fitted,
    open_scene,
    require_shares,
)

logger = logging.getLogger(__name__)

# Chances of detection beyond which the forecast is believed without a trial.
SURE, UNSURE = 0.98, 0.02
# One trial in so many plants nothing.
EMPTY_EVERY = 4
# Numbers of particles that are looked at, relative to that of the set.
COUNTS = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
# Those of trials.
TRIED_COUNTS = (1.0, 0.5, 0.25)


@settings
class PowerSettings(PowerOptions):
    """Questions that are asked of a set.

    Attributes:
        data: The images.
        motion: What moves.
        fit: Settings of the linear model.
        on_disk: Whether prepared images are kept in a file; None decides by memory.
    """

    data: DataConfig
    motion: MotionSettings
    fit: FitSettings
    on_disk: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A question: a size of motion, a share, a number of particles.

    Attributes:
        size: Of the motion, at most the largest one that was made.
        share: Of the minor state.
        count: Number of particles.
    """

    size: float
    share: float
    count: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Views:
    """Signals of the motions, and coverage of Fourier space, in the views of a set.

    Attributes:
        components: The differences of the states in the images.
        coverage: Coverage of Fourier space.
    """

    components: tuple[Component, ...]
    coverage: Coverage


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Power:
    """Chances of detection and resolutions in a set.

    Attributes:
        scene: The set, and what is planted.
        settings: What was asked.
        views: Signals in its views.
        uniform: Signals in as many views from all directions.
        mask: Share of the box within the mask of the fit, by number of particles.
        trials: Trials, with what was planted in each; None where nothing was.
        calibration: Correction of the forecasts by the trials.
        noise: Noise that trials had.
        found: Numbers of particles that motions need, as far as they were asked for.
    """

    scene: Scene
    settings: PowerSettings
    views: Views
    uniform: Views
    mask: Mask
    trials: tuple[tuple[Point | None, Trial], ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    noise: NoiseSource = "residuals"
    found: dict[tuple[float, float, bool], float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of particles that the linear model would be fitted to."""
        return min(len(self.scene.particles), self.settings.fit.fit_images)

    def forecast(self, point: Point, *, uniform: bool = False) -> Forecast:
        """Forecast without trials."""
        component = self._component(point, uniform=uniform)
        return forecast(component, point.share, float(point.count), self.mask)

    def tried(self, point: Point | None, found: float) -> Trial:
        """A trial in which a component of some correlation was found, beside its forecast."""
        if point is None:
            return Trial(expected=0.0, found=found)
        return trial_of(
            self._component(point), point.share, float(point.count), self.mask, found
        )

    def probability(
        self, point: Point, deviations: float | None = None, *, uniform: bool = False
    ) -> float:
        """Probability that the motion is detected.

        Args:
            point: The question.
            deviations: Standard errors by which trials may have misjudged the forecast; None
                takes the mean over them.
            uniform: Whether views are taken to be uniform.
        """
        needed = self.needed(point, uniform=uniform)
        return self.calibration.probability(float(point.count), needed, deviations)

    def needed(self, point: Point, *, uniform: bool = False) -> float:
        """Number of particles from which on the motion is forecast to be detected."""
        key = (point.size, point.share, uniform)
        if key not in self.found:
            component = self._component(point, uniform=uniform)
            self.found[key] = needed_particles(component, point.share, self.mask)
        return self.found[key]

    def _component(self, point: Point, *, uniform: bool = False) -> Component:
        views = self.uniform if uniform else self.views
        return component_at(views.components, self.scene.motions.sizes, point.size)

    def resolution(self, share: float, *, uniform: bool = False) -> StateResolution:
        """Resolution of the map of a state of a share of all particles, at best."""
        views = self.uniform if uniform else self.views
        scene = self.scene
        power = shell_power(scene.consensus, views.coverage.radius)
        number = share * len(scene.particles)
        return views.coverage.resolution(power, number, self.mask(len(scene.particles)))


def measure_power(
    settings: PowerSettings,
    particles: ParticleSet,
    device: torch.device,
    scratch: Path,
) -> Power:
    """Forecast what a set can show, and try it where the forecast is not trusted.

    Args:
        settings: What is asked.
        particles: The set.
        device: Where to compute.
        scratch: Folder for images that do not fit into memory.

    Raises:
        CryodrgnError: The set cannot be used, or the motion does not fit into it.
    """
    require_shares(settings.shares, len(particles))
    scene = open_scene(
        settings.data,
        particles,
        settings.motion,
        settings.fit,
        device,
        scratch,
        settings.consensus,
        on_disk=settings.on_disk,
        without_own=settings.noise == "residuals" and settings.num_trials > 0,
    )
    return power_of(scene, settings)


def power_of(scene: Scene, settings: PowerSettings) -> Power:
    """Chances of detection in a set that is prepared."""
    fit, rows = settings.fit, sampled(scene.images)
    radius = min(fit.radius, scene.images.largest_radius - 1)
    turns = random_rotations(len(rows), generator_at(fit.seed, (5,)))
    views, uniform = (_views(scene, radius, turned) for turned in (None, turns))
    mask = mask_shares(
        scene.consensus,
        views.coverage.information(),
        fit.num_components,
        radius,
        max(int(COUNTS[-1] * len(scene.particles)), 2),
        fit.seed,
    )
    power = Power(
        scene=scene,
        settings=settings,
        views=views,
        uniform=uniform,
        mask=mask,
        noise=settings.noise,
    )
    return _tried(power)


def shell_power(volume: Float[Tensor, "box box box"], radius: int) -> Float[Tensor, " shells"]:
    """Mean square of a real number of a volume's transform, by shell up to a radius."""
    return subspace_of(volume[None], radius).power()[0, : radius + 1]


def _views(scene: Scene, radius: int, turns: Float[Tensor, "rows 3 3"] | None) -> Views:
    """Signals in the images, from where they see particles or from all directions."""
    images, rows = scene.images, sampled(scene.images)
    differences, noise = scene.motions.differences, scene.background.noise
    found = signals(images, rows, differences, noise, radius, turns)
    components = tuple(
        Component(signal=signal, power=shell_power(difference, radius))
        for signal, difference in zip(found, differences, strict=True)
    )
    last = scene.radius
    grid = RfftVolumeGrid(grid_size(last, images.box_size))
    reached = Coverage(
        grid=grid,
        weights=coverage(images, rows, noise, last, turns),
        side=images.box_size * scene.particles.require_pixel_size(),
        radius=last,
    )
    return Views(components=components, coverage=reached)


def _tried(power: Power) -> Power:
    """Power after trials where the forecast is not sure."""
    total = power.settings.num_trials
    if not total:
        return power
    empty = max(1, total // EMPTY_EVERY)
    with Progress(total, "fitting planted sets", unit="sets") as progress:
        for number in range(empty):
            power = _with_trial(power, None, number)
            progress.advance(1)
        if power.noise == "residuals" and power.calibration.false_alarms > 0.5:
            logger.warning(
                "the images show heterogeneity without anything planted, which the linear "
                "model could not remove: trials have noise of the estimated spectrum instead"
            )
            power = replace(power, trials=(), noise="spectrum", calibration=Calibration())
            for number in range(empty):
                power = _with_trial(power, None, number)
        for number in range(empty, total):
            power = _with_trial(power, _least_sure(power), number)
            progress.advance(1)
    return power


def _least_sure(power: Power) -> Point:
    """The question that the next trial answers: where the forecast says least, tried least."""
    tried = [point for point, _ in power.trials if point is not None]
    limit = min(power.count, LARGEST_TRIAL)

    def order(point: Point) -> tuple[float, float]:
        chance = power.probability(point)
        doubt = 0.5 - abs(chance - 0.5)
        return (-doubt / (1 + tried.count(point)), -point.count)

    points = [
        Point(size=size, share=share, count=int(limit * part))
        for size in power.scene.motions.sizes
        for share in power.settings.shares
        for part in TRIED_COUNTS
        if int(limit * part) >= least_particles(power.settings.fit)
    ]
    return min(points, key=order)


def least_particles(settings: FitSettings) -> int:
    """Fewest particles that the linear model is fitted to."""
    return 8 * settings.num_components


def require_particles(particles: ParticleSet, settings: FitSettings) -> None:
    """Refuse a set that is too small for the linear model.

    Raises:
        ShapeMismatchError: It is.
        ConfigError: It lists particles more than once.
    """
    if particles.images.copies is not None:
        msg = (
            f"{particles.source} lists {particles.num_different} particles in {len(particles)} "
            "rows, as symmetry expansion does, and every row would count as a particle: give "
            "the file from before expansion"
        )
        raise ConfigError(msg)
    least = least_particles(settings)
    if len(particles) < least:
        msg = (
            f"{particles.source} has {len(particles)} particles, but "
            f"{settings.num_components} components need at least {least}; ask for fewer "
            "`num_components`"
        )
        raise ShapeMismatchError(msg)


def _with_trial(power: Power, point: Point | None, number: int) -> Power:
    """Power after one more trial."""
    scene, fit = power.scene, power.settings.fit
    images, radius = scene.images, min(fit.radius, scene.images.largest_radius - 1)
    count = min(power.count, LARGEST_TRIAL) if point is None else point.count
    seed = fit.seed + number
    rows = drawn_rows(images, count, fit.seed, 100 + number)
    generator = generator_at(seed, (6,))
    share = 0.0 if point is None else point.share
    is_minor = torch.rand(count, generator=generator) < share
    motion = 0 if point is None else scene.motions.sizes.index(point.size)
    planted = plant(
        images,
        rows,
        is_minor,
        scene.motions.differences[motion],
        scene.background,
        radius,
        simulated_noise=generator if power.noise == "spectrum" else None,
    )
    with only_warnings():
        found = fitted(planted, rows, scene.noise, fit, seed).agreement
    trial = power.tried(point, float(found.correlation.max()))
    trials = (*power.trials, (point, trial))
    return replace(power, trials=trials, calibration=calibrated([trial for _, trial in trials]))


def component_at(
    components: Sequence[Component], sizes: Sequence[float], size: float
) -> Component:
    """Difference of the states after a motion of a size between those that were made.

    Signals are interpolated as powers of the size, and below the smallest size taken to be
    proportional to its square, as of motions that are short beside the resolution.
    """
    if size <= sizes[0]:
        factor = (size / sizes[0]) ** 2
        first = components[0]
        return Component(signal=factor * first.signal, power=factor * first.power)
    last = min(bisect.bisect_left(sizes, size), len(sizes) - 1)
    steps = math.log(sizes[last] / sizes[last - 1])
    part = min(1.0, math.log(size / sizes[last - 1]) / steps)
    low, high = components[last - 1], components[last]

    def between(first: Tensor, second: Tensor) -> Tensor:
        logs = [values.clamp_min(1e-30).log() for values in (first, second)]
        return torch.exp((1 - part) * logs[0] + part * logs[1])

    return Component(
        signal=between(low.signal, high.signal), power=between(low.power, high.power)
    )


def sizes_between(power: Power, number: int = 40) -> Float[np.ndarray, " sizes"]:
    """Sizes of motion for curves, from a fraction of the smallest to the largest."""
    sizes = power.scene.motions.sizes
    return np.geomspace(sizes[0] / 5, sizes[-1], number)


def smallest_found(power: Power, share: float, chance: float) -> float | None:
    """Size of motion from which on a set finds it with some probability; None beyond all.

    Args:
        power: The set.
        share: Of the minor state.
        chance: The probability.
    """
    for size in sizes_between(power, 120):
        point = Point(size=float(size), share=share, count=power.count)
        if power.probability(point) >= chance:
            return float(size)
    return None
