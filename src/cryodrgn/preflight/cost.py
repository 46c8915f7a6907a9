"""Time that work takes, told before it is done: the one model of costs.

What most time goes into is measured: a moment of the real operation on the device that will do
it, no more than once in a process. Training steps and other passes of networks are measured by
:mod:`cryodrgn.training.cost`. What is not worth a measurement (statistics of latents) is told
in operations of matrix products that take a processor as long, of which this machine has a
rate. Times are those of a process whose threads find processors free: what it waits for others
is not in them. ``benchmarks/plans.py`` compares all of it with what commands take.
"""

import functools
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch

from cryodrgn.data.preprocessing import Preprocessing, preparing_device, preprocess
from cryodrgn.devices import operations_per_second
from cryodrgn.errors import BadImageError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.resample import downsample_images
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.ctf import CtfParameters, contrast_transfer
from cryodrgn.imaging.likelihood import matched_terms
from cryodrgn.imaging.slices import slice_axes, slice_coordinates
from cryodrgn.kernels.backends import kernels_for
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.kernels.projection import VolumeSlicer
from cryodrgn.linear.config import LinearConfig
from cryodrgn.linear.halves import correlations
from cryodrgn.linear.held_out import number_of_groups
from cryodrgn.linear.iteration import POINTS_PER_VOXEL
from cryodrgn.linear.maximisation import solve
from cryodrgn.linear.subspace import MARGIN, Subspace, grid_size
from cryodrgn.models.build import build_model
from cryodrgn.models.settings import ModelConfig
from cryodrgn.models.volumes import MOST_AT_A_TIME
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.processors import useful_threads
from cryodrgn.reconstruction.backproject import PADDING, volume_of_sums
from cryodrgn.reconstruction.local_quality import local_resolution
from cryodrgn.reconstruction.postprocessing import sharpened
from cryodrgn.training.cost import shortest_time

PROCESSOR = torch.device("cpu")
# Numbers that are computed with for a moment: pixels of images, points of slices (times the
# columns that each adds to), bytes of a table of sums.
PIXELS, POINTS, LEAST_POINTS, TABLE_BYTES = 1 << 18, 1 << 22, 4000, 1 << 24
# Side of a volume that is made of sums for a moment.
SOLVED_SIDE = 32
# Functions are compared at latents of half models and, if those decide, at those of all images.
TIMES_COMPARED = 1.5

# Side of a state that is described for a moment, and images that are read.
DESCRIBED_SIDE, READ_IMAGES = 32, 64
# Axes in the pictures of a state, those that it has in the figure of all, and the most states
# there; axes that take as long as the picture of junk and its imports.
AXES_OF_STATE, AXES_IN_FIGURE, MOST_IN_FIGURE, AXES_OF_JUNK = 4, 3, 8, 30
# Work told in operations of products. A voxel of a decoded volume that is written, and axes of
# a picture.
WRITTEN_VOXEL, DRAWN_AXES = 2e3, 6e9
# An analysis without its volumes, a volume that is drawn, a particle in an embedding, and at
# most so many of them.
ANALYSED, DRAWN, MAPPED, MAPPED_AT_MOST = 4e11, 3.5e10, 2.5e8, 100_000
# A voxel of a volume that is compared, a volume that a mapping learns once, a particle that is
# put into a community.
COMPARED_VOXEL, LEARNT, GROUPED = 5e3, 1e7, 5e7
# A report on conventions, and an image in it; one on nuisance variables, every pixel that it
# looks at, and every image and particle of it.
CHECKED, CHECKED_IMAGE = 5e11, 5e8
NUISANCE, SEEN_PIXEL, NUISANCE_IMAGE, NUISANCE_PARTICLE = 1e11, 1e3, 4e7, 5e6
# Times that a regression solves for all of its volumes, those that half maps of independent
# latents add, and volumes that an iteration of the linear model solves for.
SOLVED_PER_REGRESSION, SOLVED_FOR_HALVES, SOLVED_PER_ITERATION = 5, 2, 3


