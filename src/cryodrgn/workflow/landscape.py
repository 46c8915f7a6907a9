"""The landscape of a run's volumes: a sketch of the particles, compared as volumes.

Volumes are written once and read again one by one, so that memory holds only what the mask
leaves of them.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.analysis.clusters import Clusters
from cryodrgn.analysis.landscape import (
    States,
    Volume,
    VolumeSpace,
    as_scikit_learn,
    find_states,
    vector_of,
)
from cryodrgn.analysis.landscape_plots import plot_explained, plot_mask, plot_states
from cryodrgn.analysis.latent_plots import plot_cluster_sizes, plot_clusters
from cryodrgn.analysis.pca import principal_components
from cryodrgn.analysis.plots import save_figure
from cryodrgn.analysis.report import HtmlReport, Illustration
from cryodrgn.devices import choose_device
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.imaging.masks import default_threshold, soft_mask
from cryodrgn.io.cryodrgn_pickle import load_pickles, save_pickles
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.masks import read_mask
from cryodrgn.io.mrc import MrcFile, read_volume, write_volume
from cryodrgn.io.reference_map import geometry_like
from cryodrgn.io.text import yaml_text
from cryodrgn.models.config_file import model_config
from cryodrgn.preflight.plan import Plan
from cryodrgn.preflight.plans import landscape_plan
from cryodrgn.progress import Progress, track
from cryodrgn.rundir import LandscapeFiles
from cryodrgn.runs.run import Run
from cryodrgn.workflow.full_results import remove_other_states, save_space
from cryodrgn.workflow.gallery import draw_series, look_as_mapping, save_bytes
from cryodrgn.workflow.options import LandscapeOptions
from cryodrgn.workflow.sketch import find_sketch, make_sketch

logger = logging.getLogger(__name__)

STEPS_PER_COMPONENT = 10


def make_landscape(
    run: Run,
    epoch: int | None,
    files: LandscapeFiles,
    options: LandscapeOptions,
    device: str = "auto",
) -> None:
    """Sketch the particles by volumes, and find components and states of those.

    Args:
        run: The run.
        epoch: The epoch; None for the files without a number.
        files: Where everything goes.
        options: How to do it.
        device: Where to decode.

    Raises:
        CryodrgnError: The run or the options cannot be used.
    """
    _require_possible(options)
    geometry = geometry_like(options.like, run.box_size, options.pixel_size or run.pixel_size)
    latents = run.latents(epoch)
    where = choose_device(device)
    count = min(options.sketch_size, len(latents))
    _plan(run, files, options, count, where).announce("the landscape")
    given = _given_mask(run, files, options)
    if options.skip_volumes:
        found = find_sketch(epoch, files, options, latents)
    else:
        side = _box_size(run, options)
        found = make_sketch(run, epoch, files, options, latents, geometry, side, str(where))
    sketch, paths = found.clusters, found.paths
    # An earlier call may have written the volumes of the sketch; all others lie on them.
    geometry = MrcFile.open(paths[0]).geometry
    pixel_size = geometry.pixel_size or 1.0
    geometry = replace(geometry, pixel_size=pixel_size)

    mean, mask = _mean_and_mask(files, options, given, paths, sketch, geometry)
    vectors = np.stack([vector_of(volume, mask) for volume in _read(paths, "comparing")])
    components = principal_components(vectors, options.num_components)
    space = VolumeSpace(mask=mask, components=components)
    save_space(files, space)
    save_pickles(files.components_object, [as_scikit_learn(components, len(vectors))])
    coordinates = components.project(vectors)
    save_pickles(files.coordinates(len(paths)), [coordinates])
    states = find_states(vectors, options.num_states, options.linkage)
    del vectors
    centre = sketch.sizes @ coordinates / sketch.sizes.sum()
    _write_component_volumes(files, options, space, coordinates, centre, mean, geometry)
    rows = run.original_rows(len(latents))
    _write_states(files, options, states, sketch, paths, rows, geometry)
    _plot(files, space, states, coordinates, sketch, options)
    _plot_map(run, epoch, files, options, states, sketch)
    options = replace(options, flip=found.flip)
    _write_report(run, epoch, files, options, states, sketch, pixel_size)
    logger.info("the report is %s", files.report)


def _require_possible(options: LandscapeOptions) -> None:
    """Refuse options that do not go together.

    Raises:
        ConfigError: They do not.
    """
    if not 1 <= options.num_states <= options.sketch_size or options.num_components < 1:
        msg = (
            f"`num_states` {options.num_states} states and `num_components` "
            f"{options.num_components} components "
            f"cannot be made of `sketch_size` {options.sketch_size} volumes"
        )
        raise ConfigError(msg)
    if options.like is not None and options.skip_volumes:
        msg = (
            f"`like` {options.like} cannot move volumes that `skip_volumes` keeps; leave one "
            "out"
        )
        raise ConfigError(msg)


def _box_size(run: Run, options: LandscapeOptions) -> int:
    """Side of the volumes that are compared."""
    whole = model_config(run.settings).box_size
    box_size = min(options.box_size, whole)
    check_new_box_size(whole, box_size)
    return box_size


def _plan(
    run: Run, files: LandscapeFiles, options: LandscapeOptions, count: int, device: torch.device
) -> Plan:
    config, box_size = model_config(run.settings), _box_size(run, options)
    return landscape_plan(
        config,
        count,
        box_size,
        options.num_states,
        files.path,
        device,
        with_volumes=not options.skip_volumes,
    )


def _read(paths: list[Path], description: str) -> Iterator[Volume]:
    return (read_volume(path)[0] for path in track(paths, len(paths), description, "volume"))


def _given_mask(run: Run, files: LandscapeFiles, options: LandscapeOptions) -> Volume | None:
    """The mask that a user gives, on the grid of the volumes of the sketch."""
    if options.mask is None:
        return None
    first = files.sketch(options.sketch_size).volume(0)
    if options.skip_volumes and first.is_file():
        header = MrcFile.open(first)
        return read_mask(options.mask, header.shape[0], header.pixel_size).numpy()
    box_size = _box_size(run, options)
    side = (options.pixel_size or run.pixel_size) * model_config(run.settings).box_size
    return read_mask(options.mask, box_size, side / box_size).numpy()


def _mean_and_mask(
    files: LandscapeFiles,
    options: LandscapeOptions,
    mask: Volume | None,
    paths: list[Path],
    sketch: Clusters,
    geometry: MapGeometry,
) -> tuple[Volume, Volume]:
    """Mean of all particles' volumes, and what of the volumes is compared."""
    mean = highest = np.zeros(0)
    levels = []
    for volume, size in zip(_read(paths, "averaging"), sketch.sizes, strict=True):
        mean = volume * size if not mean.size else mean + volume * size
        highest = volume if not highest.size else np.maximum(highest, volume)
        levels.append(default_threshold(torch.from_numpy(volume)))
    mean = (mean / sketch.sizes.sum()).astype(np.float32)
    if mask is None:
        level = float(np.mean(levels)) if options.threshold is None else options.threshold
        mask = soft_mask(
            torch.from_numpy(highest),
            geometry.pixel_size or 1.0,
            threshold=level,
            dilation=options.dilation,
            edge=options.edge,
        ).numpy()
    write_volume(files.mean(len(paths)), mean, geometry)
    write_volume(files.mask, mask, geometry)
    save_figure(plot_mask(mask), files.plot("mask_slices"))
    return mean, mask


