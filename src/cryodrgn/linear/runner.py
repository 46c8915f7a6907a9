"""A linear run from its settings to its files."""

import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

import cryodrgn
from cryodrgn.data.batches import generator_at
from cryodrgn.data.config import DataConfig
from cryodrgn.data.moving_poses import PoseSource
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing, estimate_scale
from cryodrgn.data.training_set import build_training_set
from cryodrgn.devices import describe_device
from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.ewald import Curvature
from cryodrgn.imaging.linear_posterior import Posterior
from cryodrgn.imaging.slices import mates_of
from cryodrgn.io.atomic import make_folder
from cryodrgn.io.log import log_to_file
from cryodrgn.io.masks import read_mask
from cryodrgn.linear.config import (
    LEAST_IMAGES_PER_COMPONENT,
    LinearConfig,
    require_radius,
    tell_radius,
)
from cryodrgn.linear.embed import embed, subspace_of
from cryodrgn.linear.fit import Fit, Iteration, PpcaEM
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.linear.masks import Masks
from cryodrgn.linear.particle_scores import score_particles, tell_of_junk
from cryodrgn.linear.pose_refinement import Correction, MovedPoses, refine_poses
from cryodrgn.linear.regression import Coefficients, Regression, regress
from cryodrgn.linear.reports import reporting
from cryodrgn.linear.results import (
    LinearResult,
    advice,
    criterion_in_words,
    verdict,
    write_results,
)
from cryodrgn.linear.subspace import Subspace
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.half_sets import rows_of
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.events import FitBegun

logger = logging.getLogger(__name__)

POSES_STAY = "half maps agree no better with corrected poses: they stay as they were given"


def train_linear(
    config: LinearConfig,
    particles: ParticleSet,
    run: RunDirectory,
    device: torch.device,
    *,
    team: Team = ALONE,
) -> LinearResult:
    """Fit a linear model to images with known poses, embed all of them, and write the run.

    See :func:`check_start` for what must be true of them.

    Args:
        config: Settings of the run.
        particles: The images, with poses.
        run: Folder for everything the run writes.
        device: Where to compute.
        team: Processes that share the images; the first of them writes the files.

    Raises:
        CryodrgnError: The settings or the data cannot be used.
    """
    device = with_double_precision(device)
    masks = _read_masks(config, particles, device)
    norm = config.data.norm or estimated_norm(config.data, particles)
    poses = None
    if config.pose_rounds:
        poses = MovedPoses(particles.first_images.require_poses(), device)
    images = prepare_disc(
        config.data,
        particles,
        norm,
        device,
        storage=config.storage(run.path),
        moving_poses=poses,
        symmetry=config.symmetry,
        ewald=config.ewald,
        team=team,
    )
    # Nobody writes before all have seen what the folder held.
    team.wait()
    if not team.is_writer:
        return _fitted(config, particles, images, poses, masks, _say_nothing)
    _empty(run)
    begun = _beginning(config, particles, norm, run, device, team)
    with log_to_file(run.log), reporting(run, begun) as reporter:
        tell_radius(config.radius, particles.box_size)
        result = _fitted(config, particles, images, poses, masks, reporter.report)
        write_results(result, config, particles, norm, run)
        reporter.tell_results(run)
        found = (verdict(result), criterion_in_words(result), advice(result, config))
        for words in found:
            if words is not None:
                logger.info("%s", words)
        tell_of_junk(result.scores, run.judged)
    return result


