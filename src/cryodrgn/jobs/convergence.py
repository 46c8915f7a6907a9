"""Convergence of a run, judged by what changes from epoch to epoch."""

from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.jobs.options import DeviceOptions
from cryodrgn.reconstruction.options import VolumeOptions
from cryodrgn.settings import (
    Job,
    at_least,
    function_of,
    option,
    part_of,
    positional,
    same_as,
    settings,
)
from cryodrgn.workflow.options import ConvergenceContent

if TYPE_CHECKING:
    from cryodrgn.analysis.epoch_changes import LatentChange


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
    interval: int = same_as(ConvergenceContent, "interval")
    subset: int = same_as(ConvergenceContent, "subset")
    seed: int = same_as(ConvergenceContent, "seed")
    skip_umap: bool = same_as(ConvergenceContent, "skip_umap")
    num_volumes: int = same_as(ConvergenceContent, "num_volumes")
    skip_volumes: bool = same_as(ConvergenceContent, "skip_volumes")
    threshold: float | None = same_as(ConvergenceContent, "threshold")
    dilation: float = same_as(ConvergenceContent, "dilation")
    edge: float = same_as(ConvergenceContent, "edge")

    def run(self) -> "list[LatentChange]":
        """Write figures and tables; returns the changes of the latents.

        Raises:
            CryodrgnError: The run cannot be used, or has too few epochs.
        """
        from cryodrgn.reconstruction.decode import PostProcessing
        from cryodrgn.rundir import ConvergenceFiles
        from cryodrgn.runs.run import open_run
        from cryodrgn.workflow.epoch_convergence import ConvergenceOptions, analyze_epochs

        run = open_run(self.workdir)
        last = max(run.epochs(), default=0) if self.epoch == -1 else self.epoch
        processing = part_of(self, PostProcessing)
        options = part_of(self, ConvergenceOptions, {"processing": processing})
        files = ConvergenceFiles(self.outdir) if self.outdir else run.files.comparison(last)
        return analyze_epochs(run, last, files, options, self.device)


analyze_convergence = function_of(AnalyzeConvergence)
