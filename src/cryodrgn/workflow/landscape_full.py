"""Coordinates of every particle in a landscape, by regression on volumes of some of them."""

import logging
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.analysis.communities import find_communities
from cryodrgn.analysis.embedding import umap_embedding
from cryodrgn.analysis.landscape import Volume, VolumeSpace, particle_density, save_density
from cryodrgn.analysis.landscape_plots import plot_density
from cryodrgn.analysis.latent_plots import plot_clusters, plot_hexbin
from cryodrgn.analysis.mapping import MappingConfig, learn_mapping
from cryodrgn.analysis.neighbours import nearest_neighbours
from cryodrgn.analysis.plots import save_figure
from cryodrgn.analysis.report import HtmlReport, Illustration
from cryodrgn.devices import choose_device
from cryodrgn.errors import ConfigError, CryodrgnError, InputFileError
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles, save_pickles
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.text import read_yaml, yaml_text
from cryodrgn.models.config_file import model_config
from cryodrgn.preflight.plans import full_landscape_plan
from cryodrgn.reconstruction.decode import PostProcessing, VolumeSource, decode_volumes
from cryodrgn.rundir import LandscapeFiles, LandscapeStates
from cryodrgn.runs.run import Run
from cryodrgn.settings import settings
from cryodrgn.workflow.full_results import CAPTIONS, remove_maps
from cryodrgn.workflow.gallery import save_bytes
from cryodrgn.workflow.options import FullLandscapeOptions
from cryodrgn.workflow.sketch import of_epoch

logger = logging.getLogger(__name__)


@settings
class MappedLandscape(FullLandscapeOptions):
    """Settings of the landscape of all particles, and of the mapping that tells it."""

    mapping: MappingConfig = field(default_factory=MappingConfig)


