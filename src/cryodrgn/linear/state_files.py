"""States of a latent from particle file to files: the work behind ``reconstruct_states``."""

import csv
import io
import logging
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import cryodrgn
from cryodrgn.counts import counted
from cryodrgn.data.config import DataConfig
from cryodrgn.data.prepared import Storage
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.shells import ShellCurve
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.checkpoints import save_checkpoint
from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.io.curves import write_curves, write_fsc
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.masks import read_mask
from cryodrgn.io.mrc import write_volume
from cryodrgn.io.run_config import save_run_config
from cryodrgn.linear.config import require_radius
from cryodrgn.linear.latents import Latents
from cryodrgn.linear.prepared_states import prepare_states
from cryodrgn.linear.states import ImageModel, State, StateSettings
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.particle_record import ParticleRecord
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import track
from cryodrgn.reconstruction.postprocess_files import (
    SharpeningPictures,
    pictures_of,
    summary_of,
    write_summary,
)
from cryodrgn.reconstruction.postprocessing import SharpenedMap, sharpened
from cryodrgn.rundir import StateFiles

logger = logging.getLogger(__name__)

THRESHOLD = 0.143
SHARED_LATENT_NOTE = (
    "z was estimated from all images: half maps share it, and their FSC is an upper bound"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StateSummary:
    """Summary of a state for figures.

    Attributes:
        latent: The point in the latent space.
        section: Central section of its volume, x across and y up.
        projection: Its projection along z.
        fsc: Correlation of its half maps.
        resolution: In Å, where that falls below 0.143; None where it starts below.
        effective_number: Number of different images in a plain average of the same noise.
        is_supported: Whether there are particles near the point.
        pixel_size: Å/px.
        sharpening: Masked and corrected FSC, B factor and sections of the sharpened map.
    """

    latent: Float[np.ndarray, " z"]
    section: Float[np.ndarray, "box box"]
    projection: Float[np.ndarray, "box box"]
    fsc: ShellCurve
    resolution: float | None
    effective_number: float
    is_supported: bool
    pixel_size: float
    sharpening: SharpeningPictures

    def in_words(self) -> str:
        """Resolution, effective number of particles and support, in two short lines."""
        resolution = "no agreement" if self.resolution is None else f"{self.resolution:.1f} Å"
        if self.resolution is not None and self.fsc.values.min() >= THRESHOLD:
            resolution += " or better"
        support = "supported" if self.is_supported else "EXTRAPOLATED"
        if self.resolution is not None:
            resolution += " within the mask"
        return f"{resolution}\n{self.effective_number:.0f} images, {support}"


def reconstruct_states(
    data: DataConfig,
    particles: ParticleSet,
    latents: Latents,
    points: Float[np.ndarray, "states z"],
    settings: StateSettings,
    files: StateFiles,
    device: torch.device,
    *,
    storage: Storage,
    mask_path: Path | None = None,
    geometry: MapGeometry | None = None,
    team: Team = ALONE,
) -> list[StateSummary]:
    """Reconstruct states from images and write them, with a model for all other points.

    Args:
        data: What is done to the images.
        particles: The images, with poses.
        latents: Their latents.
        points: The states.
        settings: How to reconstruct them.
        files: Where to write.
        device: Where to compute.
        storage: Where prepared images are kept.
        mask_path: A solvent mask; None finds one.
        geometry: Place of the volumes; None places their first voxel at zero.
        team: Processes that share the images; the first of them writes the files.

    Returns:
        A summary of every state; none in processes that do not write.

    Raises:
        CryodrgnError: The data cannot be used, or do not belong together.
    """
    mask = check_states(particles, latents, points, files, mask_path)
    prepared = prepare_states(
        data, particles, latents, settings, device, storage=storage, mask=mask, team=team
    )
    reconstruction, norm = prepared.states, prepared.norm
    pixel_size = particles.require_pixel_size()
    geometry = replace(geometry or MapGeometry(pixel_size=None), pixel_size=pixel_size)
    if settings.method == "kernel":
        states = reconstruction.kernel_states(points, pixel_size)
    else:
        found = reconstruction.image_model()
        if not team.is_writer:
            return []
        _write_model(found, latents, data, settings, particles, norm, files)
        states = reconstruction.states(found, points, pixel_size)
    solvent = resize_mask(reconstruction.mask, particles.box_size).cpu()
    tracked = track(states, len(points), "writing states", "state")
    if not team.is_writer:
        # They take part in what is computed, and write nothing.
        deque(tracked, maxlen=0)
        return []
    return _all_written(tracked, files, norm[1], geometry, solvent, latents)


def _all_written(
    states: Iterable[State],
    files: StateFiles,
    scale: float,
    geometry: MapGeometry,
    solvent: Float[Tensor, "box box box"],
    latents: Latents,
) -> list[StateSummary]:
    """Write states as they come, and their table, and say which of them to trust."""
    summaries = [
        _written(state, number, files, scale, geometry, solvent)
        for number, state in enumerate(states)
    ]
    write_volume(files.mask, solvent.numpy(), geometry)
    _write_table(summaries, files)
    _say_what_to_trust(summaries, latents)
    return summaries


def _written(
    state: State,
    number: int,
    files: StateFiles,
    scale: float,
    geometry: MapGeometry,
    solvent: Float[Tensor, "box box box"],
) -> StateSummary:
    """Write a state and its sharpened map, and sum it up."""
    pixel_size = geometry.pixel_size or 1.0
    _write_state(state, number, files, scale, geometry)
    sharp = _sharpening(state, scale, pixel_size, solvent)
    _write_sharpened(state, sharp, number, files, geometry)
    return _summary(state, sharp, scale, pixel_size)


def _say_what_to_trust(summaries: Sequence[StateSummary], latents: Latents) -> None:
    extrapolated = [i for i, summary in enumerate(summaries) if not summary.is_supported]
    if extrapolated:
        logger.warning(
            "no particles are near states %s: their volumes are extrapolated",
            ", ".join(map(str, extrapolated)),
        )
    if latents.half_means is None:
        logger.info("%s", SHARED_LATENT_NOTE)


def check_states(
    particles: ParticleSet,
    latents: Latents,
    points: Float[np.ndarray, "states z"] | None,
    files: StateFiles,
    mask_path: Path | None = None,
) -> Float[Tensor, "box box box"] | None:
    """Validate particles, latents and mask together, before any image is read.

    Args:
        particles: The images.
        latents: Their latents.
        points: The states; None if they are yet to be found among the latents.
        files: Where results will go.
        mask_path: File of a mask.

    Returns:
        The mask, if there is one.

    Raises:
        CryodrgnError: Tables differ in length or dimensions, or results cannot go there.
    """
    particles.images.require_poses()
    particles.require_pixel_size()
    require_radius(particles.box_size, particles.source)
    latents.require_particles(particles)
    if points is not None and points.shape[1] != latents.mean.shape[1]:
        msg = (
            f"{latents.source} holds latents of "
            f"{counted(latents.mean.shape[1], 'dimension')}, but the states have "
            f"{points.shape[1]}"
        )
        raise ConfigError(msg)
    if files.path.exists() and not files.path.is_dir():
        msg = f"`outdir` {files.path} is a file, expected a folder"
        raise ConfigError(msg)
    for path in (files.run.log, files.run.metrics):
        if path.exists():
            msg = f"{files.path} holds a training run; choose another folder"
            raise ConfigError(msg)
    if mask_path is None:
        return None
    return read_mask(mask_path, particles.box_size, particles.require_pixel_size())


def _write_model(
    found: ImageModel,
    latents: Latents,
    data: DataConfig,
    settings: StateSettings,
    particles: ParticleSet,
    norm: tuple[float, float],
    files: StateFiles,
) -> None:
    """The model as a run: config, weights and latents."""
    model = found.model
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    state["volumes"] = state["volumes"] * norm[1]
    training: dict[str, Any] = {
        "pixel_size": particles.require_pixel_size(),
        **ParticleRecord.of(particles).to_mapping(),
        "box_size": data.box_size,
        "latents": latents.source,
        "half_latents_independent": latents.half_means is not None,
        "states": asdict(settings),
    }
    mapping = {
        "dataset_args": data.to_mapping(norm, particles.images.sampling),
        **model.config.to_mapping(),
        "seed": settings.seed,
        "training": training,
        "version": cryodrgn.__version__,
        "cmd": list(sys.argv),
    }
    save_run_config(files.run, mapping)
    if latents.covariances is None:
        save_pickles(files.run.latents(), [latents.mean])
    else:
        variances = np.diagonal(latents.covariances, axis1=1, axis2=2)
        save_latents(files.run.latents(), latents.mean, np.log(variances))
    save_checkpoint(files.run.weights(), {"epoch": 0, "model_state_dict": state})


def _write_state(
    state: State, number: int, files: StateFiles, scale: float, geometry: MapGeometry
) -> None:
    write_volume(files.volume(number), (state.volume * scale).numpy(), geometry)
    names = (files.half_map_a, files.half_map_b)
    for name, half_map in zip(names, state.half_maps, strict=True):
        write_volume(name(number), (half_map * scale).numpy(), geometry)
    error = (state.standard_error * scale).numpy()
    write_volume(files.standard_error(number), error, geometry)
    local = state.local_resolution.numpy()
    write_volume(files.local_resolution(number), local, geometry)
    write_fsc(files.fsc(number), state.fsc)


def _write_sharpened(
    state: State,
    sharp: SharpenedMap,
    number: int,
    files: StateFiles,
    geometry: MapGeometry,
) -> None:
    """The sharpened map, its curves, and all numbers of the state."""
    write_volume(files.sharpened(number), sharp.sharpened.numpy(), geometry)
    write_curves(files.curves(number), sharp.agreement.curves())
    source = {
        "latent": [float(value) for value in state.latent],
        "effective_images": state.effective_number,
        "supported": state.is_supported,
        "half_maps": [files.half_map_a(number).name, files.half_map_b(number).name],
        "mask": files.mask.name,
    }
    write_summary(files.record(number), summary_of(sharp), source)


def _sharpening(
    state: State, scale: float, pixel_size: float, mask: Float[Tensor, "box box box"]
) -> SharpenedMap:
    """The mean of the half maps of a state, sharpened."""
    first, second = (half_map * scale for half_map in state.half_maps)
    return sharpened((first, second), mask, pixel_size, with_local=False)


def _summary(
    state: State, sharp: SharpenedMap, scale: float, pixel_size: float
) -> StateSummary:
    frequency = state.fsc.first_crossing(THRESHOLD)
    volume = state.volume * scale
    return StateSummary(
        latent=state.latent,
        section=volume[len(volume) // 2].numpy(),
        projection=volume.sum(0).numpy(),
        fsc=state.fsc,
        resolution=None if frequency is None else pixel_size / frequency,
        effective_number=state.effective_number,
        is_supported=state.is_supported,
        pixel_size=pixel_size,
        sharpening=pictures_of(sharp),
    )


def _write_table(summaries: Sequence[StateSummary], files: StateFiles) -> None:
    dimensions = len(summaries[0].latent)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    latent_names = [f"z{number}" for number in range(dimensions)]
    writer.writerow(["state", *latent_names, "resolution", "effective_images", "supported"])
    for number, summary in enumerate(summaries):
        resolution = "" if summary.resolution is None else f"{summary.resolution:.2f}"
        writer.writerow(
            [
                number,
                *(f"{value:.6g}" for value in summary.latent),
                resolution,
                f"{summary.effective_number:.0f}",
                "yes" if summary.is_supported else "extrapolated",
            ]
        )
    with atomic_path(files.table) as partial:
        partial.write_text(text.getvalue())
