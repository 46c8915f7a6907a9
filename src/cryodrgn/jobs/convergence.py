"""Convergence of a run, judged by what changes from epoch to epoch."""

from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.jobs.options import DeviceOptions, VolumeOptions
from cryodrgn.settings import (
    NOT_NEGATIVE,
    SEED,
    Job,
    at_least,
    function_of,
    option,
    positional,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.analysis.epoch_changes import LatentChange

MAP, VOLUMES = "Maps of the latents", "Volumes"


@settings
class AnalyzeConvergence(VolumeOptions, DeviceOptions, Job["list[LatentChange]"]):
    """Compare latents and volumes of a run's epochs with one another."""

    workdir: Path = positional(help="Folder of a training run")
    epoch: int = positional(
        check=at_least(-1),
        help="Last epoch that is compared, as in the names of its files; -1 for the last one",
    )
    outdir: Path | None = option(
        "-o",
        "--outdir",
        default=None,
        help="Folder for the results (default: [WORKDIR]/convergence.[EPOCH])",
    )
    interval: int = option(
        "--epoch-interval",
        default=5,
        check=at_least(1),
        help="Epochs from one that is compared to the next",
    )
    subset: int = option(
        "--subset",
        default=50_000,
        group=MAP,
        check=at_least(2),
        help="Particles on the maps, at most",
    )
    seed: int = option(
        "--random-seed",
        "--random-state",
        default=0,
        check=SEED,
        help="Random seed of the particles on the maps, clusters and maps",
    )
    skip_umap: bool = option(
        "--skip-umap", default=False, group=MAP, help="Skip the UMAP embeddings"
    )
    num_volumes: int = option(
        "--final-maxima",
        default=10,
        group=VOLUMES,
        check=at_least(1),
        help="Representative particles, at the centres of k-means clusters, whose volumes are "
        "compared",
    )
    skip_volumes: bool = option(
        "--skip-volgen", default=False, group=VOLUMES, help="Compare no volumes"
    )
    threshold: float | None = option(
        "--thresh",
        default=None,
        group=VOLUMES,
        help="Density at which the mask begins",
        default_words="half of the 99.99th percentile",
    )
    dilation: float = option(
        "--dilate",
        default=3.0,
        group=VOLUMES,
        unit="Å",
        check=NOT_NEGATIVE,
        help="Widening of the mask in Å",
    )
    edge: float = option(
        "--dist",
        default=10.0,
        group=VOLUMES,
        unit="Å",
        check=NOT_NEGATIVE,
        help="Width of its soft edge in Å",
    )

    def run(self) -> "list[LatentChange]":
        """Write figures and tables; returns the changes of the latents.

        Raises:
            CryodrgnError: The run cannot be used, or has too few epochs.
        """
        from cryodrgn.rundir import ConvergenceFiles
        from cryodrgn.runs.run import open_run
        from cryodrgn.settings import same_named
        from cryodrgn.workflow.epoch_convergence import ConvergenceOptions, analyze_epochs

        run = open_run(self.workdir)
        last = max(run.epochs(), default=0) if self.epoch == -1 else self.epoch
        own = same_named(self, ConvergenceOptions, but={"box_size"})
        options = ConvergenceOptions(
            box_size=self.volume_box_size, processing=self.processing, **own
        )
        files = ConvergenceFiles(self.outdir) if self.outdir else run.files.comparison(last)
        return analyze_epochs(run, last, files, options, self.device)


analyze_convergence = function_of(AnalyzeConvergence)
