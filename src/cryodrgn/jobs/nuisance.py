"""Nuisance variables that a latent space follows besides structure."""

from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.jobs.options import BoxOptions, SelectionOptions, particle_files
from cryodrgn.particles.options import TableOptions
from cryodrgn.settings import (
    Job,
    SeedOptions,
    at_least,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.workflow.nuisance import NuisanceResult


@settings
class Nuisance(BoxOptions, SelectionOptions, TableOptions, Job["NuisanceResult"]):
    """Report what latents follow besides structure: poses, contrast, optics."""

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")
    latents: Path = positional(help="Latents of these particles (z.pkl)")
    outdir: Path = option(
        "-o",
        "--outdir",
        default=Path("nuisance"),
        kw_only=False,
        help="Folder for nuisance.html and nuisance.json",
    )
    num_images: int = option(
        "-n",
        "--num-images",
        default=3000,
        check=at_least(1),
        help="Images from which the change along every axis is estimated",
    )
    seed: int = same_as(SeedOptions, "seed")

    def run(self) -> "NuisanceResult":
        """Write the report."""
        from cryodrgn.io.cryodrgn_pickle import load_latents
        from cryodrgn.workflow.nuisance import report_nuisances

        return report_nuisances(
            particle_files(self, self.particles),
            load_latents(self.latents),
            self.outdir,
            source=self.latents,
            num_images=self.num_images,
            seed=self.seed,
            screen=self.screen,
        )


nuisance = function_of(Nuisance)
