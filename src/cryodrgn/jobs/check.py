"""Check of a particle file: do poses, CTF and sign fit its images?"""

from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import MetadataError
from cryodrgn.jobs.options import BoxOptions, ParticleOptions, TableOptions, particle_files
from cryodrgn.jobs.tilt_options import TiltSeriesOptions
from cryodrgn.settings import SEED, Job, at_least, function_of, option, positional, settings

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
    invert: bool = option(
        "--invert-data", default=False, help="Invert data sign, for white particles"
    )
    num_images: int = option(
        "-n",
        "--num-images",
        default=3000,
        check=at_least(1),
        help="Number of images with which conventions are compared",
    )
    num_screened: int = option(
        "--num-screened",
        default=5000,
        check=at_least(1),
        help="Number of images that are screened for bad ones",
    )
    accept: bool = option(
        "--accept",
        default=False,
        help="End with status 0 even if another convention fits better",
    )
    seed: int = option("--seed", default=0, check=SEED, help="Random seed")

    def run(self) -> "CheckResult":
        """Check the file.

        Raises:
            MetadataError: Another convention fits better, and that is not accepted.
        """
        from cryodrgn.workflow.check import CheckSettings, check_particles

        chosen = CheckSettings(
            num_images=self.num_images,
            num_screened=self.num_screened,
            invert=self.invert,
            seed=self.seed,
        )
        files = particle_files(self.particles, self, self)
        result = check_particles(files, self.outdir, chosen)
        if not result.passed and not self.accept:
            msg = f"{result.sentence} See {result.files.page}; `accept` overrides this"
            raise MetadataError(msg)
        return result


check = function_of(Check)
