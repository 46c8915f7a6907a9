"""Check of a particle file: do poses, CTF and sign fit its images?"""

from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import MetadataError
from cryodrgn.jobs.options import BoxOptions, particle_files
from cryodrgn.jobs.tilt_options import TiltSeriesOptions
from cryodrgn.particles.options import ParticleOptions, TableOptions
from cryodrgn.settings import (
    Job,
    SeedOptions,
    function_of,
    option,
    part_of,
    positional,
    same_as,
    settings,
)
from cryodrgn.workflow.options import CheckSettings

if TYPE_CHECKING:
    from cryodrgn.workflow.check import CheckResult


@settings
class Check(BoxOptions, TiltSeriesOptions, ParticleOptions, TableOptions, Job["CheckResult"]):
    """Check whether poses, CTF and sign of a particle file fit its images."""

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")
    outdir: Path = option(
        "-o",
        "--outdir",
        default=Path("check"),
        kw_only=False,
        help="Folder for check.html and check.json",
    )
    invert: bool = same_as(CheckSettings, "invert")
    num_images: int = same_as(CheckSettings, "num_images")
    num_screened: int = same_as(CheckSettings, "num_screened")
    accept: bool = option(
        "--accept",
        default=False,
        help="End with status 0 even if another convention fits better",
    )
    seed: int = same_as(SeedOptions, "seed")

    def run(self) -> "CheckResult":
        """Check the file.

        Raises:
            MetadataError: Another convention fits better, and that is not accepted.
        """
        from cryodrgn.workflow.check import check_particles

        files = particle_files(self, self.particles)
        result = check_particles(files, self.outdir, part_of(self, CheckSettings))
        if not result.passed and not self.accept:
            msg = f"{result.sentence} See {result.files.page}; `accept` overrides this"
            raise MetadataError(msg)
        return result


check = function_of(Check)
