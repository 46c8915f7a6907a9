"""Fit of a linear model of heterogeneity to images with known poses."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.jobs.options import (
    BoxOptions,
    DataOptions,
    StorageOptions,
    SumOptions,
    data_config,
)
from cryodrgn.jobs.processes import joined
from cryodrgn.jobs.reconstruction_options import EwaldOptions, SymmetryOptions, curvature
from cryodrgn.jobs.tilt_options import TiltOptions
from cryodrgn.linear.options import LinearModelOptions
from cryodrgn.particles.options import TableOptions
from cryodrgn.settings import (
    Job,
    Settings,
    function_of,
    option,
    part_of,
    positional,
    settings,
)
from cryodrgn.training.options import SeedOptions

if TYPE_CHECKING:
    from cryodrgn.data.config import DataConfig
    from cryodrgn.linear.config import LinearConfig
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.runs.run import Run

logger = logging.getLogger(__name__)


@settings
class FitOptions(Settings):
    """Particles of a linear run, and its folder."""

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")
    outdir: Path = option("-o", "--outdir", kw_only=False, help="Output directory of the run")
    overwrite: bool = option(
        "--overwrite", default=False, help="Replace the run that OUTDIR holds"
    )


@settings
class TrainLinear(
    LinearModelOptions,
    SeedOptions,
    FitOptions,
    EwaldOptions,
    SymmetryOptions,
    SumOptions,
    TiltOptions,
    StorageOptions,
    BoxOptions,
    DataOptions,
    TableOptions,
    Job["Run"],
):
    """Find the components of heterogeneity by a linear model, in seconds."""

    def config(self) -> "LinearConfig":
        """Settings of the fit."""
        from cryodrgn.geometry.point_groups import canonical_name
        from cryodrgn.linear.config import LinearConfig

        data = data_config(self, self.particles)
        return part_of(
            self,
            LinearConfig,
            {
                "data": data,
                "symmetry": canonical_name(self.symmetry),
                "ewald": curvature(self.ewald),
                "on_disk": self.lazy or None,
            },
        )

    def run(self) -> "Run":
        """Fit the model, embed all images, and open the run.

        Raises:
            CryodrgnError: The settings or the data cannot be used.
        """
        from cryodrgn.linear.config import require_radius
        from cryodrgn.linear.runner import check_start, train_linear
        from cryodrgn.preflight.plan import require_output
        from cryodrgn.preflight.plans import linear_plan
        from cryodrgn.preflight.rows import tell_of_missing_ctf, warn_of_foreign_poses
        from cryodrgn.preflight.screening import run_excluding_bad_images, screen_data
        from cryodrgn.reconstruction.assumptions import check_curvature, check_symmetry
        from cryodrgn.rundir import RunDirectory, ScreeningFiles
        from cryodrgn.runs.run import open_run
        from cryodrgn.workflow.junk_gallery import draw_junk

        config = self.config()
        particles = config.data.open()
        require_radius(particles.box_size, particles.source)
        config = replace(config, data=config.data.with_places(particles))
        check_symmetry(particles, config.symmetry)
        check_curvature(particles, config.ewald)
        directory = RunDirectory(self.outdir)
        require_output(self.outdir)

        files = ScreeningFiles(self.outdir)

        def screened(how: "Screen") -> "tuple[DataConfig, ParticleSet]":
            return screen_data(config.data, particles, files, how)

        with joined(self) as (team, device):
            tell_of_missing_ctf(particles)

            def work(chosen: "tuple[DataConfig, ParticleSet]") -> None:
                data, particles = chosen
                warn_of_foreign_poses(particles, self.poses)
                settings = replace(config, data=data)
                # Before the plan, which takes seconds to measure.
                check_start(settings, particles, directory, team, overwrite=self.overwrite)
                linear_plan(settings, particles, self.outdir, device).announce("the fit")
                result = train_linear(settings, particles, directory, device, team=team)
                if team.is_writer:
                    draw_junk(result.scores, particles, data, directory)

            run_excluding_bad_images(screened, work, self.screen, files)
            # Processes that write nothing open the run once it is written.
            team.wait()
        logger.info("wrote the run to %s", self.outdir)
        return open_run(self.outdir)


train_linear = function_of(TrainLinear)