def host_seconds(operations: float) -> float:
    """Seconds of work on the processor, told in operations of matrix products."""
    return operations / operations_per_second(PROCESSOR)


def reading(images: ImageTable, *, step: int = 1) -> float:
    """Seconds to read all images of a table, every so many-th of a file at a time."""
    rows = np.arange(0, len(images), step)[:READ_IMAGES]
    rows = rows[(images.shapes[rows] == images.shapes[0]).all(1)]

    def read() -> None:
        # A bad image is refused after it has been read.
        with suppress(BadImageError):
            images.read(rows)

    seconds = shortest_time(read, PROCESSOR)
    return len(images) * seconds / len(rows)


def preparing(count: int, box_size: int, device: torch.device = PROCESSOR) -> float:
    """Seconds to window and transform images of a side in pixels, which have been read."""
    return count * _prepared_image(box_size, preparing_device(device))


def drawing(num_axes: int) -> float:
    """Seconds to draw so many axes of pictures."""
    return host_seconds(DRAWN_AXES * num_axes)


def downsampling(count: int, box_size: int, new_box_size: int) -> float:
    """Seconds to make images smaller."""
    # Images of odd sides, and those that are padded, take what even larger ones do.
    return count * _downsampled_image(max(box_size // 2 * 2, new_box_size), new_box_size)


def simulating(count: int, box_size: int, num_states: int, device: torch.device) -> float:
    """Seconds to make images of states."""
    image, state = _simulated(min(box_size, 2 * SOLVED_SIDE), device)
    scale = box_size / min(box_size, 2 * SOLVED_SIDE)
    return count * image * scale**2 + num_states * state * scale**3


def backprojecting(count: int, box_size: int, num_slices: int, device: torch.device) -> float:
    """Seconds to add images to two half maps, each as so many slices, and to solve for them."""
    points = count * len(HalfPlaneFrequencies.disc(box_size))
    added = _added_point(PADDING * box_size, 0, device)
    solved = _backprojected_voxel(device) * box_size**3
    point = num_slices * added + _compared_point(device)
    return points * point + solved


def regressing(
    points: float,
    box_size: int,
    volumes: int,
    device: torch.device,
    num_slices: int = 1,
    *,
    with_half_latents: bool = False,
) -> float:
    """Seconds to regress volumes on images.

    Args:
        points: Points of all images together.
        box_size: Side of the volumes in voxels.
        volumes: Number of the volumes.
        device: Where.
        num_slices: Slices that an image adds.
        with_half_latents: Whether half maps have latents of their own.
    """
    solutions = SOLVED_PER_REGRESSION + SOLVED_FOR_HALVES * with_half_latents
    passes, side = 1 + with_half_latents, min(box_size, SOLVED_SIDE)
    voxel = solutions * _solved_voxel(volumes, device)
    voxel += passes * volumes * _correlated_voxel(side, device)
    added = _regressed_point(box_size, volumes, device, num_slices)
    return passes * points * added + voxel * box_size**3


def comparing(
    points: float, box_size: int, volumes: int, count: int, device: torch.device, slices: int
) -> float:
    """Seconds to compare two sets of volumes with maps of groups of particles of each half.

    Args:
        points: Points of all images together.
        box_size: Side of the volumes in voxels.
        volumes: Number of the volumes of the second set, which are regressed for it.
        count: Number of particles.
        device: Where.
        slices: Slices that an image adds.
    """
    side, maps = min(box_size, SOLVED_SIDE), 2 * number_of_groups(count)
    voxel = maps * (_solved_voxel(1, device) + 2 * _correlated_voxel(side, device))
    added = points * _regressed_point(box_size, 1, device, slices)
    again = regressing(points, box_size, volumes, device, slices)
    return again + TIMES_COMPARED * (added + voxel * box_size**3)


def describing(num_states: int, box_size: int, device: torch.device) -> float:
    """Seconds to describe, sharpen and draw states whose half maps are there."""
    if not num_states:
        return 0.0
    side = min(box_size, DESCRIBED_SIDE)
    axes = AXES_OF_STATE * num_states + AXES_IN_FIGURE * min(num_states, MOST_IN_FIGURE)
    return num_states * _described_voxel(side, device) * box_size**3 + drawing(axes)


def fitting(
    config: LinearConfig, count: int, box_size: int, device: torch.device, num_slices: int = 1
) -> float:
    """Seconds of a linear run.

    Args:
        config: Its settings.
        count: Number of images.
        box_size: Side of the images in pixels.
        device: Where.
        num_slices: Slices that an image adds.
    """
    volumes, fitted = config.num_components + 1, min(count, config.fit_images)
    whole = fitted * len(HalfPlaneFrequencies.disc(box_size))
    fine = regressing(whole, box_size, volumes, device, num_slices, with_half_latents=True)
    # Halves are fitted again if contrasts may pay, which is not known before.
    again = 0.5 if config.with_contrast is None else 0
    coarse = finding_latents(config, count, box_size, device, num_slices, again=again)
    return (1 + config.pose_rounds) * (coarse + fine) + drawing(AXES_OF_JUNK)


def finding_latents(
    config: LinearConfig,
    count: int,
    box_size: int,
    device: torch.device,
    num_slices: int = 1,
    *,
    again: float = 0,
) -> float:
    """Seconds of the iterations of a linear model up to its radius.

    Args:
        config: Its settings.
        count: Number of images.
        box_size: Side of the images in pixels.
        device: Where.
        num_slices: Slices that an image adds.
        again: Share of the iterations that are made a second time.
    """
    volumes, fitted = config.num_components + 1, min(count, config.fit_images)
    radius = min(config.radius, box_size // 2 - 1)
    side = grid_size(radius, box_size)
    point = num_slices * _added_point(side, volumes, device) + _compared_point(device)
    point += _expected_point(side, volumes, device)
    solved = SOLVED_PER_ITERATION * _solved_voxel(volumes, device) * side**3
    # At half, three quarters and all of the radius, two of them on all images.
    passes = (1 + again) * (5 * 0.25 + 4 * 0.5625 + 1) + 2 + 3
    return passes * (fitted * math.pi / 2 * radius**2 * point + solved)


def decoding(
    config: ModelConfig, count: int, points: float, device: torch.device, *, stored: int
) -> float:
    """Seconds to evaluate volumes at points of their transform.

    Args:
        config: The model.
        count: Number of volumes.
        points: Of each.
        device: Where.
        stored: Volumes that the model holds and adds up; 0 if it is a network.
    """
    if not count:
        return 0.0
    if stored:
        return host_seconds(count * stored * config.box_size**3)
    return count * points * _decoded_point(config, min(count, MOST_AT_A_TIME), device)


def analysing(count: int, num_volumes: int, *, with_map: bool) -> float:
    """Seconds of an analysis of particles beside its volumes, with an embedding or without."""
    mapped = min(count, MAPPED_AT_MOST) if with_map else 0
    return host_seconds(ANALYSED + DRAWN * num_volumes + MAPPED * mapped)


def checking(count: int, box_size: int) -> float:
    """Seconds of a check of conventions on so many images."""
    return preparing(count, box_size) + host_seconds(CHECKED + CHECKED_IMAGE * count)


def nuisance(count: int, sample: int, box_size: int) -> float:
    """Seconds of a nuisance report on particles, a sample of which is in maps."""
    seen = SEEN_PIXEL * count * box_size**2
    others = NUISANCE + NUISANCE_IMAGE * sample + NUISANCE_PARTICLE * count
    return preparing(sample, box_size) + host_seconds(seen + others)


def _moment(step: Callable[[], object], device: torch.device) -> float:
    """Seconds of a piece of work, by all threads that find a processor."""
    seconds = shortest_time(step, device)
    return seconds / useful_threads() if device.type == "cpu" else seconds


@functools.cache
def _prepared_image(box_size: int, device: torch.device) -> float:
    count = max(1, min(64, PIXELS // box_size**2))
    images, shifts = torch.ones(count, box_size, box_size), torch.zeros(count, 2)
    lattice = HalfPlaneFrequencies.disc(box_size - box_size % 2)
    settings = Preprocessing(window_radius=0.85)
    images, shifts = images.to(device), shifts.to(device)
    return _moment(lambda: preprocess(images, lattice, settings, shifts), device) / count


@functools.cache
def _downsampled_image(box_size: int, new_box_size: int) -> float:
    count = max(1, PIXELS // box_size**2)
    images = torch.ones(count, box_size, box_size)
    return _moment(lambda: downsample_images(images, new_box_size), PROCESSOR) / count


@functools.cache
def _simulated(box_size: int, device: torch.device) -> tuple[float, float]:
    """Seconds of an image, and of a state."""
    volume = torch.ones(box_size, box_size, box_size, device=device)
    lattice = HalfPlaneFrequencies.disc(box_size)
    count = max(1, PIXELS // 4 // box_size**2)
    turns = random_rotations(count, torch.Generator().manual_seed(0)).to(device)
    slicer = VolumeSlicer(volume)

    def images() -> object:
        made = images_from_lattice(slicer.slices(lattice, turns), lattice).cpu()
        return made + torch.randn(made.shape)

    image = _moment(images, device) / count
    return image, _moment(lambda: VolumeSlicer(volume), device)


def _slices(side: int, columns: int, device: torch.device) -> torch.Tensor:
    """Points of some slices on a grid: as many at a time as the linear model takes."""
    radius = max(1, side // 2 - MARGIN)
    lattice = HalfPlaneFrequencies.disc(2 * radius).points.float().to(device)
    wanted = max(LEAST_POINTS, min(POINTS // columns, POINTS_PER_VOXEL * radius**3))
    count = max(1, int(wanted) // len(lattice))
    turns = random_rotations(count, torch.Generator().manual_seed(0)).to(device)
    return slice_coordinates(lattice, slice_axes(turns, None))


def _columns(volumes: int) -> int:
    """Columns of the sums that determine volumes."""
    return 2 * volumes + volumes * (volumes + 1) // 2


def _small_side(side: int, columns: int) -> int:
    """Side of the largest grid up to some that is tried with so many columns."""
    most = int((2 * TABLE_BYTES / 4 / columns) ** (1 / 3)) // 2 * 2
    return max(8, min(side, most))


@functools.cache
def _added_point(side: int, volumes: int, device: torch.device) -> float:
    """Seconds to add a point to sums for volumes, 0 of them for those of a backprojection."""
    count = max(1, volumes)
    products = volumes * (volumes + 1) // 2 if volumes else 1
    side = _small_side(side, 2 * count + products)
    sums = SliceAccumulator(RfftVolumeGrid(side), count, products, device)
    points = _slices(side, 2 * count + products, device)
    values, weights = points[..., :2].clone(), torch.ones(points.shape[:2], device=device)
    first = torch.ones(len(points), count, device=device)
    second = torch.ones(len(points), products, device=device)
    return _moment(lambda: sums.add(points, values, weights, first, second), device) / (
        points.shape[0] * points.shape[1]
    )


def _regressed_point(side: int, volumes: int, device: torch.device, num_slices: int) -> float:
    """Seconds of a point of an image in a regression of volumes."""
    return num_slices * _added_point(side, volumes, device) + _compared_point(device)


@functools.cache
def _expected_point(side: int, volumes: int, device: torch.device) -> float:
    """Seconds of the inner products of a point of slices of volumes."""
    side = _small_side(side, 2 * volumes)
    grid, points = RfftVolumeGrid(side), _slices(side, volumes**2, device)
    table = torch.ones(math.prod(grid.shape), 2 * volumes, device=device)
    images, transfer = points[..., :2].clone(), torch.ones(points.shape[:2], device=device)
    shells = torch.linspace(0, points.shape[1], side // 2).round().long().tolist()
    kernels = kernels_for(device)
    seconds = _moment(
        lambda: kernels.inner_products(
            grid, table, points / side, images, transfer, shells, side
        ),
        device,
    )
    return seconds / (points.shape[0] * points.shape[1])


@functools.cache
def _compared_point(device: torch.device) -> float:
    """Seconds of the CTF at a point, and of the terms that are added up of it."""
    lattice = HalfPlaneFrequencies.disc(2 * SOLVED_SIDE)
    frequencies = (lattice.frequencies / 3)[None].expand(16, -1, -1).contiguous().to(device)
    known = torch.ones(16, device=device)
    optics = CtfParameters(
        defocus_u=1.5e4 * known,
        defocus_v=1.4e4 * known,
        defocus_angle=known,
        voltage_kv=300 * known,
        spherical_aberration_mm=2.7 * known,
        amplitude_contrast=0.1 * known,
        phase_shift=0 * known,
    )
    values = frequencies.clone()
    seconds = _moment(
        lambda: matched_terms(values, contrast_transfer(frequencies, optics)), device
    )
    return seconds / (16 * len(lattice))


@functools.cache
def _solved_voxel(volumes: int, device: torch.device) -> float:
    """Seconds to solve for a voxel of volumes."""
    products = _columns(volumes) - 2 * volumes
    side = _small_side(SOLVED_SIDE, 2 * _columns(volumes))
    sums = SliceAccumulator(RfftVolumeGrid(side), volumes, products, device)
    prior = torch.ones(volumes, side // 2 + 1, device=device)
    return _moment(lambda: solve(sums, prior, None, side // 2 - 1), device) / side**3


@functools.cache
def _correlated_voxel(side: int, device: torch.device) -> float:
    """Seconds of the Fourier shell correlation of two volumes, by voxel."""
    radius = side // 2 - 1
    volume, prior = torch.ones(1, side, side, side), torch.ones(1, radius + 2)
    model = Subspace(volumes=volume.to(device), prior=prior.to(device), radius=radius)
    return _moment(lambda: correlations(model, model), device) / side**3


@functools.cache
def _described_voxel(side: int, device: torch.device) -> float:
    """Seconds of local resolution, FSC, B factor and sharpening of a state, by voxel."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, side, side, side, generator=generator)
    mask, halves = torch.ones_like(first), (first, first + second)
    on_device = [half.to(device) for half in halves]

    def describe() -> object:
        local_resolution(on_device[0], on_device[1], 1.0)
        fourier_shell_correlation(*halves)
        return sharpened(halves, mask, 1.0, with_local=False)

    return shortest_time(describe, PROCESSOR) / side**3


@functools.cache
def _backprojected_voxel(device: torch.device) -> float:
    """Seconds to make a voxel of two half maps and the map of both."""
    sums = SliceAccumulator(RfftVolumeGrid(PADDING * SOLVED_SIDE), 1, 1, device)
    ball = torch.ones(SOLVED_SIDE, SOLVED_SIDE, SOLVED_SIDE, device=device)
    return 3 * _moment(lambda: volume_of_sums(sums, ball), device) / SOLVED_SIDE**3


@functools.cache
def _decoded_point(config: ModelConfig, together: int, device: torch.device) -> float:
    """Seconds of a point of a volume, of so many that are decoded together."""
    model = build_model(replace(config, encoder=None)).decoder.to(device).eval()
    evaluate = model.fast_evaluation()
    count = max(64, LEAST_POINTS // together)
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(count, 3, generator=generator) - 0.5).to(device) / math.sqrt(3)
    latents = torch.zeros(together, config.latent_dim, device=device)

    def decode() -> object:
        with torch.inference_mode():
            return evaluate(points, latents)

    return _moment(decode, device) / (count * together)
