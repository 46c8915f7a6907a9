"""Volumes of the states of any latent, from the images themselves, with half maps."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError, MissingDependencyError
from cryodrgn.given_arrays import PathOrArray
from cryodrgn.jobs.options import (
    BoxOptions,
    DataOptions,
    StorageOptions,
    SumOptions,
    data_config,
)
from cryodrgn.jobs.processes import joined
from cryodrgn.jobs.reconstruction_options import EwaldOptions, SymmetryOptions, curvature
from cryodrgn.linear.options import RECONSTRUCTION, StateOptions
from cryodrgn.particles.options import TableOptions
from cryodrgn.reconstruction.options import LikeOptions
from cryodrgn.settings import (
    Job,
    SeedOptions,
    at_least,
    function_of,
    option,
    part_of,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch

    from cryodrgn.data.config import DataConfig
    from cryodrgn.io.map_geometry import MapGeometry
    from cryodrgn.jobs.other_stack import OtherStack
    from cryodrgn.linear.latents import Latents
    from cryodrgn.linear.state_files import StateSummary
    from cryodrgn.linear.states import Functions, StateSettings
    from cryodrgn.parallel import Team
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.rundir import RunDirectory

    # Images that have been screened, and their latents.
    _Chosen = tuple[DataConfig, ParticleSet, Latents]

logger = logging.getLogger(__name__)

INDEPENDENT_NOTE = "half maps: images and latents of each half are independent of the other's"
CHOICE = "Choose states, in one of four ways"
OTHERS = "Latents or particles other than those of the run"


@settings
class ReconstructStates(
    EwaldOptions,
    SymmetryOptions,
    StorageOptions,
    BoxOptions,
    DataOptions,
    TableOptions,
    SumOptions,
    LikeOptions,
    Job["list[StateSummary]"],
):
    """Reconstruct states of any latent from images, with half maps."""

    workdir: Path | None = positional(help="Folder of a run of any trainer", nargs="?")
    epoch: int | None = positional(
        check=at_least(0), help="Epoch of the latents (default: the last)", nargs="?"
    )
    outdir: Path = option("-o", "--outdir", help="Folder for states and model")
    z: tuple[float, ...] | None = option("-z", default=None, group=CHOICE, help="A single z")
    z_file: PathOrArray | None = option(
        "--zfile", default=None, group=CHOICE, help="Text file of z-values, one row per state"
    )
    num_states: int = option(
        "--num-states",
        default=10,
        group=CHOICE,
        metavar="N",
        check=at_least(1),
        help="Particles nearest to N k-means centres",
    )
    stable: bool = option(
        "--stable",
        default=False,
        group=CHOICE,
        help="Maxima of the density of conformations along the first two dimensions, as "
        "conformational_density finds them",
    )
    method: Literal["basis", "kernel"] = same_as(StateOptions, "method")
    num_functions: int = same_as(StateOptions, "num_functions")
    mask: Path | None = option(
        "--mask",
        default=None,
        group=RECONSTRUCTION,
        metavar="MRC",
        help="Solvent mask (default: made from the data)",
    )
    like: Path | None = same_as(LikeOptions, "like", default=None, group=RECONSTRUCTION)
    seed: int = same_as(SeedOptions, "seed", group=RECONSTRUCTION)
    latents: PathOrArray | None = option(
        "--latents", default=None, group=OTHERS, help="Latents (z.pkl, or .npy)"
    )
    particles: Path | None = option(
        "--particles",
        default=None,
        group=OTHERS,
        help="Particles (.mrcs, .star, .cs, .txt); with a run and without --latents those of "
        "the run at another pixel size or box, recognised by uid, micrograph and coordinates, "
        "or image",
    )

    def run(self) -> "list[StateSummary]":
        """Reconstruct the states, and write and draw them.

        Raises:
            CryodrgnError: Latents or particles cannot be used, or belong to others.
        """
        from cryodrgn.io.reference_map import geometry_like
        from cryodrgn.linear.state_files import check_states
        from cryodrgn.preflight.plan import require_output
        from cryodrgn.preflight.screening import (
            places_kept,
            run_excluding_bad_images,
            screen_data,
        )
        from cryodrgn.reconstruction.assumptions import check_curvature, check_symmetry
        from cryodrgn.rundir import RunDirectory, ScreeningFiles, StateFiles

        source = None if self.workdir is None else RunDirectory(self.workdir)
        data, latents, other = self._data(source), self._latents(source), None
        if source is not None and self.particles is not None and self.latents is None:
            other = self._in_other_stack(source, data, latents)
            data, latents = other.described(StateFiles(self.outdir)), other.latents
        particles = data.open() if other is None else other.particles
        own = latents.of_particles(particles)
        self._compare_particles(particles)
        model = self._model(source, latents)
        check_symmetry(particles, model.symmetry)
        check_curvature(particles, model.ewald)
        given, mask = self._given_points(latents), self.mask
        if mask is None and (other is None or other.has_same_box):
            mask = _mask_of(source)
        check_states(particles, latents, given, StateFiles(self.outdir), mask)
        pixel_size = particles.require_pixel_size()
        geometry = geometry_like(self.like, particles.box_size, pixel_size)
        require_output(self.outdir)

        files = ScreeningFiles(self.outdir)

        def screened(how: "Screen") -> "_Chosen":
            chosen, kept = screen_data(data, particles, files, how)
            return chosen, kept, own.select(places_kept(particles, kept))

        with joined(self) as (team, device):
            if other is not None and team.is_writer:
                other.write(StateFiles(self.outdir))
            team.wait()

            def work(chosen: "_Chosen") -> "list[StateSummary]":
                return self._reconstructed(chosen, given, model, mask, geometry, device, team)

            summaries = run_excluding_bad_images(screened, work, self.screen, files)
        if team.is_writer:
            _draw(summaries, latents, self.outdir)
            logger.info("wrote %s to %s", counted(len(summaries), "state"), self.outdir)
        return summaries

    def _compare_particles(self, particles: "ParticleSet") -> None:
        """Refuse latents of other particles, and warn of poses of others, in files of runs."""
        from cryodrgn.io.recorded_files import (
            require_particles_of_latents,
            warn_of_other_particles,
        )

        if isinstance(self.latents, Path):
            require_particles_of_latents(self.latents, particles)
        warn_of_other_particles(self.poses, "poses", particles)

    def _reconstructed(
        self,
        chosen: "_Chosen",
        given: "np.ndarray | None",
        choice: "StateSettings",
        mask: Path | None,
        geometry: "MapGeometry",
        device: "torch.device",
        team: "Team",
    ) -> "list[StateSummary]":
        """The states, from images that have been screened."""
        from cryodrgn.analysis.clusters import cluster_by_means
        from cryodrgn.data.prepared import Storage
        from cryodrgn.linear.state_files import reconstruct_states
        from cryodrgn.preflight.plans import states_plan
        from cryodrgn.rundir import StateFiles

        data, particles, latents = chosen
        points = given
        if points is None and self.stable:
            points = _stable_points(latents, self.seed)
        if points is None:
            points = cluster_by_means(latents.mean, self.num_states, seed=self.seed).centres
        storage = Storage(
            scratch_dir=self.outdir,
            on_disk=self.lazy or None,
            memory=None if self.memory_gb is None else int(1e9 * self.memory_gb),
            cache_dir=self.cache_dir,
        )
        plan = states_plan(
            particles,
            latents,
            choice,
            len(points),
            self.outdir,
            device,
            storage,
        )
        plan.announce("the reconstruction")
        return reconstruct_states(
            data,
            particles,
            latents,
            points,
            choice,
            StateFiles(self.outdir),
            device,
            storage=storage,
            mask_path=mask,
            geometry=geometry,
            team=team,
        )

    def _model(self, work: "RunDirectory | None", latents: "Latents") -> "StateSettings":
        """Model of volumes by latent, with symmetry and curvature of the run."""
        from cryodrgn.geometry.point_groups import canonical_name
        from cryodrgn.io.run_config import (
            find_run_config,
            load_run_config,
            reconstruction_of_record,
        )
        from cryodrgn.linear.states import StateSettings

        recorded: Mapping[str, Any] = {}
        if work is not None:
            config = load_run_config(find_run_config(work.weights(self.epoch)))
            recorded = reconstruction_of_record(config.get("training", {}))
        own = {"symmetry": self.symmetry, "ewald": self.ewald}
        for name in own:
            if name not in self.given and name in recorded:
                own[name] = recorded[name]
        return part_of(
            self,
            StateSettings,
            {
                "functions": self._functions(latents),
                "symmetry": canonical_name(str(own["symmetry"])),
                "ewald": curvature(int(own["ewald"])),
            },
        )

    def _functions(self, latents: "Latents") -> "Functions":
        """Functions as many as were asked for, or those that agree better with the images."""
        if not self.num_functions:
            return "linear"
        is_open = latents.is_linear and "num_functions" not in self.given
        return "best" if is_open else "auto"

    def _data(self, work: "RunDirectory | None") -> "DataConfig":
        """The images: those of the run, unless the settings name others."""
        if self.particles is not None:
            return data_config(self, self.particles)
        if work is None:
            msg = "name a run, or give `particles` and `latents`"
            raise ConfigError(msg)
        if self.field_box_size is not None:
            msg = (
                "`field_box_size` is that of the run, whose images are read; give `particles` "
                "to read others"
            )
            raise ConfigError(msg)
        data = self._recorded(work)
        given = {
            "poses": self.poses,
            "ctf": self.ctf,
            "correction": self.correction,
            "indices": self.indices,
            "datadir": self.datadir,
        }
        changes: dict[str, Any] = {n: path for n, path in given.items() if path is not None}
        if self.datadir is not None:
            changes["found_in"] = ()
        series = data.files.series.updated(self.series)
        files = replace(data.files, series=series, **changes)
        return replace(data, files=files, **self._preprocessing())

    def _recorded(self, work: "RunDirectory") -> "DataConfig":
        """The images as the run used them, with the poses that it found, if it found any."""
        from cryodrgn.io.recorded_files import MEANINGS
        from cryodrgn.io.run_config import find_run_config, load_run_config
        from cryodrgn.linear.latents import recorded_data

        config, poses = find_run_config(work.weights(self.epoch)), work.poses(self.epoch)
        given = {name for name in MEANINGS if getattr(self, name, None) is not None}
        given |= {"poses"} if poses.exists() else set()
        data = recorded_data(load_run_config(config), config, given)
        if not poses.exists():
            return data
        return replace(data, files=replace(data.files, poses=poses))

    def _in_other_stack(
        self, work: "RunDirectory", data: "DataConfig", latents: "Latents"
    ) -> "OtherStack":
        """The particles of the run among those that the settings name, preprocessed alike."""
        from cryodrgn.io.recorded_files import particles_in_new_place
        from cryodrgn.jobs.other_stack import in_other_stack

        of_run = self._recorded(work)
        there = particles_in_new_place(of_run.files, self.particles)
        of_run = replace(of_run, files=there)
        alike = replace(data, invert=of_run.invert, window_radius=of_run.window_radius)
        return in_other_stack(
            replace(alike, **self._preprocessing()),
            of_run,
            latents,
            has_found_poses=work.poses(self.epoch).exists(),
        )

    def _preprocessing(self) -> dict[str, Any]:
        """Preprocessing of the images, with settings in place of those of the run."""
        asked: dict[str, Any] = {}
        if "invert" in self.given:
            asked["invert"] = self.invert
        if self.window is not None or self.window_radius:
            asked["window_radius"] = self.window_in_use
        if self.box_size:
            asked["box_size"] = self.box_size
        return asked

    def _latents(self, work: "RunDirectory | None") -> "Latents":
        from cryodrgn.linear.latents import file_latents, run_latents

        if self.latents is not None:
            return file_latents(self.latents)
        if work is None:
            msg = "name a run, or give `latents`"
            raise ConfigError(msg)
        return run_latents(work, self.epoch)

    def _given_points(self, latents: "Latents") -> "np.ndarray | None":
        """The states that the settings name; None if they are found among the latents."""
        import numpy as np

        from cryodrgn.io.latent_text import load_latent_text

        ways = (self.z is not None, self.z_file is not None, self.stable)
        if sum(ways) + ("num_states" in self.given) > 1:
            msg = (
                "states are chosen in one way: `num_states` by clusters of the latents, "
                "`stable` by maxima of their density, `z` and `z_file` by hand; give one of "
                "the four"
            )
            raise ConfigError(msg)
        if self.stable:
            _require_states(latents)
        if self.z is not None:
            return np.array([self.z], dtype=np.float32)
        if self.z_file is not None:
            return load_latent_text(self.z_file, latents.mean.shape[1])
        return None


def _require_states(latents: "Latents") -> None:
    """Refuse latents in which no stable state can be found.

    Raises:
        ConfigError: They are noise, or of too few particles.
    """
    from cryodrgn.analysis.density import require_density
    from cryodrgn.analysis.stable_states import STABLE_DIMENSIONS

    if latents.are_noise:
        msg = (
            f"no component of {latents.source} carries signal above noise, so there are no "
            "states for `stable` to find; name states by `z` or `z_file`"
        )
        raise ConfigError(msg)
    require_density(latents.mean[:, :STABLE_DIMENSIONS])


def _stable_points(latents: "Latents", seed: int) -> "np.ndarray":
    """z-values of the stable states, the largest first."""
    from cryodrgn.analysis.density import conformational_density
    from cryodrgn.analysis.stable_states import STABLE_DIMENSIONS, stable_states

    kept = slice(STABLE_DIMENSIONS)
    doubt = latents.covariances
    part = None if doubt is None else doubt[:, kept, kept]
    density = conformational_density(
        latents.mean[:, kept], part, seed=seed, numbers=latents.numbers
    )
    found = stable_states(density, latents.mean, doubt, seed, latents.numbers)
    if not found.states:
        msg = (
            f"every maximum of the density of {latents.source} lies beyond all particles, so "
            "`stable` finds no state; name states by `z` or `z_file`"
        )
        raise ConfigError(msg)
    for number, state in enumerate(found.states):
        logger.info("state %d: %s", number, state.in_words())
    for sentence in found.in_words():
        logger.info("%s", sentence)
    return found.latents()


def _mask_of(work: "RunDirectory | None") -> Path | None:
    """The mask that a linear run found."""
    if work is None or not work.linear.mask.exists():
        return None
    return work.linear.mask


def _draw(summaries: "list[StateSummary]", latents: "Latents", outdir: Path) -> None:
    """Draw the states, where there is a library to draw with."""
    from cryodrgn.linear.state_files import SHARED_LATENT_NOTE
    from cryodrgn.rundir import StateFiles

    try:
        from cryodrgn.analysis.plots import save_figure
        from cryodrgn.analysis.postprocess_plots import plot_postprocessing
        from cryodrgn.analysis.report import HtmlReport
        from cryodrgn.analysis.state_page import add_states
        from cryodrgn.analysis.state_plots import StatePanel, plot_states
    except MissingDependencyError as error:
        logger.warning("the states were not drawn: %s", error)
        return
    panels = [
        StatePanel(
            title=f"state {number}",
            section=summary.section,
            projection=summary.projection,
            fsc=summary.fsc,
            words=summary.in_words(),
            is_supported=summary.is_supported,
        )
        for number, summary in enumerate(summaries)
    ]
    independent = latents.half_means is not None
    note = INDEPENDENT_NOTE if independent else SHARED_LATENT_NOTE
    files = StateFiles(outdir)
    save_figure(plot_states(panels, summaries[0].pixel_size, note), files.figure)
    for number, summary in enumerate(summaries):
        figure = plot_postprocessing(summary.sharpening, f"state {number}: {note}")
        save_figure(figure, files.picture(number))
    page = HtmlReport(f"{outdir.resolve().name}: states from the images")
    page.verdict(note)
    add_states(page, files)
    page.write(files.report)


reconstruct_states = function_of(ReconstructStates)
