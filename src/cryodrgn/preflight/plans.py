"""Plans of commands: memory, room on disk, time.

Terms count what a command holds at its fullest moment and what grows with its input. Times are
those of :mod:`cryodrgn.preflight.cost`; ``benchmarks/plans.py`` compares both with commands.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from cryodrgn.counts import counted
from cryodrgn.data import downsample
from cryodrgn.data.prepared import Storage
from cryodrgn.devices import choose_network_dtype
from cryodrgn.diagnosis.fit import MAX_RADIUS
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.geometry.symmetry import point_group
from cryodrgn.imaging.ewald import Curvature
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.linear.config import LinearConfig
from cryodrgn.linear.latents import Latents
from cryodrgn.linear.states import StateSettings, takes_coordinates
from cryodrgn.models.build import decoder_sizes
from cryodrgn.models.settings import ModelConfig
from cryodrgn.models.volumes import BYTES_AT_A_TIME, MOST_AT_A_TIME
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.preflight import cost
from cryodrgn.preflight.plan import Plan
from cryodrgn.reconstruction.backproject import POINTS_PER_BATCH
from cryodrgn.reconstruction.trained import TrainedModel
from cryodrgn.simulation.simulate import BATCH as SIMULATED_TOGETHER
from cryodrgn.simulation.simulate import SimulationSettings
from cryodrgn.simulation.states import StatesSize
from cryodrgn.training.cost import seconds_per_particle
from cryodrgn.training.memory import (
    BYTES_PER_POINT,
    bytes_written,
    memory_needed,
)
from cryodrgn.training.run_config import RunConfig

FLOAT = 4
NETWORKS = (
    "take smaller networks (`decoder_dim`, `encoder_dim`), or a smaller box with `box_size`"
)
# Bytes that libraries take beyond what they hold before they are used.
LIBRARIES = 60 * 10**6
# Copies of all volumes that are held while they are compared, times the share of the box that a
# mask leaves of them, usually.
COMPARED = 3 * 0.15
# Bytes per voxel of the volume, per point of a batch: of a backprojection.
BYTES_PER_BACKPROJECTED, BYTES_PER_SPREAD = 230, 80
# Bytes per voxel of a simulated state's transforms, and per pixel of images made together.
SLICED_VOXEL, IMAGED_PIXEL = 216, 80
# Grids of sums that a regression holds at a time, and stacks of volumes; of states there are
# twice as many, and what finds neighbours among latents.
GRIDS, STACKS, NEIGHBOURS = 3, 3, 200 * 10**6
# Times that all images are added up for a state by kernels.
KERNEL_PASSES = 12.0
# What draws volumes.
PICTURES = 150 * 10**6


def points_of(box_size: int) -> int:
    """Frequencies of an image that are kept."""
    return len(HalfPlaneFrequencies.disc(box_size))


def training_plan(
    config: RunConfig,
    particles: ParticleSet,
    folder: Path,
    device: torch.device,
    storage: Storage,
) -> Plan:
    """The plan of a training run."""
    count, epochs = len(particles), config.training.num_epochs
    images_visited = particles.images_per_particle
    if config.training.tilts_drawn is not None:
        images_visited = min(images_visited, float(config.training.tilts_drawn))
    need = memory_needed(
        config,
        count,
        is_processor=device.type == "cpu",
        images_per_particle=particles.images_per_particle,
    )
    memory, written = need.total - need.images, bytes_written(config, count)
    precision = config.training.precision
    dtype = choose_network_dtype(device) if precision == "auto" else getattr(torch, precision)

    def seconds() -> float:
        each = seconds_per_particle(
            config.model, device, dtype, min(config.training.batch_size, count), images_visited
        )
        return _preparing(particles, device) + epochs * count * each

    plan = Plan(
        work=(
            f"{_images(particles)}, {counted(epochs, 'epoch')} in batches of "
            f"{config.training.batch_size}"
        ),
        folder=folder,
        device=device,
        memory=memory,
        written=written,
        seconds=seconds,
        # How long poses are searched depends on how well they are told apart.
        is_least=config.training.search is not None,
        advice=NETWORKS,
    )
    return _keeping(plan, need.images, storage)


def slices_of(symmetry: str, ewald: Curvature) -> int:
    """Number of slices that an image adds to a volume: one for each mate and side band."""
    return len(point_group(symmetry)) * (2 if ewald else 1)


def backprojection_plan(
    particles: ParticleSet, folder: Path, device: torch.device, num_slices: int = 1
) -> Plan:
    """The plan of a backprojection in which every image adds so many slices."""
    box_size, count = particles.box_size, len(particles.images)
    points = min(POINTS_PER_BATCH, count * points_of(box_size))
    return Plan(
        work=_images(particles),
        folder=folder,
        device=device,
        memory=LIBRARIES + BYTES_PER_BACKPROJECTED * box_size**3 + BYTES_PER_SPREAD * points,
        written=3 * FLOAT * box_size**3,
        # Each half holds every other image.
        seconds=lambda: (
            _preparing(particles, device, step=2)
            + cost.backprojecting(count, box_size, num_slices, device)
            + cost.drawing(1)
        ),
        advice="downsample the images first",
    )


def linear_plan(
    config: LinearConfig, particles: ParticleSet, folder: Path, device: torch.device
) -> Plan:
    """The plan of a linear run."""
    count, box_size = len(particles), particles.box_size
    volumes, images = config.num_components + 1, len(particles.images)
    slices = slices_of(config.symmetry, config.ewald)
    fits = 1 + config.pose_rounds
    more = f", poses corrected at most {config.pose_rounds} times" if fits > 1 else ""
    plan = Plan(
        work=f"{_images(particles)}, {counted(config.num_components, 'component')}{more}",
        folder=folder,
        device=device,
        memory=_grid_bytes(box_size, volumes),
        written=FLOAT * (volumes + 3) * box_size**3 + 2 * FLOAT * count * volumes,
        seconds=lambda: (
            _preparing(particles, device)
            + cost.fitting(config, images, box_size, device, slices)
        ),
        advice="take fewer `num_components`, or a smaller box with `box_size`",
    )
    return _keeping(plan, _prepared_bytes(particles), config.storage(folder))


def power_plan(config: LinearConfig, particles: ParticleSet, trials: int, folder: Path) -> Plan:
    """The plan of a report on power: a consensus, and a fit to every planted set."""
    once = linear_plan(config, particles, folder, torch.device("cpu"))

    def seconds() -> float:
        count, side = len(particles.images), particles.box_size
        return once.seconds() + trials * cost.finding_latents(config, count, side, once.device)

    return replace(
        once,
        work=f"{_images(particles)}, {counted(trials, 'planted set')}",
        written=10**6,
        seconds=seconds,
        advice="take fewer `num_trials` or `num_components`, or a smaller box with `box_size`",
    )


def states_plan(
    particles: ParticleSet,
    latents: Latents,
    settings: StateSettings,
    num_states: int,
    folder: Path,
    device: torch.device,
    storage: Storage,
) -> Plan:
    """The plan of the reconstruction of states; by kernels, every state is a regression."""
    count, box_size, latent_dim = len(particles), particles.box_size, latents.mean.shape[1]
    is_smooth = settings.num_functions > 0 and not takes_coordinates(latents, settings)
    volumes = 1 + (settings.num_functions if is_smooth else latent_dim)
    is_kernel, halves = settings.method == "kernel", latents.half_means is not None
    summed = 1 if is_kernel else volumes
    slices = slices_of(settings.symmetry, settings.ewald)
    points = count * particles.images_per_particle * points_of(box_size)

    def regressing(volumes: int, passes: float, *, with_half_latents: bool = halves) -> float:
        return cost.regressing(
            passes * points,
            box_size,
            volumes,
            device,
            slices,
            with_half_latents=with_half_latents,
        )

    def seconds() -> float:
        total = _preparing(particles, device) + cost.describing(num_states, box_size, device)
        if is_kernel:
            passes = KERNEL_PASSES * num_states
            return total + regressing(1, passes, with_half_latents=False)
        total += regressing(volumes, 1)
        if is_smooth and latents.is_linear and settings.functions == "best":
            total += cost.comparing(points, box_size, 1 + latent_dim, count, device, slices)
            # Coordinates that agree better are regressed on again, which is not known before.
            total += regressing(1 + latent_dim, 1) / 2
        return total

    states = f", {counted(num_states, 'state')}" if num_states else ""
    plan = Plan(
        work=f"{_images(particles)}{states}, {counted(latent_dim, 'latent dimension')}",
        folder=folder,
        device=device,
        memory=_grid_bytes(box_size, summed)
        + FLOAT * STACKS * summed * box_size**3
        + NEIGHBOURS,
        written=FLOAT * (summed + 5 * num_states) * box_size**3,
        seconds=seconds,
        advice="take fewer `num_functions`, or a smaller box with `box_size`",
    )
    return _keeping(plan, _prepared_bytes(particles), storage)


def encoding_plan(
    trained: TrainedModel,
    particles: ParticleSet,
    batch_size: int,
    folder: Path,
    device: torch.device,
    storage: Storage,
) -> Plan:
    """The plan of the evaluation of a model on images."""
    config, count = trained.config, len(particles)
    box_size = min(particles.box_size, config.box_size)
    points = points_of(box_size)
    per_particle = particles.images_per_particle
    sizes = decoder_sizes(config)
    volumes = sizes.stored_volumes
    if not volumes:
        values = FLOAT * sizes.evaluated_values + BYTES_PER_POINT
        images = min(batch_size, count) * per_particle
        memory = min(images, max(2 * batch_size, per_particle)) * points * values
    else:
        memory = 3 * FLOAT * volumes * box_size**3

    def seconds() -> float:
        prepared = _preparing(particles, device)
        if volumes:
            images = len(particles.images) * points
            return prepared + cost.regressing(images, box_size, volumes, device)
        dtype, together = choose_network_dtype(device), min(batch_size, count)
        each = seconds_per_particle(
            config, device, dtype, together, per_particle, is_trained=False
        )
        return prepared + count * each

    plan = Plan(
        work=_images(particles),
        folder=folder,
        device=device,
        memory=int(memory) + LIBRARIES,
        written=2 * FLOAT * count * config.latent_dim,
        seconds=seconds,
        advice="take a smaller `batch_size`",
    )
    return _keeping(plan, 8 * points * len(particles.images), storage)


def volumes_plan(
    config: ModelConfig,
    count: int,
    box_size: int,
    folder: Path,
    device: torch.device,
    *,
    more: Callable[[], float] = lambda: 0.0,
    more_words: str = "",
    more_memory: int = 0,
) -> Plan:
    """The plan of decoding volumes.

    Args:
        config: The model.
        count: Number of volumes.
        box_size: Their side in voxels.
        folder: Where they go.
        device: Where to compute.
        more: Seconds of what is computed beside them.
        more_words: What that is.
        more_memory: Bytes that it takes.
    """
    voxels = box_size**3
    points = math.pi / 12 * voxels
    sizes = decoder_sizes(config)
    functions = sizes.stored_volumes - 1
    if not sizes.stored_volumes:
        together = min(count, MOST_AT_A_TIME, max(1, BYTES_AT_A_TIME / max(8 * points, 1)))
        memory = 16 * points * together + 60 * voxels
    else:
        memory = (2 * FLOAT * functions + 40) * config.box_size**3
    return Plan(
        work=(f"{counted(count, 'volume')} of {box_size} px" if count else "no volumes")
        + more_words,
        folder=folder,
        device=device,
        memory=int(memory) + LIBRARIES + more_memory,
        written=FLOAT * count * voxels,
        seconds=lambda: (
            more()
            + cost.decoding(config, count, points, device, stored=max(0, functions))
            + cost.host_seconds(cost.WRITTEN_VOXEL * count * voxels)
        ),
        advice="take smaller volumes with `volume_box_size`",
    )


def landscape_plan(
    config: ModelConfig,
    count: int,
    box_size: int,
    num_states: int,
    folder: Path,
    device: torch.device,
    *,
    with_volumes: bool,
) -> Plan:
    """The plan of a landscape: volumes are made, read three times and compared."""
    made = count if with_volumes else 0
    voxels = box_size**3
    work = cost.ANALYSED + cost.COMPARED_VOXEL * count * voxels + cost.DRAWN * num_states
    words = f", {count} of them compared"
    plan = volumes_plan(
        config,
        made,
        box_size,
        folder,
        device,
        more=lambda: cost.host_seconds(work),
        more_words=words,
    )
    compared = COMPARED * FLOAT * count * voxels
    return replace(
        plan,
        memory=max(plan.memory, int(compared) + 100 * voxels),
        written=plan.written + FLOAT * voxels * (2 * num_states + 60),
        advice="take smaller volumes with `volume_box_size`, or fewer with `sketch_size`",
    )


def full_landscape_plan(
    config: ModelConfig,
    count: int,
    box_size: int,
    num_particles: int,
    epochs: int,
    folder: Path,
    device: torch.device,
    *,
    with_map: bool,
) -> Plan:
    """The plan of finding all particles' places in a landscape."""
    mapped = min(num_particles, cost.MAPPED_AT_MOST) if with_map else 0
    work = cost.LEARNT * epochs * count
    work += cost.MAPPED * mapped + cost.GROUPED * num_particles
    words = f", {num_particles} particles in their landscape"
    plan = volumes_plan(
        config,
        count,
        box_size,
        folder,
        device,
        more=lambda: cost.host_seconds(work),
        more_words=words,
    )
    return replace(plan, written=100 * FLOAT * num_particles)


