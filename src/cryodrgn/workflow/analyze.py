"""The analysis of a run: what is computed and written, in this order.

Numbers and plots come first, volumes next, then the page. The map of the latent space (UMAP)
takes longest and fails most often, so it comes last, and the page is made once more after it.
"""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

import cryodrgn
from cryodrgn.analysis.chimerax import chimerax_script
from cryodrgn.analysis.clusters import Clusters, cluster_by_means
from cryodrgn.analysis.embedding import umap_embedding
from cryodrgn.analysis.latent_plots import (
    colours,
    plot_centres,
    plot_cluster_sizes,
    plot_clusters,
    plot_hexbin,
    plot_histogram,
    plot_one_dimension,
    plot_path,
    plot_scatter,
    plot_values,
)
from cryodrgn.analysis.marginal_plots import plot_marginals
from cryodrgn.analysis.neighbours import nearest_neighbours
from cryodrgn.analysis.notebook import Part, analysis_notebook
from cryodrgn.analysis.pca import PLANE, PrincipalComponents, principal_components
from cryodrgn.analysis.plots import save_figure
from cryodrgn.analysis.report import HtmlReport
from cryodrgn.analysis.run_report import add_analysis, cluster_captions
from cryodrgn.analysis.trajectories import component_path
from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError, CryodrgnError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.latent_text import save_index_text, save_latent_text
from cryodrgn.io.mrc import MrcFile
from cryodrgn.io.provenance import describe_files
from cryodrgn.io.reference_map import geometry_like
from cryodrgn.io.text import yaml_text
from cryodrgn.models.config_file import model_config
from cryodrgn.parallel import ALONE, Team
from cryodrgn.preflight.cost import analysing
from cryodrgn.preflight.plan import PROCESSOR, Plan
from cryodrgn.preflight.plans import PICTURES, volumes_plan
from cryodrgn.progress import Progress
from cryodrgn.reconstruction.decode import (
    PostProcessing,
    VolumeSource,
    help_to_write,
    write_volumes,
)
from cryodrgn.rundir import AnalysisFiles, VolumeSeries
from cryodrgn.runs.run import Run
from cryodrgn.settings import settings
from cryodrgn.training.epoch_records import verdict_of
from cryodrgn.training.run_log import model_choice_in_words
from cryodrgn.workflow.earlier_analysis import earlier_map, remove_volumes
from cryodrgn.workflow.gallery import draw_series, look_as_mapping, save_bytes
from cryodrgn.workflow.options import AnalysisContent
from cryodrgn.workflow.training_plots import plot_training
from cryodrgn.workflow.unfinished import unfinished_work_named

logger = logging.getLogger(__name__)

UMAP_NAMES = ("UMAP1", "UMAP2")


@settings
class AnalysisOptions(AnalysisContent):
    """Settings of an analysis.

    Attributes:
        processing: Processing of the volumes.
        command: The command line, for the record.
    """

    processing: PostProcessing = field(default_factory=PostProcessing)
    command: str = ""


def analyze(
    run: Run,
    epoch: int | None,
    files: AnalysisFiles,
    options: AnalysisOptions,
    device: str = "auto",
    team: Team = ALONE,
) -> None:
    """Analyse the latents and volumes of a run, and make a page of them.

    Args:
        run: The run.
        epoch: The epoch; None for the files without a number.
        files: Where everything goes.
        options: What to do.
        device: Where to decode.
        team: Processes that share the decoding; all call this, and the first does the rest.

    Raises:
        CryodrgnError: The run or the options cannot be used; nothing has been written then.
    """
    if team.is_writer:
        analysis = _Analysis(run, epoch, files, options, team)
        with unfinished_work_named(files.path, files.report):
            analysis.perform(device)
    elif not options.skip_volumes:
        help_to_write(run.volume_source(epoch, device, options.compilation), team)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Series:
    """Points of the latent space where volumes are made."""

    name: str
    folder: VolumeSeries
    points: Float[np.ndarray, "points z"]
    title: str
    text: str
    captions: dict[int, str]
    count: int | None = None

    @property
    def is_path(self) -> bool:
        return self.count is None

    def paths(self) -> list[Path]:
        return [self.folder.volume(number) for number in range(len(self.points))]