def _write_component_volumes(
    files: LandscapeFiles,
    options: LandscapeOptions,
    space: VolumeSpace,
    coordinates: Float[np.ndarray, "volumes components"],
    centre: Float[np.ndarray, " components"],
    mean: Volume,
    geometry: MapGeometry,
) -> None:
    """Volumes from end to end of components; ``centre`` has the coordinates of the mean."""
    for number in range(1, min(options.num_plotted, len(space.components)) + 1):
        values = coordinates[:, number - 1]
        change, folder = space.change(number), files.component(number)
        steps = np.linspace(values.min(), values.max(), STEPS_PER_COMPONENT)
        for place, value in enumerate(steps):
            away = float(value - centre[number - 1])
            write_volume(folder.volume(place), mean + away * change, geometry)


def _write_states(
    files: LandscapeFiles,
    options: LandscapeOptions,
    states: States,
    sketch: Clusters,
    paths: list[Path],
    rows: Int[np.ndarray, " particles"],
    geometry: MapGeometry,
) -> None:
    """Mean and standard deviation of every state's volumes, and its particles."""
    folder = files.states(f"{options.linkage}_{states.count}")
    of_particles = states.of_particles(sketch.labels)
    remove_other_states(files, folder, states.labels)
    save_pickles(folder.labels, [states.labels])
    with Progress(len(paths), "averaging states", "volume") as progress:
        for state in range(states.count):
            members = np.flatnonzero(states.labels == state)
            weights = sketch.sizes[members] / sketch.sizes[members].sum()
            mean = square = np.zeros(())
            for member, weight in zip(members, weights, strict=True):
                volume = read_volume(paths[member])[0].astype(np.float64)
                mean, square = mean + weight * volume, square + weight * volume**2
                progress.advance()
            deviation = np.sqrt(np.clip(square - np.square(mean), 0, None))
            write_volume(folder.mean(state), mean.astype(np.float32), geometry)
            write_volume(folder.deviation(state), deviation.astype(np.float32), geometry)
            save_pickles(folder.particles(state), [rows[of_particles == state]])