def downsampling_plan(images: ImageStack, box_size: int, folder: Path) -> Plan:
    """The plan of a downsampling."""
    count, stored = len(images), images.box_size
    return Plan(
        work=f"{count} images from {stored} to {box_size} px",
        folder=folder,
        memory=8 * downsample.BYTES_PER_BATCH + LIBRARIES,
        written=FLOAT * count * box_size**2,
        seconds=lambda: cost.downsampling(count, stored, box_size),
        advice="end other programs",
    )


def simulation_plan(
    size: StatesSize, settings: SimulationSettings, folder: Path, device: torch.device
) -> Plan:
    """The plan of a simulation, whose clean images are in a file until noise is added."""
    num_states, box_size = size.count, size.box_size
    count = settings.num_images * settings.images_per_particle
    exposures = 1 if settings.tilt_deg is None else 2
    pixel = 2 if settings.half_precision else FLOAT
    images = exposures * count * box_size**2
    volumes = 2 * LIBRARIES + FLOAT * num_states * box_size**3
    memory = (
        SLICED_VOXEL * box_size**3 + IMAGED_PIXEL * min(count, SIMULATED_TOGETHER) * box_size**2
    )
    return Plan(
        work=f"{count} images of {box_size} px, {counted(num_states, 'state')}",
        folder=folder,
        device=device,
        memory=memory,
        images=volumes,
        written=pixel * images + FLOAT * (count * box_size**2 + num_states * box_size**3),
        seconds=lambda: cost.simulating(exposures * count, box_size, num_states, device),
        advice="take a smaller box with `box_size`, or fewer states",
    )


