"""Simulated particle sets: poses, shifts, CTF and noise on projections of known volumes."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.devices import may_wait, to_device
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.geometry.rotations import random_rotations, rotation_about_x
from cryodrgn.imaging.ctf import CtfParameters, contrast_transfer
from cryodrgn.imaging.exposure import exposure_weights
from cryodrgn.io.atomic import atomic_path, reserve
from cryodrgn.io.cryodrgn_pickle import save_ctf, save_poses
from cryodrgn.io.mrc import stack_writer, write_volume
from cryodrgn.io.relion_write import write_particle_star
from cryodrgn.io.text import yaml_text
from cryodrgn.kernels.projection import VolumeSlicer
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.poses import Poses
from cryodrgn.progress import Progress
from cryodrgn.rundir import SimulationFiles
from cryodrgn.settings import SeedOptions, settings
from cryodrgn.simulation.options import SimulationOptions
from cryodrgn.simulation.views import TiltScheme, Views, single_views, tilt_series_views
from cryodrgn.threads import in_order, one_ahead
from cryodrgn.units import ANGSTROM_PER_MICRON

logger = logging.getLogger(__name__)

HOST = torch.device("cpu")
# Images that noise is added to at once; random numbers depend on it.
BATCH = 200
# Images that a thread projects at once: enough for each plane of a transform to be read many
# times while it is in the cache.
PROJECTED_TOGETHER = 100


@settings
class SimulationSettings(SeedOptions, SimulationOptions):
    """Settings of the simulation of images from volumes.

    Particles are shown by one image each, or by one tilt series; states are as nearly equal in
    number as can be. The signal-to-noise ratio is a mean over all images.

    Attributes:
        pixel_size: Å/px.
        has_ctf: Whether images carry a CTF.
        astigmatism: Defocus U and V differ by up to this, in Å.
        tilt_series: Show every particle by a tilt series; None shows it by one image.
    """

    pixel_size: float
    has_ctf: bool = True
    astigmatism: float = 300.0
    tilt_series: TiltScheme | None = None

    def __post_init__(self) -> None:
        """Refuse settings that describe no experiment.

        Raises:
            ConfigError: A number is out of range, or two settings do not go together.
        """
        super().__post_init__()
        if not self.pixel_size > 0:
            msg = f"the pixel size must be positive, got {self.pixel_size}"
            raise ConfigError(msg)
        if self.tilt_series is not None and not self.has_ctf:
            msg = "tilt series need a CTF: what dose does to images depends on the voltage"
            raise ConfigError(msg)
        if self.tilt_series is not None and self.tilt_deg is not None:
            msg = "particles are shown either by tilt series or by tilt pairs, not by both"
            raise ConfigError(msg)

    @property
    def images_per_particle(self) -> int:
        """Number of images in the stack that show the same particle."""
        return 1 if self.tilt_series is None else len(self.tilt_series.angles())


def simulate(
    volumes: Sequence[Float[np.ndarray, "box box box"]],
    settings: SimulationSettings,
    output: Path,
    description: dict[str, Any] | None = None,
    device: torch.device = HOST,
) -> SimulationFiles:
    """Write a particle set of known truth.

    Args:
        volumes: One volume per state, all of one even box size.
        settings: How images are made.
        output: Folder to write into.
        description: More that is known of the states, kept beside the settings.
        device: Where projections are computed. Random numbers are those of the processor
            everywhere, so that poses, CTF and noise depend on the seed alone.

    Returns:
        The files written.
    """
    files = SimulationFiles(output)
    generator = torch.Generator().manual_seed(settings.seed)
    labels = np.arange(settings.num_images) % len(volumes)
    labels = labels[torch.randperm(settings.num_images, generator=generator).numpy()]
    views = _views(labels, settings, generator)

    for number, volume in enumerate(volumes):
        write_volume(files.state(number), volume, settings.pixel_size)
    _write_images(volumes, views, settings, generator, files, files.particles, device)
    if settings.tilt_deg is not None:
        tilt = rotation_about_x(math.radians(settings.tilt_deg)).numpy()
        poses = replace(views.poses, rotations=tilt @ views.poses.rotations)
        tilted = replace(views, poses=poses)
        _write_images(volumes, tilted, settings, generator, files, files.tilted, device)
    _write_metadata(labels, views, settings, volumes[0].shape[0], files)
    with atomic_path(files.settings) as partial:
        content = {"simulation": asdict(settings) | {"num_states": len(volumes)}}
        content["simulation"]["defocus_range_um"] = list(settings.defocus_range_um)
        partial.write_text(yaml_text(content | (description or {})))
    return files


def _views(
    labels: Int[np.ndarray, " particles"],
    settings: SimulationSettings,
    generator: torch.Generator,
) -> Views:
    """Poses and CTF of all images, at random."""
    scheme = settings.tilt_series
    if scheme is None:
        poses = _random_poses(settings, generator)
        ctf = _random_ctf(settings, len(labels), generator) if settings.has_ctf else None
        return single_views(labels, poses, ctf)
    rotations = random_rotations(len(labels), generator).numpy()
    count = math.ceil(len(labels) / scheme.particles_per_tomogram)
    tomograms = _random_ctf(settings, count, generator)
    extent = settings.shift_extent_px * settings.pixel_size
    return tilt_series_views(labels, rotations, scheme, tomograms, extent, generator)


def _random_poses(settings: SimulationSettings, generator: torch.Generator) -> Poses:
    rotations = random_rotations(settings.num_images, generator)
    uniform = 2 * torch.rand(settings.num_images, 2, generator=generator) - 1
    shifts = uniform * (settings.shift_extent_px * settings.pixel_size)
    return Poses(rotations=rotations.numpy(), shifts=shifts.numpy(), source="simulation")


def _random_ctf(
    settings: SimulationSettings, count: int, generator: torch.Generator
) -> CtfTable:
    low, high = settings.defocus_range_um
    mean, difference, angle = torch.rand(3, count, generator=generator)
    defocus = ANGSTROM_PER_MICRON * (low + (high - low) * mean)
    half = difference * settings.astigmatism / 2

    def same(value: float) -> np.ndarray:
        return np.full(count, value, dtype=np.float32)

    return CtfTable(
        defocus_u=(defocus + half).numpy(),
        defocus_v=(defocus - half).numpy(),
        defocus_angle=(math.pi * angle).numpy(),
        voltage_kv=same(settings.voltage_kv),
        spherical_aberration_mm=same(settings.spherical_aberration_mm),
        amplitude_contrast=same(settings.amplitude_contrast),
        phase_shift=same(0.0),
        source="simulation",
    )


def _write_images(
    volumes: Sequence[Float[np.ndarray, "box box box"]],
    views: Views,
    settings: SimulationSettings,
    generator: torch.Generator,
    files: SimulationFiles,
    stack: Path,
    device: torch.device,
) -> None:
    """Clean images state by state into a scratch file, then noise on them in their order."""
    box_size, count = volumes[0].shape[0], len(views)
    shape = (count, box_size, box_size)
    size = 4 * math.prod(shape)
    with atomic_path(files.clean_images, size) as scratch:
        # A file with holes would end the program when the disk is full.
        reserve(scratch, size)
        clean = np.memmap(scratch, np.float32, "r+", shape=shape)
        deviation = _project(volumes, views, settings, clean, device)
        _add_noise(clean, deviation / math.sqrt(settings.snr), settings, generator, stack)
        del clean
    files.clean_images.unlink()


def _project(
    volumes: Sequence[Float[np.ndarray, "box box box"]],
    views: Views,
    settings: SimulationSettings,
    clean: Float[np.ndarray, "particles box box"],
    device: torch.device,
) -> float:
    """Write clean images; returns the standard deviation of their pixels."""
    total = squares = 0.0
    lattice = HalfPlaneFrequencies.disc(clean.shape[-1])
    # A card has threads of its own.
    each = in_order if device.type == "cpu" else map
    with Progress(len(views), "projecting") as progress:
        for state, volume in enumerate(volumes):
            members = np.flatnonzero(views.labels == state)
            if not len(members):
                continue
            slicer = VolumeSlicer(to_device(torch.from_numpy(volume), device))

            def work(
                rows: Int[np.ndarray, " rows"], slicer: VolumeSlicer = slicer
            ) -> tuple[int, float, float]:
                images = _clean_images(slicer, lattice, rows, views, settings, device)
                clean[rows] = images
                power = np.square(images, dtype=np.float64).sum()
                return len(rows), float(images.sum(dtype=np.float64)), float(power)

            pieces = np.array_split(members, -(-len(members) // PROJECTED_TOGETHER))
            for count, of_piece, squares_of_piece in each(work, pieces):
                total, squares = total + of_piece, squares + squares_of_piece
                progress.advance(count)
    mean = total / clean.size
    return math.sqrt(max(0.0, squares / clean.size - mean**2))


def _add_noise(
    clean: Float[np.ndarray, "particles box box"],
    sigma: float,
    settings: SimulationSettings,
    generator: torch.Generator,
    stack: Path,
) -> None:
    """Write images with noise of unit variance."""
    count, box_size, _ = clean.shape
    dtype = "float16" if settings.half_precision else "float32"
    batches = [slice(start, start + BATCH) for start in range(0, count, BATCH)]

    def noise(batch: slice) -> Float[Tensor, "batch box box"]:
        return torch.randn(clean[batch].shape, generator=generator)

    with (
        stack_writer(stack, box_size, settings.pixel_size, dtype, count) as writer,
        Progress(count, "adding noise") as progress,
    ):
        for batch, images in zip(batches, one_ahead(noise, batches), strict=True):
            images.mul_(sigma).add_(torch.from_numpy(np.array(clean[batch]))).div_(sigma)
            writer.append(images.numpy())
            progress.advance(len(images))


def _clean_images(
    slicer: VolumeSlicer,
    lattice: HalfPlaneFrequencies,
    rows: Int[np.ndarray, " rows"],
    views: Views,
    settings: SimulationSettings,
    device: torch.device,
) -> Float[np.ndarray, "rows box box"]:
    def sent(values: np.ndarray) -> Tensor:
        return to_device(torch.from_numpy(values[rows]), device)

    frequencies = to_device((lattice.frequencies / settings.pixel_size)[None], device)
    values = slicer.slices(lattice, sent(views.poses.rotations))
    # The shift of a pose centres the particle, so the particle lies at its negative.
    values = shift_transform(values, frequencies, -sent(views.poses.shifts))
    amplitude = torch.exp(-settings.b_factor / 4 * frequencies.square().sum(-1))
    if views.ctf is not None:
        columns = {name: sent(column) for name, column in views.ctf.columns().items()}
        amplitude = amplitude * contrast_transfer(frequencies, CtfParameters(**columns))
    if views.exposures is not None:
        exposures = views.exposures[torch.from_numpy(rows)].to(device)
        amplitude = amplitude * exposure_weights(
            frequencies.expand(len(rows), -1, -1), exposures
        )
    values = values * (-amplitude if settings.invert else amplitude)[..., None]
    images = images_from_lattice(values, lattice)
    with may_wait("images are written"):
        return images.cpu().numpy()


def _write_metadata(
    labels: Int[np.ndarray, " particles"],
    views: Views,
    settings: SimulationSettings,
    box_size: int,
    files: SimulationFiles,
) -> None:
    """Labels, pickles, and a STAR file in the layout of RELION 3.1."""
    with atomic_path(files.labels) as partial, partial.open("wb") as file:
        np.save(file, labels)
    save_poses(files.poses, views.poses, np.array([box_size * settings.pixel_size]))
    if views.ctf is not None:
        save_ctf(files.ctf, views.ctf, box_size, np.array([settings.pixel_size]))
    write_particle_star(
        files.star,
        [f"{number:06d}@{files.particles.name}" for number in range(1, len(views) + 1)],
        box_size=box_size,
        pixel_sizes=np.full(len(views), settings.pixel_size),
        poses=views.poses,
        ctf=views.ctf,
        more=views.columns | {"rlnClassNumber": (views.labels + 1).tolist()},
    )