def map_all_particles(
    run: Run,
    epoch: int | None,
    landscape: LandscapeFiles,
    files: LandscapeFiles,
    options: MappedLandscape,
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
    space, record = _opened(landscape, epoch, options)
    latents = run.latents(epoch)
    where = choose_device(device)
    full_landscape_plan(
        model_config(run.settings),
        0 if options.skip_volumes else min(options.num_volumes, len(latents)),
        record["box_size"],
        len(latents),
        options.mapping.epochs,
        files.path,
        where,
        with_map=not options.skip_umap,
    ).announce("the landscape")
    if options.skip_volumes:
        sampled, coordinates = _earlier(landscape, files, space, latents)
    else:
        sampled = _sample(len(latents), options)
        source = run.volume_source(epoch, str(where), options.compilation)
        coordinates = _coordinates(source, latents[sampled], space, record)
        _save_sampled(files, sampled, latents, coordinates, space)
    mapping = learn_mapping(latents[sampled], coordinates, options.mapping, where)
    learnt = _learnt_in_words(mapping.explained)
    everyone = mapping(latents)
    _remove_earlier(files, options)
    save_pickles(files.all_coordinates, [everyone])
    _assign_states(landscape, files, record, everyone)
    if everyone.shape[1] > 1:
        _plot_plane(run, files, everyone[:, :2], options.seed)
    _group(files, everyone, options)
    _write_report(run, files, len(everyone), len(sampled), learnt)
    logger.info("the report is %s", files.full_report)


def _learnt_in_words(explained: Float[np.ndarray, " components"]) -> str:
    """The share of volumes it never saw that a mapping explains, which is logged."""
    shares = ", ".join(f"{share:.0%}" for share in explained[:5])
    learnt = f"of volumes it never saw the mapping explains {shares} (first components)"
    logger.info(learnt)
    if explained[0] <= 0:
        logger.warning(
            "the mapping tells nothing of the first component: the places of the other "
            "particles, their states and communities are worth nothing; learn from more "
            "volumes (`num_volumes`), or for more epochs"
        )
    return learnt


def _remove_earlier(files: LandscapeFiles, options: MappedLandscape) -> None:
    """Remove what follows from the coordinates of an earlier call, and may not be made anew."""
    if options.skip_umap and files.umap.is_file():
        logger.info("%s is removed, it is a map of the coordinates before", files.umap)
    remove_maps(files)


def _plot_plane(
    run: Run, files: LandscapeFiles, plane: Float[np.ndarray, "particles 2"], seed: int
) -> None:
    """Estimate and draw the density of particles along the first two components."""
    density = particle_density(plane, seed=seed, numbers=run.copies(len(plane)))
    save_density(files.density, density)
    save_figure(plot_density(density), files.plot("particle_density"))
    hexbin = plot_hexbin(plane, ("volume PC1", "volume PC2"))
    save_figure(hexbin, files.plot("volpca_landscape"))


def _opened(
    landscape: LandscapeFiles, epoch: int | None, options: MappedLandscape
) -> tuple[VolumeSpace, dict[str, Any]]:
    """A landscape of the same epoch, whose volumes are made as the options say.

    Raises:
        CryodrgnError: It is not there, or another.
    """
    space = VolumeSpace.load(landscape.components)
    if not landscape.record.is_file():
        msg = f"{landscape.record} is missing; run analyze_landscape first"
        raise InputFileError(msg)
    record = read_yaml(landscape.record)
    if record["epoch"] != epoch:
        msg = (
            f"{landscape.path} is {of_epoch(record['epoch'])}, not {of_epoch(epoch)}; run "
            "analyze_landscape for this one first"
        )
        raise ConfigError(msg)
    _check_volumes(landscape, record, options)
    return space, record


def _check_volumes(
    landscape: LandscapeFiles, record: dict[str, Any], options: MappedLandscape
) -> None:
    """Volumes are made as those of the landscape, or they could not be compared."""
    for option, name, asked in (
        ("`volume_box_size`", "box_size", options.box_size),
        ("`flip`", "flip", options.flip),
    ):
        if asked is not None and asked != record[name]:
            msg = (
                f"{option} {asked} was asked for, but {landscape.path} was made with "
                f"{record[name]}; leave {option} out, or run analyze_landscape again"
            )
            raise ConfigError(msg)


def _earlier(
    landscape: LandscapeFiles,
    files: LandscapeFiles,
    space: VolumeSpace,
    latents: Float[np.ndarray, "particles z"],
) -> tuple[Int[np.ndarray, " sampled"], Float[np.ndarray, "sampled components"]]:
    """Particles whose volumes were made by an earlier call, and coordinates of these.

    Raises:
        InputFileError: A file is missing, or they are of other latents or another landscape.
    """
    needed = [files.sampled_coordinates, files.sampled_particles, files.sampled_latents]
    missing = [path for path in needed if not path.is_file()]
    if missing:
        msg = f"{missing[0]} is missing; leave out `skip_volumes` to make it"
        raise InputFileError(msg)
    sampled = load_indices(files.sampled_particles)
    if not (
        np.isin(sampled, np.arange(len(latents))).all()
        and np.array_equal(latents[sampled], load_latents(files.sampled_latents))
    ):
        msg = (
            f"the latents in {files.sampled_latents} are not those of the particles of "
            f"{files.sampled_particles.name} among these {len(latents)}; leave out "
            "`skip_volumes` to make their volumes again"
        )
        raise InputFileError(msg)
    coordinates = load_latents(files.sampled_coordinates)
    if not _is_of_space(files, space) or coordinates.shape != (
        len(sampled),
        len(space.components),
    ):
        msg = (
            f"the coordinates in {files.sampled_coordinates} are of volumes in another mask, "
            f"or along other components, than {landscape.components} has now; leave out "
            "`skip_volumes` to make them again"
        )
        raise InputFileError(msg)
    return sampled, coordinates


def _is_of_space(files: LandscapeFiles, space: VolumeSpace) -> bool:
    """False if the sampled coordinates are known to be of another mask or components."""
    path = files.sampled_record
    if not path.is_file():
        logger.warning(
            "%s is missing: the coordinates in %s are taken to be along the components that "
            "the landscape has now",
            path,
            files.sampled_coordinates.name,
        )
        return True
    return read_yaml(path) == {"space": space.digest()}


def _save_sampled(
    files: LandscapeFiles,
    sampled: Int[np.ndarray, " sampled"],
    latents: Float[np.ndarray, "particles z"],
    coordinates: Float[np.ndarray, "sampled components"],
    space: VolumeSpace,
) -> None:
    # A call that is cut short here leaves no coordinates of another's particles.
    files.sampled_coordinates.unlink(missing_ok=True)
    save_bytes(files.sampled_record, yaml_text({"space": space.digest()}).encode())
    save_pickles(files.sampled_particles, [sampled])
    save_pickles(files.sampled_latents, [latents[sampled]])
    save_pickles(files.sampled_coordinates, [coordinates])


def _sample(count: int, options: MappedLandscape) -> Int[np.ndarray, " sampled"]:
    wanted = min(options.num_volumes, count)
    chosen = np.random.default_rng(options.seed).choice(count, wanted, replace=False)
    return np.sort(chosen)


def _coordinates(
    source: VolumeSource,
    latents: Float[np.ndarray, "sampled z"],
    space: VolumeSpace,
    record: dict[str, Any],
) -> Float[np.ndarray, "sampled components"]:
    """Coordinates of the volumes at some latents, made as those of the landscape were."""
    processing, geometry = PostProcessing(flip=record["flip"]), MapGeometry(pixel_size=None)

    def volumes() -> Iterator[Volume]:
        points = torch.from_numpy(latents)
        for volume in decode_volumes(source, points, record["box_size"], "learning volumes"):
            yield processing.apply(volume, geometry)[0].numpy()

    return space.coordinates(volumes(), len(latents))


def _assign_states(
    landscape: LandscapeFiles,
    files: LandscapeFiles,
    record: dict[str, Any],
    coordinates: Float[np.ndarray, "particles components"],
) -> None:
    """The state of every particle: that of the sketch's volume which is most like its own."""
    sketch = load_latents(landscape.coordinates(record["sketch_size"]))
    labels = load_pickles(LandscapeStates(landscape.path / record["states"]).labels)[0]
    _, nearest = nearest_neighbours(sketch, 1, coordinates)
    save_pickles(files.all_states, [labels[nearest[:, 0]]])


def _group(
    files: LandscapeFiles,
    coordinates: Float[np.ndarray, "particles components"],
    options: MappedLandscape,
) -> None:
    """Communities and a map of all particles; neither can lose what was written before."""
    count = options.num_neighbours
    try:
        labels = find_communities(
            coordinates, num_neighbours=count, resolution=options.resolution, seed=options.seed
        )
        save_pickles(files.communities, [(labels + 1).astype(np.int32)])
        logger.info("the particles form %d communities", labels.max() + 1)
        if options.skip_umap:
            return
        places = umap_embedding(coordinates, options.seed, num_neighbours=count)
    except (CryodrgnError, ValueError, RuntimeError, TypeError, MemoryError) as error:
        logger.warning("communities and map of the volumes are incomplete: %s", error)
        return
    save_pickles(files.umap, [places])
    save_figure(plot_hexbin(places, ("UMAP1", "UMAP2")), files.plot("umap_vol_pca_hexbin"))
    middles = np.array([_middle(coordinates, labels == n) for n in range(labels.max() + 1)])
    figure = plot_clusters(places, labels, middles, ("UMAP1", "UMAP2"), first=1)
    save_figure(figure, files.communities_map)


def _middle(coordinates: Float[np.ndarray, "particles components"], members: Any) -> int:
    """The particle nearest to the mean of some."""
    rows = np.flatnonzero(members)
    away = np.linalg.norm(coordinates[rows] - coordinates[rows].mean(0), axis=1)
    return int(rows[away.argmin()])


def _write_report(
    run: Run, files: LandscapeFiles, num_particles: int, num_volumes: int, learnt: str
) -> None:
    page = HtmlReport(f"{run.path.resolve().name}: where all particles are in the landscape")
    page.verdict(
        f"The places of {num_particles} particles among the volumes were learnt from "
        f"{num_volumes} volumes: {learnt}."
    )
    page.figures(_plots({files.plot(name): text for name, text in CAPTIONS.items()}))
    if files.communities.is_file():
        page.heading("Communities")
        sizes = np.bincount(load_pickles(files.communities)[0])[1:]
        page.paragraph(
            f"{len(sizes)} groups of particles that are denser inside than between (Leiden). "
            "Of a continuous motion they are pieces whose borders are arbitrary."
        )
        page.figures(_plots({files.communities_map: "The communities on the map."}))
        page.table(
            [
                (f"community {n}", f"{size} particles", f"{size / sizes.sum():.0%}")
                for n, size in enumerate(sizes.tolist(), 1)
            ]
        )
    page.write(files.full_report)


def _plots(captions: dict[Path, str]) -> list[Illustration]:
    return [
        Illustration(content=path.read_bytes(), caption=caption)
        for path, caption in captions.items()
        if path.is_file()
    ]