class _Analysis:
    def __init__(
        self,
        run: Run,
        epoch: int | None,
        files: AnalysisFiles,
        options: AnalysisOptions,
        team: Team,
    ) -> None:
        self._run, self._epoch, self._files, self._options = run, epoch, files, options
        self._team = team
        self._started, self._first = time.monotonic(), files.first_number or 0
        self._latents = run.latents(epoch)
        self._geometry = geometry_like(options.like, run.box_size, self._pixel_size)
        self._looks: dict[str, dict[str, Any]] = {}
        self._captions: dict[str, dict[int, str]] = {}

    def perform(self, device: str) -> None:
        # Everything that a user's mistake can stop comes before the first file.
        source = self._checked_source(device)
        self._plan(source).announce("the analysis")
        components = principal_components(self._latents)
        paths = self._paths(components)
        clusters = self._clusters()
        series = [*paths, *([self._cluster_series(clusters)] if clusters else [])]

        kept_map = earlier_map(
            self._files,
            self._run.files.latents(self._epoch),
            len(self._latents),
            [item.folder for item in series],
            is_made_again=self._makes_map,
        )
        self._write_points(series, clusters)
        plot_training(self._run, self._epoch, self._files)
        self._plot_latents(components, paths, clusters)
        if source is not None:
            self._write_volumes(source, series)
            self._draw_volumes(series)
        if kept_map is not None and self._options.skip_umap:
            self._draw_map(kept_map, components, paths, clusters)
        self._write_notebook(series)
        self._write_report(series)
        if self._makes_map:
            self._add_umap(components, paths, clusters)
            self._write_report(series)
        logger.info("the report is %s", self._files.report)

    @property
    def _makes_map(self) -> bool:
        return not self._options.skip_umap and self._run.latent_dim > 2

    def _checked_source(self, device: str) -> VolumeSource | None:
        options = self._options
        if options.per_component < 2 or options.num_components < 1:
            msg = "`per_component` must be at least 2 and `num_components` at least 1"
            raise ConfigError(msg)
        if len(self._latents) < 2 or not np.isfinite(self._latents).all():
            msg = f"the latents of {self._run.path} are fewer than two, or not all finite"
            raise ConfigError(msg)
        if options.skip_volumes:
            return None
        source = self._run.volume_source(self._epoch, device, options.compilation)
        check_new_box_size(source.box_size, options.box_size or source.box_size)
        options.processing.check(options.box_size or source.box_size)
        return source

    def _plan(self, source: VolumeSource | None) -> Plan:
        options, count, box_size = self._options, 0, 0
        if source is not None:
            paths = options.num_components if self._run.latent_dim > 1 else 1
            clusters = options.num_clusters if self._run.latent_dim > 1 else 0
            count = paths * options.per_component + clusters
            box_size = options.box_size or source.box_size
        with_map = self._makes_map
        words = f", {len(self._latents)} particles" + (", a map of them" if with_map else "")
        return volumes_plan(
            model_config(self._run.settings),
            count,
            box_size,
            self._files.path,
            PROCESSOR if source is None else source.device,
            more=lambda: analysing(len(self._latents), count, with_map=with_map),
            more_words=words,
            more_memory=PICTURES,
        )

    def _paths(self, components: PrincipalComponents) -> list[_Series]:
        options, count = self._options, len(components)
        if count > 1 and options.num_components > count:
            msg = (
                f"`num_components` {options.num_components} is more than the {count} "
                "components there are"
            )
            raise ConfigError(msg)
        if count == 1:
            return [self._line(components)]
        found = []
        for number in range(1, options.num_components + 1):
            path = component_path(self._latents, components, number, options.per_component)
            share = components.explained[number - 1]
            found.append(
                _Series(
                    name=f"pc{number}",
                    folder=self._files.component(number),
                    points=path.points,
                    title=f"What changes along PC{number}",
                    text=(
                        f"Volumes from the 5th to the 95th percentile of the particles along "
                        f"principal component {number}, which holds {share:.0%} of the "
                        "latents' variance; all other components are zero."
                    ),
                    captions={
                        place: f"{place + self._first}: PC{number} = {value:.3g}"
                        for place, value in enumerate(path.coordinates)
                    },
                )
            )
        return found

    def _line(self, components: PrincipalComponents) -> _Series:
        """The path along a latent of one dimension, in the order of its values."""
        path = component_path(self._latents, components, 1, self._options.per_component)
        points = np.sort(path.points, axis=0)
        return _Series(
            name="line",
            folder=self._files.line,
            points=points,
            title="What changes along the latent",
            text="Volumes from the 5th to the 95th percentile of the particles.",
            captions={
                place: f"{place + self._first}: z = {value:.3g}"
                for place, value in enumerate(points[:, 0])
            },
        )

    def _clusters(self) -> Clusters | None:
        if self._run.latent_dim == 1:
            return None
        return cluster_by_means(self._latents, self._options.num_clusters, self._options.seed)

    def _cluster_series(self, clusters: Clusters) -> _Series:
        count = len(clusters.particles)
        return _Series(
            name="clusters",
            folder=self._files.clusters(count),
            points=clusters.centres,
            title=f"{count} clusters of particles",
            text=(
                "K-means clusters of the latents, ordered so that neighbours look alike; each "
                "volume is decoded at the particle nearest to the middle of its cluster. "
                "Clusters divide the particles evenly where there are no true classes."
            ),
            captions={},
            count=count,
        )

    def _write_points(self, series: list[_Series], clusters: Clusters | None) -> None:
        remove_volumes(
            self._files,
            [(item.folder, item.points) for item in series],
            may_stay=self._options.skip_volumes,
        )
        for item in series:
            save_latent_text(item.folder.z_values, item.points)
            self._captions[item.name] = item.captions
        if clusters is None:
            return
        folder = self._files.clusters(len(clusters.particles))
        save_pickles(folder.labels, [clusters.labels])
        save_latent_text(folder.centres, clusters.centres)
        save_index_text(folder.centre_particles, clusters.particles)
        self._captions["clusters"] = cluster_captions(
            folder.labels, clusters.particles, self._first
        )
        save_figure(plot_cluster_sizes(clusters.sizes), folder.sizes)

    def _plot_latents(
        self, components: PrincipalComponents, paths: list[_Series], clusters: Clusters | None
    ) -> None:
        if clusters is None:
            values, stops = self._latents[:, 0], paths[0].points[:, 0]
            save_figure(plot_one_dimension(values, stops), self._files.plot("z"))
            save_figure(plot_histogram(values, stops, self._first), self._files.plot("z_hist"))
            return
        places = components.project(self._latents)[:, :2]
        self._plot_map("z_pca", places, PLANE)
        self._plot_clusters("z_pca", places, PLANE, clusters)
        for path in paths:
            stops = components.project(path.points)[:, :2]
            save_figure(
                plot_path(places, stops, PLANE, first=self._first),
                path.folder.plot("pca_traversal"),
            )

    def _plot_map(
        self, name: str, places: Float[np.ndarray, "particles 2"], names: tuple[str, str]
    ) -> None:
        save_figure(plot_scatter(places, names), self._files.plot(name))
        save_figure(plot_hexbin(places, names), self._files.plot(f"{name}_hexbin"))
        save_figure(plot_marginals(places, names), self._files.plot(f"{name}_marginals"))

    def _plot_clusters(
        self,
        name: str,
        places: Float[np.ndarray, "particles 2"],
        names: tuple[str, str],
        clusters: Clusters,
    ) -> None:
        folder, centres = self._files.clusters(len(clusters.particles)), clusters.particles
        labelled = plot_clusters(places, clusters.labels, centres, names, self._first)
        save_figure(labelled, folder.plot(name))
        named = plot_centres(places, centres, names, self._first)
        save_figure(named, folder.plot(f"{name}_hex"))

    def _write_volumes(self, source: VolumeSource, series: list[_Series]) -> None:
        """All volumes of all series in one go, with the model loaded once."""
        write_volumes(
            source,
            torch.from_numpy(np.concatenate([item.points for item in series])),
            [path for item in series for path in item.paths()],
            geometry=self._geometry,
            box_size=self._options.box_size,
            processing=self._options.processing,
            team=self._team,
        )

    @property
    def _pixel_size(self) -> float:
        return self._options.pixel_size or self._run.pixel_size

    def _draw_volumes(self, series: list[_Series]) -> None:
        script = []
        total = sum(len(item.points) for item in series)
        with Progress(total, "drawing", "volume") as progress:
            for item in series:
                paths = item.paths()
                look = draw_series(item.folder, paths, progress, is_path=item.is_path)
                header = MrcFile.open(paths[0])
                self._looks[item.name] = look_as_mapping(
                    look, header.pixel_size or 1.0, header.shape[0]
                )
                script.append((item.name, paths, colours(len(paths)), look.sign * look.level))
        save_bytes(self._files.chimerax, chimerax_script(self._files.path, script).encode())

    def _write_notebook(self, series: list[_Series]) -> None:
        clusters = next((item.count for item in series if not item.is_path), None)
        parts: dict[Part, Path] = {
            "all": self._files.notebook,
            "figures": self._files.figures_notebook,
            "filtering": self._files.filtering_notebook,
        }
        for part, path in parts.items():
            text = analysis_notebook(self._run.path, self._epoch, self._files, clusters, part)
            save_bytes(path, text.encode())

    def _write_report(self, series: list[_Series]) -> None:
        record = self._record(series)
        save_bytes(self._files.record, yaml_text(record).encode())
        name = self._run.path.resolve().name
        shown = "the finished run" if self._epoch is None else f"epoch {self._epoch}"
        page = HtmlReport(f"{name}, {shown}")
        page.verdict(
            f"{len(self._latents)} particles with a latent of "
            f"{counted(self._run.latent_dim, 'dimension')}, images of {self._run.box_size} px "
            f"at {self._pixel_size:.3g} Å/px."
        )
        held_out = verdict_of(self._run.convergence())
        if held_out:
            page.verdict(f"Training: {held_out}.")
        choice = model_choice_in_words(self._run.files.events)
        if choice:
            page.verdict(f"Which model: {choice}.")
        add_analysis(page, self._files)
        page.write(self._files.report)

    def _record(self, series: list[_Series]) -> dict[str, Any]:
        run, settings = self._run, self._run.settings
        dataset = settings.get("dataset_args", {})
        named = [dataset.get(n) for n in ("particles", "poses", "ctf", "ind", "particles_tilt")]
        latents, weights = run.files.latents(self._epoch), run.files.weights(self._epoch)
        inputs = [*(Path(name) for name in named if name), latents, weights]
        trained = settings.get("cmd", "")
        return {
            "run": {
                "folder": str(run.path),
                "latents": str(latents),
                "weights": str(weights),
                "particles": len(self._latents),
                "latent dimensions": run.latent_dim,
                "box size (px)": run.box_size,
                "pixel size (Å/px)": self._pixel_size,
                "network": _in_a_row(settings["model_args"]),
                "data": _in_a_row({k: v for k, v in dataset.items() if not isinstance(v, str)}),
                "trained with": settings.get("version", "an unknown version"),
                "analysed with": f"cryodrgn {cryodrgn.__version__}, torch {torch.__version__}",
            },
            "series": {
                item.name: {
                    "title": item.title,
                    "text": item.text,
                    "captions": self._captions[item.name],
                    **({"count": item.count} if item.count else {}),
                    **({"look": self._looks[item.name]} if item.name in self._looks else {}),
                }
                for item in series
            },
            "inputs": describe_files(inputs),
            "commands": [
                " ".join(map(str, trained)) if isinstance(trained, list) else str(trained),
                self._options.command,
            ],
            "seconds": round(time.monotonic() - self._started, 1),
        }

    def _add_umap(
        self, components: PrincipalComponents, paths: list[_Series], clusters: Clusters | None
    ) -> None:
        """The map, and everything on it; nothing is lost if it fails."""
        try:
            places = umap_embedding(self._latents, self._options.seed)
        except (CryodrgnError, ValueError, RuntimeError, TypeError, MemoryError) as error:
            logger.warning("no map of the latent space, UMAP failed: %s", error)
            return
        save_pickles(self._files.umap, [places])
        self._draw_map(places, components, paths, clusters)

    def _draw_map(
        self,
        places: Float[np.ndarray, "particles 2"],
        components: PrincipalComponents,
        paths: list[_Series],
        clusters: Clusters | None,
    ) -> None:
        self._plot_map("umap", places, UMAP_NAMES)
        if clusters is not None:
            self._plot_clusters("umap", places, UMAP_NAMES, clusters)
        projected = components.project(self._latents)
        for number, path in enumerate(paths):
            _, nearest = nearest_neighbours(self._latents, 1, path.points)
            stops = places[nearest[:, 0]]
            for name, connected in (("", False), ("_connected", True)):
                figure = plot_path(
                    places, stops, UMAP_NAMES, connected=connected, first=self._first
                )
                save_figure(figure, path.folder.plot(f"umap_traversal{name}"))
            figure = plot_values(places, projected[:, number], UMAP_NAMES, f"PC{number + 1}")
            save_figure(figure, path.folder.plot("umap"))


def _in_a_row(mapping: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in mapping.items())
