"""Every particle's place in a landscape of volumes, learnt from the volumes of some."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.analysis.embedding import umap_embedding
from cryodrgn.analysis.landscape import Volume, VolumeSpace, particle_density, save_density
from cryodrgn.analysis.landscape_plots import plot_density
from cryodrgn.analysis.latent_plots import plot_hexbin
from cryodrgn.analysis.mapping import MappingConfig, learn_mapping
from cryodrgn.analysis.neighbours import nearest_neighbours
from cryodrgn.analysis.plots import save_figure
from cryodrgn.analysisdir import LandscapeFiles, StateFiles
from cryodrgn.devices import choose_device
from cryodrgn.errors import ConfigError, CryodrgnError, InputFileError
from cryodrgn.io.legacy_pickle import load_indices, load_latents, load_pickles, save_pickles
from cryodrgn.io.text import read_yaml
from cryodrgn.reconstruction.decode import PostProcessing, decode_volumes
from cryodrgn.runs.run import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FullLandscapeOptions:
    """How all particles are mapped.

    Attributes:
        num_volumes: Particles whose volumes are made to learn from.
        skip_volumes: Use the coordinates that an earlier call has found.
        mapping: How the mapping is learnt.
        skip_umap: Make no map of the coordinates.
        num_neighbours: Neighbours in that map.
        seed: Of the choice of particles, and of the map.
    """

    num_volumes: int = 10_000
    skip_volumes: bool = False
    mapping: MappingConfig = field(default_factory=MappingConfig)
    skip_umap: bool = False
    num_neighbours: int = 50
    seed: int = 0


def map_all_particles(
    run: Run,
    epoch: int | None,
    landscape: LandscapeFiles,
    files: LandscapeFiles,
    options: FullLandscapeOptions,
    device: str = "auto",
) -> None:
    """Find every particle's coordinates in a landscape, its state, and the particle density.

    Args:
        run: The run.
        epoch: The epoch; None for the files without a number.
        landscape: What ``analyze_landscape`` wrote.
        files: Where everything goes.
        options: How to do it.
        device: Where to compute.

    Raises:
        CryodrgnError: The run, the landscape or the options cannot be used.
    """
    space = VolumeSpace.load(landscape.components)
    record = read_yaml(landscape.record)
    latents = run.latents(epoch)
    if record["epoch"] != epoch:
        msg = f"{landscape.path} is of epoch {record['epoch']}, not of {epoch}"
        raise ConfigError(msg)
    if options.skip_volumes:
        sampled, coordinates = _earlier(files)
    else:
        sampled = _sample(len(latents), options)
        coordinates = _coordinates(run, epoch, latents[sampled], space, record, device)
        save_pickles(files.sampled_particles, [sampled])
        save_pickles(files.sampled_latents, [latents[sampled]])
        save_pickles(files.sampled_coordinates, [coordinates])
    mapping = learn_mapping(
        latents[sampled], coordinates, options.mapping, choose_device(device)
    )
    shares = ", ".join(f"{share:.0%}" for share in mapping.explained[:5])
    logger.info("of volumes it never saw the mapping explains %s (first components)", shares)
    everyone = mapping(latents)
    save_pickles(files.all_coordinates, [everyone])
    _assign_states(landscape, files, record, everyone)
    if everyone.shape[1] > 1:
        density = particle_density(everyone[:, :2], seed=options.seed)
        save_density(files.density, density)
        save_figure(plot_density(density), files.plot("particle_density"))
        save_figure(
            plot_hexbin(everyone[:, :2], ("volume PC1", "volume PC2")),
            files.plot("volpca_landscape"),
        )
    if not options.skip_umap:
        _embed(files, everyone, options)
    logger.info("wrote the coordinates of %d particles to %s", len(everyone), files.path)


def _earlier(
    files: LandscapeFiles,
) -> tuple[Int[np.ndarray, " sampled"], Float[np.ndarray, "sampled components"]]:
    if not files.sampled_coordinates.is_file():
        msg = f"{files.sampled_coordinates} is missing; leave out --skip-vol to make it"
        raise InputFileError(msg)
    return load_indices(files.sampled_particles), load_latents(files.sampled_coordinates)


def _sample(count: int, options: FullLandscapeOptions) -> Int[np.ndarray, " sampled"]:
    wanted = min(options.num_volumes, count)
    chosen = np.random.default_rng(options.seed).choice(count, wanted, replace=False)
    return np.sort(chosen)


def _coordinates(
    run: Run,
    epoch: int | None,
    latents: Float[np.ndarray, "sampled z"],
    space: VolumeSpace,
    record: dict[str, Any],
    device: str,
) -> Float[np.ndarray, "sampled components"]:
    """Coordinates of the volumes at some latents, made as those of the landscape were."""
    source = run.volume_source(epoch, device)
    processing = PostProcessing(flip=record["flip"])

    def volumes() -> Iterator[Volume]:
        points = torch.from_numpy(latents)
        for volume in decode_volumes(source, points, record["box_size"], "learning volumes"):
            yield processing.apply(volume, 1.0)[0].numpy()

    return space.coordinates(volumes(), len(latents))


def _assign_states(
    landscape: LandscapeFiles,
    files: LandscapeFiles,
    record: dict[str, Any],
    coordinates: Float[np.ndarray, "particles components"],
) -> None:
    """The state of every particle: that of the sketch's volume which is most like its own."""
    sketch = load_latents(landscape.coordinates(record["sketch_size"]))
    labels = load_pickles(StateFiles(landscape.path / record["states"], 0).labels)[0]
    _, nearest = nearest_neighbours(sketch, 1, coordinates)
    save_pickles(files.all_states, [labels[nearest[:, 0]]])


def _embed(
    files: LandscapeFiles,
    coordinates: Float[np.ndarray, "particles components"],
    options: FullLandscapeOptions,
) -> None:
    try:
        places = umap_embedding(
            coordinates, options.seed, num_neighbours=options.num_neighbours
        )
    except (CryodrgnError, ValueError, RuntimeError, TypeError, MemoryError) as error:
        logger.warning("no map of the volumes, UMAP failed: %s", error)
        return
    save_pickles(files.umap, [places])
    save_figure(plot_hexbin(places, ("UMAP1", "UMAP2")), files.plot("umap_vol_pca_hexbin"))
