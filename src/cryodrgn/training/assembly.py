"""The parts of a run, put together from its settings."""

import logging
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float

from cryodrgn.counts import counted
from cryodrgn.data.batches import generator_at
from cryodrgn.data.fixed_density import FixedDensity
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing, estimate_scale
from cryodrgn.data.training_set import TrainingSet, build_training_set
from cryodrgn.devices import choose_network_dtype, dtype_name
from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.recorded_files import number_explained, require_particles_of_latents
from cryodrgn.models.build import build_model, stored_lattice
from cryodrgn.models.model import Model
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.half_sets import rows_of
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.poses import Poses
from cryodrgn.reconstruction.decode import VolumeDecoder
from cryodrgn.reconstruction.encode import encode_all
from cryodrgn.rundir import RunDirectory, latents_at
from cryodrgn.training.focus import Masks, density_outside
from cryodrgn.training.held_out import choose_held_out
from cryodrgn.training.input_weights import weigh_inputs
from cryodrgn.training.linear_start import LinearStart
from cryodrgn.training.noise_and_contrast import NoiseAndContrast
from cryodrgn.training.objectives import (
    DecoderObjective,
    Objective,
    VaeObjective,
)
from cryodrgn.training.optimizers import tuned_adam
from cryodrgn.training.options import TEACHING_EPOCHS, LatentTableConfig, Precision
from cryodrgn.training.pose_search import FEWEST_SEARCHED, LatentAccess, PoseSearch
from cryodrgn.training.pose_table import PoseTable
from cryodrgn.training.row_table import PerParticleParameters, TrainableGroup
from cryodrgn.training.run_config import RunConfig, TrainConfig
from cryodrgn.training.start import ResumePoint
from cryodrgn.training.warm_start import (
    TYPICAL_LOG_VARIANCE,
    Targets,
    load_targets,
    teach_encoder,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Assembly:
    """Components of a training run: images, objective, optimiser, tables.

    Attributes:
        particles: The prepared images.
        objective: What is minimised, with its model.
        optimizer: Moves the weights of the model.
        poses: Poses that are refined; None where they are kept.
        refined: Numbers of particles that are learnt along with the network, by name.
        search: Finds poses; None where they are known.
        masks: Of volumes that are decoded, and of the focus.
        fixed: Density outside of the focus mask; None without one.
        noise: The likelihood of the images; None for white noise and contrasts of 1.
        first_latents: Mean and log-variance of latents that the encoder is taught before all
            else; None if there are none, or the run is past that.
        norm: Offset and scale of the images.
        dtype: Number type of the networks' matrix products.
    """

    particles: TrainingSet
    objective: Objective
    optimizer: torch.optim.Optimizer
    poses: PoseTable | None
    refined: dict[str, TrainableGroup]
    search: PoseSearch | None
    masks: Masks
    fixed: FixedDensity | None
    noise: NoiseAndContrast | None
    first_latents: Targets | None
    norm: tuple[float, float]
    dtype: torch.dtype

    def moved_poses(self) -> Poses:
        """Poses of all images as they are now, where they move."""
        assert self.poses is not None
        if self.poses.of_several:
            return self.particles.moved_poses()
        return self.poses.poses()


def build_training(
    config: RunConfig,
    particles: ParticleSet,
    run: RunDirectory,
    device: torch.device,
    start: ResumePoint,
    team: Team = ALONE,
    linear: LinearStart | None = None,
) -> Assembly:
    """Build the model and prepare the images of a run; writes nothing.

    Args:
        config: Settings.
        particles: The images, with poses.
        run: Folder of the run, for a scratch file.
        device: Where to compute.
        start: Where the run begins; what it has used or learnt before is not read or measured
            again.
        team: Processes that share the work.
        linear: The linear model that an untrained network begins with; None for none.

    Raises:
        CryodrgnError: The settings or the data cannot be used.
    """
    training = config.training
    _require_enough_to_search(training, particles)
    model = _trainable_model(config, device)
    poses = _pose_table(config, particles, device, team)
    # Files of latents are read before the images, so that a wrong one is refused at once.
    latents = _latent_table(config, particles, start, device, team)
    first_latents = _first_latents(config, particles, start)
    masks = Masks.read(training, particles)
    norm = start.norm or config.data.norm or _estimated_norm(config, particles)
    if linear is not None:
        linear.put_into(model, norm)
    images = _prepared(config, particles, run, device, norm, poses, team)
    fixed = _fixed(config, particles, images, masks, norm, run, start, team)
    dtype = _network_dtype(start.precision or training.precision, device, team)
    search = _search(training, images, particles, poses, model, latents, dtype, team)
    noise = _noise(training, images, particles, model, latents, dtype, team)
    _begin_with(noise, linear, norm[1])
    optimizer = _optimizer(training, model, images)
    if training.input_weighting == "snr" and model.has_encoder:
        weigh_inputs(model.encoder, images, optimizer, start, team)
    objective = _objective(config, particles, model, latents, norm, dtype, team, masks.decoded)
    return Assembly(
        particles=images,
        objective=objective,
        optimizer=optimizer,
        poses=poses,
        refined=_refined(training, poses, latents),
        search=search,
        masks=masks,
        fixed=fixed,
        noise=noise,
        first_latents=first_latents,
        norm=norm,
        dtype=dtype,
    )


def _begin_with(
    noise: NoiseAndContrast | None, linear: LinearStart | None, scale: float
) -> None:
    """Take noise and the spread of contrasts from a linear model where there is one."""
    if noise is not None and linear is not None and linear.noise is not None:
        noise.begin_with(linear.noise / scale**2, linear.contrast_spread)


def _first_latents(
    config: RunConfig, particles: ParticleSet, start: ResumePoint
) -> Targets | None:
    """Latents that the encoder learns before all else; None for none, or if it has."""
    warm_start = config.training.warm_start
    if warm_start is None or start.is_under_way:
        return None
    try:
        targets = load_targets(warm_start, len(particles), config.model.latent_dim)
    except ShapeMismatchError as error:
        msg = f"{error}{number_explained(warm_start.latents, particles)}"
        raise ShapeMismatchError(msg) from error
    require_particles_of_latents(warm_start.latents, particles)
    return targets


def _require_enough_to_search(training: TrainConfig, particles: ParticleSet) -> None:
    """Refuse sets of too few images for initial models.

    Raises:
        ShapeMismatchError: There are fewer.
    """
    if training.search is not None and particles.num_different < FEWEST_SEARCHED:
        msg = (
            f"{particles.source} has {particles.num_different} images, but initial models need "
            f"at least {FEWEST_SEARCHED}, of which two judge them"
        )
        raise ShapeMismatchError(msg)


def _trainable_model(config: RunConfig, device: torch.device) -> Model:
    """The model with freshly drawn weights, some of which learn.

    Raises:
        ConfigError: None of them can.
    """
    model = build_model(config.model, config.training.seed).to(device)
    if config.training.keeps_decoder:
        model.decoder.requires_grad_(requires_grad=False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        msg = f"the decoder {config.model.decoder.name!r} has no weights that could be trained"
        raise ConfigError(msg)
    return model


def _fixed(
    config: RunConfig,
    particles: ParticleSet,
    images: TrainingSet,
    masks: Masks,
    norm: tuple[float, float],
    run: RunDirectory,
    start: ResumePoint,
    team: Team,
) -> FixedDensity | None:
    """The density outside of the focus mask, shown beside all images; None without a mask."""
    if masks.focus is None:
        return None
    stored = run.outside if start.is_same_run else None
    settings = _preprocessing(config, norm)
    fixed = density_outside(
        config.training, particles, images, settings, masks.focus, stored, team
    )
    images.show_beside(fixed)
    return fixed


def _search(
    training: TrainConfig,
    images: TrainingSet,
    particles: ParticleSet,
    poses: PoseTable | None,
    model: Model,
    latents: PerParticleParameters | None,
    dtype: torch.dtype,
    team: Team,
) -> PoseSearch | None:
    """The search of poses; None where they are known."""
    if training.search is None or poses is None:
        return None
    particles.require_single_images("the search of poses")
    return PoseSearch(
        images,
        poses,
        model.decoder,
        _latents_of(model, latents, images, training, dtype, team),
        training,
        training.search,
        particles.first_images.side_lengths,
        dtype,
        team,
    )


def _noise(
    training: TrainConfig,
    images: TrainingSet,
    particles: ParticleSet,
    model: Model,
    latents: PerParticleParameters | None,
    dtype: torch.dtype,
    team: Team,
) -> NoiseAndContrast | None:
    """The noise and the contrasts that are estimated along; None if neither is."""
    is_white = training.noise_model == "white"
    if is_white and not training.with_contrast:
        return None
    return NoiseAndContrast(
        images,
        particles,
        model,
        latents,
        dtype,
        team,
        is_white=is_white,
        with_contrast=training.with_contrast,
    )


def _optimizer(
    training: TrainConfig, model: Model, images: TrainingSet
) -> torch.optim.Optimizer:
    """The optimiser of the weights of the model."""
    steps_per_epoch = math.ceil(images.num_visited / training.batch_size)
    return tuned_adam(
        model,
        # Where its inputs are weighted, Adam's changes of their layer are weighted exactly.
        model.matrices_for_muon(with_encoder_inputs=not training.tuning.scales_inputs),
        images.device,
        training.tuning,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        num_steps=training.num_epochs * steps_per_epoch,
        num_epochs=training.num_epochs,
    )


def _prepared(
    config: RunConfig,
    particles: ParticleSet,
    run: RunDirectory,
    device: torch.device,
    norm: tuple[float, float],
    poses: PoseTable | None,
    team: Team,
) -> TrainingSet:
    return build_training_set(
        particles,
        stored_lattice(config.model),
        _preprocessing(config, norm),
        device,
        storage=storage_of(config.training, run),
        moving_poses=poses,
        held_out=held_out_particles(config.training, particles),
        images_drawn=config.training.tilts_drawn,
        team=team,
    )


def _network_dtype(name: Precision, device: torch.device, team: Team) -> torch.dtype:
    """The dtype of a name, on all processes the same."""
    if name == "auto":
        return getattr(torch, team.agree(dtype_name(choose_network_dtype(device))))
    return getattr(torch, name)


def _refined(
    training: TrainConfig, poses: PoseTable | None, latents: PerParticleParameters | None
) -> dict[str, TrainableGroup]:
    """The tables of particles, and for how many epochs they stay as they are."""
    refined: dict[str, TrainableGroup] = {}
    if poses is not None and training.poses is not None:
        refined["poses"] = TrainableGroup(numbers=poses, pretrain=training.poses.pretrain)
    if latents is not None:
        settings = training.latents or LatentTableConfig()
        refined["latents"] = TrainableGroup(numbers=latents, pretrain=settings.pretrain)
    return refined


def _objective(
    config: RunConfig,
    particles: ParticleSet,
    model: Model,
    latents: PerParticleParameters | None,
    norm: tuple[float, float],
    dtype: torch.dtype,
    team: Team,
    mask: Float[torch.Tensor, "box box box"] | None,
) -> Objective:
    """Objective of a model with an encoder, a table of latents, or one structure."""
    if model.has_encoder:
        lattice, training = stored_lattice(config.model), config.training
        return VaeObjective(model, training.kl, dtype, team, training.equivariance, lattice)
    device = next(model.parameters()).device
    volumes = VolumeDecoder(model.decoder, *norm, device, mask=mask)
    pixel_size = particles.require_pixel_size()
    return DecoderObjective(model, latents, volumes, pixel_size, dtype, team)


def _latents_of(
    model: Model,
    table: PerParticleParameters | None,
    images: TrainingSet,
    training: TrainConfig,
    dtype: torch.dtype,
    team: Team,
) -> LatentAccess:
    """The latents of a model: what its encoder says, or its table, or none."""

    def current() -> Float[torch.Tensor, "particles z"]:
        if model.has_encoder:
            return torch.from_numpy(encode_all(model, images, dtype, team)[0])
        return torch.zeros(len(images), 0) if table is None else table.values

    def replace(values: torch.Tensor) -> None:
        if model.has_encoder:
            targets = values, torch.full_like(values, TYPICAL_LOG_VARIANCE)
            seed = training.seed
            teach_encoder(model, images, targets, epochs=TEACHING_EPOCHS, seed=seed, team=team)
        elif table is not None:
            table.put(values)

    are_given = training.latents is not None and training.latents.initial is not None
    dim = model.decoder.latent_dim
    return LatentAccess(dim=dim, are_given=are_given, current=current, replace=replace)


def _pose_table(
    config: RunConfig, particles: ParticleSet, device: torch.device, team: Team
) -> PoseTable | None:
    """The poses, if they are to be moved."""
    moves = config.training.poses
    if moves is None:
        return None
    images = particles.first_images
    return PoseTable(
        images.require_poses(),
        images.side_lengths,
        moves,
        device,
        team,
        of_several=particles.offsets is not None,
    )


def held_out_particles(training: TrainConfig, particles: ParticleSet) -> torch.Tensor | None:
    """The particles to keep out of training, each with all of its copies.

    Raises:
        ConfigError: They are too few to judge by.
    """
    if training.held_out is None:
        return None
    count = particles.num_different
    rows = choose_held_out(count, training.held_out.fraction, training.seed)
    if len(rows) < 2:
        msg = (
            f"`held_out` {training.held_out.fraction:g} of {count} particles keeps out "
            f"{len(rows)}, at least two are needed"
        )
        raise ConfigError(msg)
    return torch.from_numpy(rows_of(rows.numpy(), particles.numbers))


def storage_of(training: TrainConfig, run: RunDirectory) -> Storage:
    """Storage of a run's prepared images."""
    return Storage(
        scratch_dir=run.path,
        on_disk=training.on_disk,
        memory=None if training.memory_gb is None else int(1e9 * training.memory_gb),
        cache_dir=training.cache_dir,
    )


def _estimated_norm(config: RunConfig, particles: ParticleSet) -> tuple[float, float]:
    settings = _preprocessing(config, (0.0, 1.0))
    lattice = HalfPlaneFrequencies.disc(config.model.box_size)
    return 0.0, estimate_scale(particles, lattice, settings)


def _preprocessing(config: RunConfig, norm: tuple[float, float]) -> Preprocessing:
    return Preprocessing(
        window_radius=config.data.window_radius,
        invert=config.data.invert,
        offset=norm[0],
        scale=norm[1],
    )


def _latent_table(
    config: RunConfig,
    particles: ParticleSet,
    start: ResumePoint,
    device: torch.device,
    team: Team,
) -> PerParticleParameters | None:
    """Latents that are learnt one by one: at first those of a file, or standard normal ones."""
    if config.model.kind != "dec":
        return None
    latents = config.training.latents or LatentTableConfig()
    shape = (len(particles), config.model.latent_dim)
    if latents.initial is None or start.is_under_way:
        values = torch.randn(shape, generator=generator_at(config.training.seed))
        return PerParticleParameters(values, latents.learning_rate, device, team)
    path = latents_at(latents.initial)
    values = torch.from_numpy(load_latents(path))
    if config.training.linear_run is not None and values.shape[1] < shape[1]:
        # Dimensions that the linear model does not have.
        values = torch.nn.functional.pad(values, (0, shape[1] - values.shape[1]))
    if tuple(values.shape) != shape:
        is_number = values.ndim == 2 and len(values) != len(particles)
        advice = number_explained(latents.initial, particles) if is_number else ""
        msg = (
            f"{path} holds latents of shape {tuple(values.shape)}, but there "
            f"are {shape[0]} particles with a latent of {counted(shape[1], 'dimension')}"
            f"{advice}"
        )
        raise ShapeMismatchError(msg)
    require_particles_of_latents(latents.initial, particles)
    return PerParticleParameters(values, latents.learning_rate, device, team)
