"""The sketch of a landscape: clusters of particles with a volume each, made or found."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.analysis.clusters import Clusters, cluster_by_means
from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.io.cryodrgn_pickle import load_labels, save_pickles
from cryodrgn.io.latent_text import (
    load_index_text,
    load_latent_text,
    save_index_text,
    save_latent_text,
)
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.text import read_yaml, yaml_text
from cryodrgn.reconstruction.decode import PostProcessing, write_volumes
from cryodrgn.rundir import LandscapeFiles
from cryodrgn.runs.run import Run
from cryodrgn.workflow.gallery import save_bytes
from cryodrgn.workflow.options import LandscapeOptions

logger = logging.getLogger(__name__)

FLIPPED = {True: "flipped", False: "not flipped", None: "not flipped"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sketch:
    """Clusters of particles, and a volume at the centre of each.

    Attributes:
        clusters: The clusters.
        paths: Their volumes.
        flip: Whether the z axis of the volumes is reversed.
    """

    clusters: Clusters
    paths: list[Path]
    flip: bool


def of_epoch(epoch: int | None) -> str:
    """The epoch of results, None at the end of a training, for a message."""
    return "of the finished run (-1)" if epoch is None else f"of epoch {epoch}"


def make_sketch(
    run: Run,
    epoch: int | None,
    files: LandscapeFiles,
    options: LandscapeOptions,
    latents: Float[np.ndarray, "particles z"],
    geometry: MapGeometry,
    box_size: int,
    device: str,
) -> Sketch:
    """Cluster the particles, and write a volume at every centre.

    Args:
        run: The run.
        epoch: The epoch; None for the files without a number.
        files: Where everything goes.
        options: Number of clusters, seed and orientation of the volumes.
        latents: The particles' latents.
        geometry: Where the volumes lie.
        box_size: Side of the volumes in pixels.
        device: Where to decode.

    Raises:
        CryodrgnError: The run or the options cannot be used.
    """
    clusters = cluster_by_means(latents, options.sketch_size, options.seed)
    count, flip = len(clusters.particles), bool(options.flip)
    folder, paths = files.sketch(count), _volumes(files, count)
    source = run.volume_source(epoch, device, options.compilation)
    # A call that is cut short leaves no volumes that are not of these clusters.
    for path in [files.sketch_record(count), *paths]:
        path.unlink(missing_ok=True)
    save_pickles(folder.labels, [clusters.labels])
    save_latent_text(folder.centres, clusters.centres)
    save_latent_text(folder.z_values, clusters.centres)
    save_index_text(folder.centre_particles, clusters.particles)
    record = {"epoch": epoch, "seed": options.seed, "flip": flip}
    save_bytes(files.sketch_record(count), yaml_text(record).encode())
    write_volumes(
        source,
        torch.from_numpy(clusters.centres),
        paths,
        geometry=geometry,
        box_size=box_size,
        processing=PostProcessing(flip=flip),
    )
    return Sketch(clusters=clusters, paths=paths, flip=flip)


def find_sketch(
    epoch: int | None,
    files: LandscapeFiles,
    options: LandscapeOptions,
    latents: Float[np.ndarray, "particles z"],
) -> Sketch:
    """The clusters and volumes of an earlier call.

    Args:
        epoch: The epoch; None for the files without a number.
        files: Where they lie.
        options: Number of clusters and orientation of the volumes.
        latents: The particles' latents.

    Raises:
        InputFileError: A file is missing, or they are of other latents.
        ConfigError: They are of another epoch, or of another orientation than is asked for.
    """
    count = options.sketch_size
    folder, paths = files.sketch(count), _volumes(files, count)
    needed = [*paths, folder.labels, folder.centre_particles, folder.z_values]
    missing = [path for path in needed if not path.is_file()]
    if missing:
        msg = f"{missing[0]} is missing; leave out `skip_volumes` to make the volumes"
        raise InputFileError(msg)
    flip = _orientation(epoch, files, options)
    labels = load_labels(folder.labels)
    particles = np.asarray(load_index_text(folder.centre_particles), np.int64)
    made_at = load_latent_text(folder.z_values, latents.shape[1])
    if (len(labels), len(particles), len(made_at)) != (len(latents), count, count) or not (
        np.isin(labels, np.arange(count)).all()
        and np.isin(particles, np.arange(len(latents))).all()
        and np.allclose(latents[particles], made_at, rtol=1e-5, atol=1e-6)
    ):
        msg = (
            f"the volumes in {folder.path} are not at latents of these {len(latents)} "
            f"particles ({folder.z_values.name}, {folder.centre_particles.name}, "
            f"{folder.labels.name}); leave out `skip_volumes` to make them again"
        )
        raise InputFileError(msg)
    clusters = Clusters(labels=labels, particles=particles, centres=made_at)
    return Sketch(clusters=clusters, paths=paths, flip=flip)


def _volumes(files: LandscapeFiles, count: int) -> list[Path]:
    return [files.sketch(count).volume(number) for number in range(count)]


def _orientation(epoch: int | None, files: LandscapeFiles, options: LandscapeOptions) -> bool:
    """True where the volumes that are there are flipped.

    Raises:
        ConfigError: They are of another epoch, or of another orientation than is asked for.
    """
    path = files.sketch_record(options.sketch_size)
    if not path.is_file():
        logger.warning(
            "%s is missing: the volumes are taken as %s", path, FLIPPED[options.flip]
        )
        return bool(options.flip)
    record: dict[str, Any] = read_yaml(path)
    if not {"epoch", "flip"} <= set(record):
        msg = f"{path} tells no epoch or flip; leave out `skip_volumes` to make the volumes"
        raise InputFileError(msg)
    if record["epoch"] != epoch:
        msg = (
            f"the volumes in {path.parent} are {of_epoch(record['epoch'])}, not "
            f"{of_epoch(epoch)}; leave out `skip_volumes` to make them again"
        )
        raise ConfigError(msg)
    flip = bool(record["flip"])
    if options.flip is not None and options.flip != flip:
        msg = (
            f"`flip` {options.flip} was asked for, but the volumes in {path.parent} are "
            f"{FLIPPED[flip]}; leave `flip` or `skip_volumes` out"
        )
        raise ConfigError(msg)
    return flip
