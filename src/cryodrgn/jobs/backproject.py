"""Reconstruction of a volume from images with known poses, with half maps and FSC."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.errors import MissingDependencyError
from cryodrgn.jobs.options import (
    LOADING,
    DeviceOptions,
    LikeOptions,
    SelectionOptions,
    TableOptions,
    TiltOptions,
    particle_files,
)
from cryodrgn.jobs.processes import joined
from cryodrgn.settings import Job, function_of, option, positional, settings

if TYPE_CHECKING:
    import torch

    from cryodrgn.io.map_geometry import MapGeometry
    from cryodrgn.parallel import Team
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.reconstruction.backproject import Reconstruction
    from cryodrgn.rundir import ReconstructionFiles

logger = logging.getLogger(__name__)

RECONSTRUCTION = "Reconstruction"


@settings
class Backproject(
    LikeOptions,
    DeviceOptions,
    TiltOptions,
    SelectionOptions,
    TableOptions,
    Job["Reconstruction"],
):
    """Backproject images onto a voxel grid to check poses and CTF."""

    command = "backproject_voxel"

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")
    output: Path = option(
        "-o",
        "--outdir",
        kw_only=False,
        metavar="MRC",
        help="Output volume (.mrc), with half maps and FSC written beside it; or a folder for "
        "all of them",
    )
    invert: bool = option(
        "--invert-data",
        default=False,
        group=LOADING,
        help="Invert data sign",
        constants={"--uninvert-data": (False, "Do not invert data sign (the default)")},
    )
    first: int = option(
        "--first",
        default=10000,
        group=LOADING,
        metavar="N",
        default_words="10000, or all of --ind",
        help="Backproject the first N images",
    )
    ctf_correction: Literal["mul", "flip"] = option(
        "--ctf-alg",
        default="mul",
        group=RECONSTRUCTION,
        help="Weight images by their CTF, or only flip phases",
    )
    no_half_maps: bool = option(
        "--no-half-maps", default=False, group=RECONSTRUCTION, help="Write no half maps"
    )
    no_fsc: bool = option(
        "--no-fsc-vals", default=False, group=RECONSTRUCTION, help="Write no FSC"
    )

    def run(self) -> "Reconstruction":
        """Reconstruct, and write map, half maps and FSC.

        Raises:
            CryodrgnError: The particles cannot be used, or have no poses.
        """
        from cryodrgn.io.particle_files import open_particles
        from cryodrgn.io.reference_map import geometry_like
        from cryodrgn.preflight.plan import require_output
        from cryodrgn.preflight.rows import warn_of_foreign_poses
        from cryodrgn.preflight.screening import run_excluding_bad_images, screen_particles
        from cryodrgn.rundir import ReconstructionFiles, ScreeningFiles

        files = ReconstructionFiles.named(self.output)
        particles = self._chosen(
            open_particles(particle_files(self.particles, self, self, self))
        )
        particles.images.require_poses()
        pixel_size = particles.require_pixel_size()
        geometry = geometry_like(self.like, particles.box_size, pixel_size)
        folder = files.volume.parent
        require_output(folder)

        def screened(how: "Screen") -> "ParticleSet":
            screening = ScreeningFiles(folder)
            return screen_particles(particles, screening, how)

        with joined(self) as (team, device):

            def work(particles: "ParticleSet") -> "Reconstruction":
                if team.is_writer:
                    warn_of_foreign_poses(particles, self.poses)
                return self._reconstructed(particles, folder, device, team)

            reconstruction = run_excluding_bad_images(screened, work, self.screen)
        if team.is_writer:
            self._write(reconstruction, files, geometry)
        return reconstruction

    def _chosen(self, particles: "ParticleSet") -> "ParticleSet":
        """The first images, unless others were chosen."""
        import numpy as np

        if self.indices is not None:
            return particles
        return particles.select(np.arange(min(max(self.first, 0), len(particles))))

    def _reconstructed(
        self, particles: "ParticleSet", folder: Path, device: "torch.device", team: "Team"
    ) -> "Reconstruction":
        from cryodrgn.data.preprocessing import Preprocessing
        from cryodrgn.imaging.masks import WINDOW_INNER_RADIUS
        from cryodrgn.preflight.plans import backprojection_plan
        from cryodrgn.reconstruction.backproject import backproject

        plan = backprojection_plan(particles, folder, device)
        plan.announce("backprojection")
        return backproject(
            particles,
            Preprocessing(window_radius=WINDOW_INNER_RADIUS, invert=self.invert),
            ctf_correction="flip" if self.ctf_correction == "flip" else "multiply",
            device=device,
            team=team,
        )

    def _write(
        self,
        reconstruction: "Reconstruction",
        files: "ReconstructionFiles",
        geometry: "MapGeometry",
    ) -> None:
        """The volume, and of half maps and FSC what the settings do not forbid."""
        from cryodrgn.io.curves import write_fsc
        from cryodrgn.io.mrc import write_volume
        from cryodrgn.reconstruction.backproject import save_reconstruction
        from cryodrgn.reconstruction.map_agreement import describe_resolution

        pixel_size = geometry.pixel_size or 1.0
        if not (self.no_half_maps or self.no_fsc):
            save_reconstruction(reconstruction, files, geometry)
            _draw(reconstruction, files, pixel_size)
            return
        if not self.no_half_maps:
            halves = (files.half_map_a, files.half_map_b)
            for path, half in zip(halves, reconstruction.half_maps, strict=True):
                write_volume(path, half.numpy(), geometry)
        if not self.no_fsc:
            write_fsc(files.fsc_text, reconstruction.fsc)
            describe_resolution(reconstruction.fsc, pixel_size)
            _draw(reconstruction, files, pixel_size)
        write_volume(files.volume, reconstruction.volume.numpy(), geometry)
        logger.info("wrote %s", files.volume)


def _draw(
    reconstruction: "Reconstruction", files: "ReconstructionFiles", pixel_size: float
) -> None:
    """Plot the FSC, where there is a library to plot with."""
    try:
        from cryodrgn.analysis.plots import plot_fsc, save_figure
    except MissingDependencyError as error:
        logger.warning("the FSC was not plotted: %s", error)
        return
    save_figure(plot_fsc({"half maps": reconstruction.fsc}, pixel_size), files.fsc_plot)


backproject = function_of(Backproject)