def nuisance_plan(particles: ParticleSet, num_images: int, folder: Path) -> Plan:
    """The plan of a nuisance report."""
    count, sample = len(particles), min(len(particles), num_images)
    radius = min(MAX_RADIUS, particles.box_size // 2 - 1)
    return Plan(
        work=f"{_images(particles)}, {sample} of them in maps",
        folder=folder,
        memory=int(sample * math.pi / 2 * radius**2 * 60) + 2**28,
        written=2 * 10**6,
        seconds=lambda: cost.nuisance(count, sample, particles.images.pixels.box_size),
        advice="take fewer images with `num_images`",
    )


def _images(particles: ParticleSet) -> str:
    of_size = f"of {particles.box_size} px"
    if particles.offsets is None:
        return f"{len(particles)} particles {of_size}"
    return f"{len(particles)} particles, {len(particles.images)} images {of_size}"


def _preparing(particles: ParticleSet, device: torch.device, step: int = 1) -> float:
    """Seconds to read and prepare all images, every so many-th of a file at a time."""
    images = particles.images
    prepared = cost.preparing(len(images), images.pixels.box_size, device)
    return cost.reading(images, step=step) + prepared


def _prepared_bytes(particles: ParticleSet) -> int:
    return 8 * points_of(particles.box_size) * len(particles.images)


def _columns(volumes: int) -> int:
    return 2 * volumes + volumes * (volumes + 1) // 2


def _grid_bytes(box_size: int, volumes: int) -> int:
    """Sums of two halves and their total on a half grid, volumes, and batches of images."""
    grid = math.prod(RfftVolumeGrid(box_size).shape)
    values = GRIDS * _columns(volumes) * grid + STACKS * volumes * box_size**3
    return LIBRARIES + FLOAT * values


def _keeping(plan: Plan, images: int, storage: Storage) -> Plan:
    """The plan with prepared images in memory, or in a file."""
    if storage.cache_dir is None and not storage.uses_disk(images):
        return replace(plan, images=images)
    written = plan.written + (images if storage.cache_dir is None else 0)
    return replace(plan, in_file=images, written=written)