def _plot(
    files: LandscapeFiles,
    space: VolumeSpace,
    states: States,
    coordinates: Float[np.ndarray, "volumes components"],
    sketch: Clusters,
    options: LandscapeOptions,
) -> None:
    save_figure(plot_explained(space.components.explained), files.plot("explained_variance"))
    sizes = np.bincount(states.of_particles(sketch.labels), minlength=states.count)
    save_figure(plot_cluster_sizes(sizes, "state"), files.plot("particles_per_state"))
    folder = files.states(f"{options.linkage}_{states.count}")
    save_figure(plot_cluster_sizes(sizes, "state"), folder.plot("state_particle_counts"))
    volumes = np.bincount(states.labels, minlength=states.count)
    figure = plot_cluster_sizes(volumes, "state", "volumes of the sketch")
    save_figure(figure, folder.plot("state_volume_counts"))
    shown = min(options.num_plotted, coordinates.shape[1])
    for first in range(shown):
        for second in range(first + 1, shown):
            figure = plot_states(
                coordinates[:, [first, second]],
                states.labels,
                sketch.sizes,
                (first + 1, second + 1),
            )
            name = f"vol_pca_{len(coordinates)}_{first + 1}_{second + 1}"
            save_figure(figure, files.plot(name))


def _plot_map(
    run: Run,
    epoch: int | None,
    files: LandscapeFiles,
    options: LandscapeOptions,
    states: States,
    sketch: Clusters,
) -> None:
    """The states on the map that ``analyze`` made, if it made one."""
    path = run.files.analysis(epoch).umap
    folder = files.states(f"{options.linkage}_{states.count}")
    # Those of an earlier call show other states.
    for earlier in (files.latent_umap, files.plot("umap"), folder.plot("umap_annotated")):
        earlier.unlink(missing_ok=True)
    if not path.is_file():
        return
    places = load_pickles(path)[0]
    if len(places) != len(sketch.labels):
        logger.warning("%s is of another number of particles: no map of the states", path)
        return
    of_particles = states.of_particles(sketch.labels)
    central = np.array(
        [
            max(np.flatnonzero(states.labels == state), key=lambda m: sketch.sizes[m])
            for state in range(states.count)
        ]
    )
    figure = plot_clusters(places, of_particles, sketch.particles[central], ("UMAP1", "UMAP2"))
    save_figure(figure, files.plot("umap"))
    save_figure(figure, folder.plot("umap_annotated"))
    save_pickles(files.latent_umap, [places])


COMPONENTS_CAPTION = (
    "Volumes along their first two principal components; dots are as large as the number of "
    "particles they stand for."
)
CAPTIONS = {
    "particles_per_state": "Particles in every state.",
    "explained_variance": "Share of the variance of the volumes.",
    "umap": "States on the map of the latent space.",
    "mask_slices": "What of the volumes is compared.",
}


def _write_report(
    run: Run,
    epoch: int | None,
    files: LandscapeFiles,
    options: LandscapeOptions,
    states: States,
    sketch: Clusters,
    pixel_size: float,
) -> None:
    count = len(sketch.particles)
    page = HtmlReport(f"{run.path.resolve().name}: the landscape of {count} volumes")
    page.verdict(
        f"{len(sketch.labels)} particles are sketched by {count} volumes, which are divided "
        f"into {states.count} states. A state is a group of volumes that look alike; where the "
        "motion is continuous its borders are arbitrary."
    )
    page.figures(_plots(files, {f"vol_pca_{count}_1_2": COMPONENTS_CAPTION} | CAPTIONS))
    shares = np.bincount(states.of_particles(sketch.labels), minlength=states.count)
    folder = files.states(f"{options.linkage}_{states.count}")
    record: dict[str, Any] = {
        "epoch": epoch,
        "flip": options.flip,
        "sketch_size": count,
        "states": folder.path.name,
    }
    with Progress(states.count + STEPS_PER_COMPONENT, "drawing", "volume") as progress:
        means = [folder.mean(state) for state in range(states.count)]
        look = draw_series(folder, means, progress, is_path=False)
        record["box_size"] = box_size = MrcFile.open(means[0]).shape[0]
        record["look"] = look_as_mapping(look, pixel_size, box_size)
        page.heading("The mean volume of every state")
        page.gallery(
            [
                Illustration(
                    content=folder.picture(state).read_bytes(),
                    caption=f"{state}: {share} particles ({share / shares.sum():.0%}), "
                    f"{np.count_nonzero(states.labels == state)} volumes",
                )
                for state, share in enumerate(shares.tolist())
            ]
        )
        if files.component(1).volumes():
            first = files.component(1)
            draw_series(first, first.volumes(), progress, is_path=True)
            page.heading("What changes along the first component of the volumes")
            page.figures(
                [Illustration(content=first.film.read_bytes(), caption="From end to end.")]
            )
    save_bytes(files.record, yaml_text(record).encode())
    page.write(files.report)


def _plots(files: LandscapeFiles, captions: dict[str, str]) -> list[Illustration]:
    return [
        Illustration(content=files.plot(name).read_bytes(), caption=caption)
        for name, caption in captions.items()
        if files.plot(name).is_file()
    ]
