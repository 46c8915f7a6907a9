"""Reconstruction of a volume from images with known poses, with half maps and FSC."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.data.options import PreprocessingOptions
from cryodrgn.errors import ConfigError, MissingDependencyError
from cryodrgn.jobs.options import BoxOptions, SelectionOptions, SumOptions, particle_files
from cryodrgn.jobs.processes import joined
from cryodrgn.jobs.reconstruction_options import EwaldOptions, SymmetryOptions, curvature
from cryodrgn.jobs.tilt_options import TILTS_OF_4, TiltOptions
from cryodrgn.particles.options import LOADING, TILT_SERIES, TableOptions
from cryodrgn.reconstruction.options import LikeOptions
from cryodrgn.settings import Job, at_least, function_of, option, positional, same_as, settings

if TYPE_CHECKING:
    import torch

    from cryodrgn.io.map_geometry import MapGeometry
    from cryodrgn.parallel import Team
    from cryodrgn.particles.options import TiltSeriesSettings
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.reconstruction.backproject import Reconstruction
    from cryodrgn.rundir import ReconstructionFiles

logger = logging.getLogger(__name__)

RECONSTRUCTION = "Reconstruction"
OTHER_FILES = frozenset({".mrcs", ".star", ".cs", ".txt", ".pkl", ".png", ".map"})
Series = Literal["series"]


SERIES: Series = "series"


def _stack_or_series(text: str) -> Path | Series:
    """A file of tilted exposures, or the word for tilt series in the particle file itself."""
    return SERIES if text == SERIES else Path(text)


@settings
class Backproject(
    EwaldOptions,
    SymmetryOptions,
    LikeOptions,
    SumOptions,
    TiltOptions,
    BoxOptions,
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
    tilt: Path | Series | None = option(  # type: ignore[override]
        "--tilt",
        default=None,
        group=TILT_SERIES,
        parse=_stack_or_series,
        bare=SERIES,
        metavar="MRCS",
        help="Particles (.mrcs) of the tilted exposure of tilt pairs; without a file, the "
        "particles are tilt series even if the columns of dose and scale do not tell, and the "
        f"{TILTS_OF_4} best images of each are used unless --ntilts says otherwise",
    )
    force_num_tilts: bool = option(
        "--force-ntilts",
        default=False,
        group=TILT_SERIES,
        help="Leave out particles of fewer than --ntilts images, and write the numbers of "
        "those kept to indices_force_ntilts_N.pkl",
    )
    invert: bool = same_as(PreprocessingOptions, "invert")
    first: int = option(
        "--first",
        default=10000,
        check=at_least(1),
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
        from cryodrgn.preflight.rows import tell_of_missing_ctf, warn_of_foreign_poses
        from cryodrgn.preflight.screening import run_excluding_bad_images, screen_particles
        from cryodrgn.rundir import ReconstructionFiles, ScreeningFiles

        self._require_volume_or_folder()
        files = ReconstructionFiles.named(self.output)
        folder = files.volume.parent
        particles = self._chosen(open_particles(particle_files(self, self.particles)), folder)
        particles.images.require_poses()
        self._check(particles)
        pixel_size = particles.require_pixel_size()
        geometry = geometry_like(self.like, particles.box_size, pixel_size)
        require_output(folder)

        screening = ScreeningFiles.beside(files.volume)

        def screened(how: "Screen") -> "ParticleSet":
            return screen_particles(particles, screening, how)

        with joined(self) as (team, device):
            tell_of_missing_ctf(particles)

            def work(particles: "ParticleSet") -> "Reconstruction":
                warn_of_foreign_poses(particles, self.poses)
                return self._reconstructed(particles, folder, device, team)

            reconstruction = run_excluding_bad_images(screened, work, self.screen, screening)
        if team.is_writer:
            self._write(reconstruction, files, geometry)
        return reconstruction

    def _require_volume_or_folder(self) -> None:
        """Refuse the name of another kind of file.

        Raises:
            ConfigError: It is one.
        """
        if self.output.suffix in OTHER_FILES and not self.output.is_dir():
            msg = (
                f"`output` {self.output} must be a volume (.mrc), beside which half maps and "
                "FSC are written, or a folder for all of them"
            )
            raise ConfigError(msg)

    @property
    def _is_said_to_be_series(self) -> bool:
        return self.tilt is not None and str(self.tilt) == SERIES

    @property
    def second_exposures(self) -> Path | None:
        """The particles of the tilted exposure; None if there is none."""
        return None if self.tilt is None or self._is_said_to_be_series else Path(self.tilt)

    @property
    def series(self) -> "TiltSeriesSettings":
        """The settings of tilt series, which --tilt without a file says the particles are.

        Raises:
            ConfigError: Rows are said to be single images, too.
        """
        said = super().series
        if not self._is_said_to_be_series:
            return said
        if self.single_images:
            msg = (
                "`tilt` without a file takes rows for images of tilt series, and "
                "`single_images` for particles; leave out one of them"
            )
            raise ConfigError(msg)
        return replace(said, is_series=True, num_tilts=said.num_tilts or TILTS_OF_4)

    def _check(self, particles: "ParticleSet") -> None:
        """Refuse symmetry and curvature that do not go with the images; say what they do."""
        from cryodrgn.reconstruction.assumptions import check_curvature, check_symmetry

        if self.ewald and self.ctf_correction == "flip":
            msg = (
                "`ctf_correction` flip does not go with `ewald`: the side bands of an image "
                "are told apart by the whole CTF; leave it out"
            )
            raise ConfigError(msg)
        check_symmetry(particles, self.symmetry)
        check_curvature(particles, curvature(self.ewald))

    def _chosen(self, particles: "ParticleSet", folder: Path) -> "ParticleSet":
        """The first particles, unless others were chosen."""
        import numpy as np

        if self.force_num_tilts:
            return self._of_many_tilts(particles, folder)
        if self.indices is not None:
            return particles
        return particles.select(np.arange(min(max(self.first, 0), len(particles))))

    def _of_many_tilts(self, particles: "ParticleSet", folder: Path) -> "ParticleSet":
        """The particles of as many images as are wanted; their numbers are written.

        Raises:
            ConfigError: Particles are chosen by an index, too, or none has as many images.
        """
        import numpy as np

        from cryodrgn.io.atomic import make_folder
        from cryodrgn.io.cryodrgn_pickle import save_pickles

        wanted = self.series.num_tilts
        if wanted is None or self.indices is not None:
            msg = (
                "`force_num_tilts` needs `num_tilts`, the number of images that every particle "
                "must have, and does not go with `indices`: it writes an index itself"
            )
            raise ConfigError(msg)
        kept = np.flatnonzero(particles.image_counts >= wanted)
        if not len(kept):
            msg = (
                f"no particle of {particles.source} has {wanted} images, the most are "
                f"{particles.image_counts.max()}; give a smaller `num_tilts`"
            )
            raise ConfigError(msg)
        make_folder(folder)
        path = folder / f"indices_force_ntilts_{wanted}.pkl"
        save_pickles(path, [particles.original_rows[kept]])
        logger.info(
            "%d of %d particles have %d images; their numbers are in %s",
            len(kept),
            len(particles),
            wanted,
            path,
        )
        return particles.select(kept)

    def _reconstructed(
        self, particles: "ParticleSet", folder: Path, device: "torch.device", team: "Team"
    ) -> "Reconstruction":
        from cryodrgn.data.preprocessing import Preprocessing
        from cryodrgn.imaging.masks import WINDOW_INNER_RADIUS
        from cryodrgn.preflight.plans import backprojection_plan, slices_of
        from cryodrgn.reconstruction.backproject import backproject

        slices = slices_of(self.symmetry, curvature(self.ewald))
        plan = backprojection_plan(particles, folder, device, slices)
        plan.announce("backprojection")
        return backproject(
            particles,
            Preprocessing(window_radius=WINDOW_INNER_RADIUS, invert=self.invert),
            ctf_correction="flip" if self.ctf_correction == "flip" else "multiply",
            symmetry=self.symmetry,
            ewald=curvature(self.ewald),
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