def _beginning(
    config: LinearConfig,
    particles: ParticleSet,
    norm: tuple[float, float],
    run: RunDirectory,
    device: torch.device,
    team: Team,
) -> FitBegun:
    """The event with which the run begins."""
    return FitBegun(
        folder=run.path,
        num_particles=len(particles),
        num_components=config.num_components,
        radius=min(config.radius, particles.box_size // 2 - 1),
        command=tuple(sys.argv),
        version=cryodrgn.__version__,
        device=describe_device(device),
        num_processes=team.size,
        norm=norm,
    )


def _read_masks(config: LinearConfig, particles: ParticleSet, device: torch.device) -> Masks:
    """The masks that settings name."""
    return Masks(
        solvent=_read_mask(config.mask, particles, device),
        focus=_read_mask(config.focus_mask, particles, device),
    )


def _empty(run: RunDirectory) -> None:
    """Make the folder of a run, without the files of an earlier one."""
    make_folder(run.path)
    for path in run.written_files():
        path.unlink()


def with_double_precision(device: torch.device) -> torch.device:
    """The processor in place of a device that cannot add up in double precision."""
    return torch.device("cpu") if device.type == "mps" else device


def prepare_disc(
    data: DataConfig,
    particles: ParticleSet,
    norm: tuple[float, float],
    device: torch.device,
    *,
    storage: Storage,
    moving_poses: PoseSource | None = None,
    symmetry: str = "C1",
    ewald: Curvature = 0,
    team: Team = ALONE,
) -> DiscImages:
    """Images made ready as for training, their points ordered by radius.

    Args:
        data: What is done to them.
        particles: The images, with poses.
        norm: Offset and scale.
        device: Where batches are wanted.
        storage: Where they are kept.
        moving_poses: Poses that change; None takes those of the particles for good.
        symmetry: Point group of the volumes that are made of them.
        ewald: Hand of the curvature of the Ewald sphere; 0 takes it for flat.
        team: Processes that share them.

    Raises:
        ShapeMismatchError: The box is too small.
    """
    require_radius(particles.box_size, particles.source)
    prepared = build_training_set(
        particles,
        HalfPlaneFrequencies.disc(particles.box_size).by_radius(),
        _preprocessing(data, norm),
        device,
        storage=storage,
        moving_poses=moving_poses,
        team=team,
    )
    return DiscImages(prepared, team, mates_of(symmetry, device), ewald)


def _say_nothing(reconstruction: float, kl: float, count: int) -> None:
    """The report of processes that write nothing."""


def _fitted(
    config: LinearConfig,
    particles: ParticleSet,
    images: DiscImages,
    poses: MovedPoses | None,
    masks: Masks,
    report: Callable[[float, float, int], None],
) -> LinearResult:
    """Fit, correct poses and fit again if asked, and embed everything."""
    groups = optics_groups(particles.images)
    model, said = _model(config, images, groups, masks, report), POSES_STAY
    for _ in range(config.pose_rounds):
        assert poses is not None
        before = poses.poses()
        found = _correct(poses, images, particles.first_images.pixel_sizes, model)
        corrected = _model(config, images, groups, masks, report)
        if images.team.agree(corrected.agreement <= model.agreement):
            poses.put(before)
            logger.info("half maps agree no better with poses corrected again: they stay")
            break
        said = _in_words(found, corrected.agreement, model.agreement)
        logger.info("%s", said)
        model = corrected
    fit, kept, regression = model.fit, model.kept, model.regression
    radius = fit.agreement.joint.radius
    posterior, reconstruction = embed(
        images,
        torch.arange(len(images)),
        subspace_of(regression.volumes, radius),
        fit.noise,
        fit.contrast_spread,
    )
    report(reconstruction, float(posterior.divergence().mean()), len(images))
    halves = [subspace_of(volumes, radius) for volumes in regression.halves]
    return LinearResult(
        fit=fit,
        kept=kept,
        regression=regression,
        posterior=posterior,
        half_means=_half_latents(images, fit, (halves[0], halves[1])),
        groups=groups,
        scores=score_particles(images, regression.halves, radius, fit.noise),
        poses=None if poses is None else poses.poses(),
        poses_in_words=None if poses is None else said,
        poses_corrected=said != POSES_STAY,
    )


def _in_words(found: Correction, agreement: float, before: float) -> str:
    """Result of a correction of poses, in one sentence."""
    return (
        f"poses were off by about {math.degrees(found.spread.turn):.2f}° and "
        f"{found.spread.step:.2f} px along each axis and are corrected; of "
        f"{math.degrees(3**0.5 * found.spread.turn):.2f}° about all axes together, images of "
        f"this noise leave {math.degrees(found.turn_left):.2f}° by this model; agreement of "
        f"half maps: {agreement:.4f}, was {before:.4f}"
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Model:
    """A fit, the components of it that are kept, and their volumes at full radius."""

    fit: Fit
    kept: Int[Tensor, " kept"]
    regression: Regression

    @property
    def agreement(self) -> float:
        """Mean Fourier shell correlation of the mean's half maps, whose images are apart."""
        return float(self.regression.fsc[0, 1:].mean())


def _correct(
    poses: MovedPoses,
    images: DiscImages,
    pixel_sizes: Float[np.ndarray, " particles"],
    model: _Model,
) -> Correction:
    return refine_poses(
        images,
        poses,
        pixel_sizes,
        model.regression.halves,
        model.fit.noise,
        model.fit.contrast_spread,
    )


def _model(
    config: LinearConfig,
    images: DiscImages,
    groups: Int[np.ndarray, " images"],
    masks: Masks,
    report: Callable[[float, float, int], None],
) -> _Model:
    """Fit, and regress volumes at full radius."""
    rows = _chosen_rows(images.images.numbers, config)

    def tell(row: Iteration) -> None:
        logger.info("iteration %d up to radius %d", row.number + 1, row.radius)
        report(row.reconstruction, row.kl, len(rows))

    fitting = PpcaEM(
        images,
        rows,
        initial_noise(images.images, groups),
        num_components=config.num_components,
        radius=min(config.radius, images.largest_radius - 1),
        masks=masks,
        with_contrast=config.with_contrast,
        seed=config.seed,
        report=tell,
    )
    fit = fitting.run()
    # Processes whose last digits differ must not differ in what they keep.
    signals = images.team.agree(torch.nonzero(fit.agreement.is_signal).flatten().tolist())
    kept = torch.tensor(signals or [0], device=images.device)
    found = fit.agreement.keeping(kept)
    regression = _regression(images, rows, fit, found.joint, found.halves, masks.focus)
    return _Model(fit=fit, kept=kept, regression=regression)


def _regression(
    images: DiscImages,
    rows: Int[Tensor, " rows"],
    fit: Fit,
    joint: Subspace,
    halves: tuple[Subspace, Subspace],
    focus: Float[Tensor, "box box box"] | None,
) -> Regression:
    """Volumes of the components at full radius, from independent halves."""
    together, _ = embed(images, rows, joint, fit.noise, fit.contrast_spread)
    parts = images.halves(rows)
    apart = [
        embed(images, part, half, fit.noise, fit.contrast_spread)[0]
        for part, half in zip(parts, halves, strict=True)
    ]
    return regress(
        images,
        parts,
        _scattered(len(images), [rows], [together]),
        fit.noise,
        fit.mask,
        half_coefficients=_scattered(len(images), parts, apart),
        focus=focus,
    )


def _half_latents(
    images: DiscImages, fit: Fit, halves: tuple[Subspace, Subspace]
) -> Float[Tensor, "particles z"]:
    """Latents of each half set by the model of that half."""
    parts = images.halves(torch.arange(len(images)))
    found = [
        embed(images, part, half, fit.noise, fit.contrast_spread)[0]
        for part, half in zip(parts, halves, strict=True)
    ]
    return _scattered(len(images), parts, found).values


def _scattered(
    count: int, rows: Sequence[Int[Tensor, " _"]], posteriors: list[Posterior]
) -> Coefficients:
    """Posteriors of some particles as coefficients in the order of all particles."""
    first = posteriors[0]
    values = first.mean.new_zeros(count, first.mean.shape[1])
    covariances = values.new_zeros(count, *first.covariance.shape[1:])
    contrast, square = values.new_ones(2, count)
    for part, posterior in zip(rows, posteriors, strict=True):
        values[part] = posterior.mean
        covariances[part] = posterior.covariance
        contrast[part] = posterior.contrast
        square[part] = posterior.contrast_square
    return Coefficients(
        values=values,
        covariances=covariances,
        contrast=contrast,
        contrast_square=square,
        have_prior=True,
    )


def _chosen_rows(
    numbers: Int[np.ndarray, " particles"], config: LinearConfig
) -> Int[Tensor, " rows"]:
    """Rows that are fitted, as many of each half set where that is possible.

    Args:
        numbers: Number of the different particle in every row; it comes with all of its rows.
        config: How many rows, and the seed of the choice.
    """
    if len(numbers) <= config.fit_images:
        return torch.arange(len(numbers))
    copies = torch.from_numpy(np.bincount(numbers))
    order = torch.randperm(len(copies), generator=generator_at(config.seed, (2,)))
    parts = []
    for parity in (0, 1):
        half = order[order % 2 == parity]
        within = copies[half].cumsum(0) <= config.fit_images // 2
        parts.append(torch.from_numpy(rows_of(half[within].numpy(), numbers)))
    if len(parts[0]) != len(parts[1]):
        return torch.cat(parts).sort().values
    return torch.stack(parts, dim=1).flatten()


def check_start(
    config: LinearConfig,
    particles: ParticleSet,
    run: RunDirectory,
    team: Team,
    *,
    overwrite: bool,
) -> None:
    """Refuse what no fit can begin with: particles, settings, the folder.

    Raises:
        CryodrgnError: Poses or the pixel size are not known, the particles are too few for
            the components, or the folder holds a run that may not be replaced.
    """
    particles.images.require_poses()
    particles.require_pixel_size()
    if config.pose_rounds:
        particles.require_single_images("`pose_rounds`")
    least = 2 * max(LEAST_IMAGES_PER_COMPONENT * config.num_components, team.size)
    if len(particles) < least:
        msg = (
            f"{particles.source} has {len(particles)} particles, but {config.num_components} "
            f"components need at least {least}; ask for fewer with `num_components`"
        )
        raise ShapeMismatchError(msg)
    if (run.config_yaml.exists() or run.weights().exists()) and not overwrite:
        msg = (
            f"{run.path} holds a run already; choose another folder, or replace it with "
            "`overwrite`"
        )
        raise ConfigError(msg)


def _read_mask(
    path: Path | None, particles: ParticleSet, device: torch.device
) -> Float[Tensor, "box box box"] | None:
    if path is None:
        return None
    return read_mask(path, particles.box_size, particles.require_pixel_size()).to(device)


def estimated_norm(data: DataConfig, particles: ParticleSet) -> tuple[float, float]:
    """Offset and scale of images whose settings name none."""
    lattice = HalfPlaneFrequencies.disc(particles.box_size)
    return 0.0, estimate_scale(particles, lattice, _preprocessing(data, (0.0, 1.0)))


def _preprocessing(data: DataConfig, norm: tuple[float, float]) -> Preprocessing:
    return Preprocessing(
        window_radius=data.window_radius, invert=data.invert, offset=norm[0], scale=norm[1]
    )
