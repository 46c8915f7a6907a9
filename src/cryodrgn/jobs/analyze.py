"""Analysis of a run: volumes, plots, report, notebook."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn import compat
from cryodrgn.analysis.options import MappingConfig
from cryodrgn.jobs.options import ComputeOptions, DeviceOptions
from cryodrgn.jobs.processes import joined
from cryodrgn.reconstruction.options import DecodingOptions, LikeOptions, VolumeOptions
from cryodrgn.settings import (
    Check,
    Job,
    SeedOptions,
    Settings,
    function_of,
    option,
    part_of,
    positional,
    same_as,
    settings,
)
from cryodrgn.workflow.options import AnalysisContent, FullLandscapeOptions, LandscapeOptions

if TYPE_CHECKING:
    from cryodrgn.rundir import AnalysisFiles, LandscapeFiles
    from cryodrgn.runs.run import Run

LAST: Literal["last"] = "last"


def _epoch(text: str) -> int | Literal["last"]:
    """A number of an epoch, or the word for the last one."""
    return LAST if text == LAST else int(text)


_epoch.__name__ = "epoch"


@settings
class EpochOptions(Settings):
    """A finished run, and one of its epochs."""

    workdir: Path = positional(help="Folder of a training run")
    epoch: int | Literal["last"] = positional(
        parse=_epoch,
        check=Check(
            words="at least -1, or last", holds=lambda value: value == LAST or value >= -1
        ),
        help="Number of an epoch as in the names of its files (from 0; of cryoDRGN 4 from 1), "
        "-1 for the files without a number, or last",
    )

    def opened(self) -> "tuple[Run, int | None]":
        """The run, and the epoch; None for the files without a number."""
        from cryodrgn.runs.run import open_run

        run = open_run(self.workdir)
        if self.epoch == LAST:
            return run, run.last_epoch()
        return run, None if self.epoch == -1 else int(self.epoch)


@settings
class NumberingOptions(Settings):
    """Number of the first volume in the names of files."""

    first_number: int | None = option(
        "--vol-start-index",
        default=None,
        metavar="{0,1}",
        check=Check(words="0 or 1", holds=lambda value: value in {0, 1}),
        help="Number of the first volume",
        default_words="0; 1 for runs under the meanings of cryoDRGN 4, see --compat",
    )

    def numbered_from(self, run: "Run") -> int:
        """Number of the first volume: as given, as the user's version has it, or the run's."""
        if self.first_number is not None:
            return self.first_number
        return compat.first_number_for(run.settings)


@settings
class SeededEpochOptions(SeedOptions, EpochOptions):
    """A finished run, one of its epochs, and a seed of random numbers."""


@settings
class Analyze(
    DecodingOptions,
    NumberingOptions,
    VolumeOptions,
    ComputeOptions,
    SeededEpochOptions,
    Job["AnalysisFiles"],
):
    """Analyze a run: volumes, plots, a report page, a notebook."""

    outdir: Path | None = option(
        "-o",
        "--outdir",
        default=None,
        help="Folder for the results (default: [WORKDIR]/analyze.[EPOCH])",
    )
    skip_volumes: bool = same_as(AnalysisContent, "skip_volumes")
    skip_umap: bool = same_as(AnalysisContent, "skip_umap")
    num_components: int = same_as(AnalysisContent, "num_components")
    per_component: int = same_as(AnalysisContent, "per_component")
    num_clusters: int = same_as(AnalysisContent, "num_clusters")

    def run(self) -> "AnalysisFiles":
        """Write the analysis; returns the names of its files."""
        from cryodrgn.reconstruction.decode import PostProcessing
        from cryodrgn.rundir import AnalysisFiles
        from cryodrgn.workflow.analyze import AnalysisOptions, analyze

        run, epoch = self.opened()
        command = shlex.join(["cryodrgn", *sys.argv[1:]])
        processing = part_of(self, PostProcessing)
        options = part_of(self, AnalysisOptions, {"processing": processing, "command": command})
        files = AnalysisFiles(self.outdir) if self.outdir else run.files.analysis(epoch)
        files = replace(files, first_number=self.numbered_from(run))
        with joined(self) as (team, device):
            analyze(run, epoch, files, options, str(device), team)
        return files


@settings
class AnalyzeLandscape(
    DecodingOptions,
    NumberingOptions,
    LikeOptions,
    DeviceOptions,
    SeededEpochOptions,
    Job["LandscapeFiles"],
):
    """Compare volumes of a run: their components and states."""

    outdir: Path | None = option(
        "-o",
        "--outdir",
        default=None,
        help="Folder for the results (default: [WORKDIR]/landscape.[EPOCH])",
    )
    sketch_size: int = same_as(LandscapeOptions, "sketch_size")
    volume_box_size: int = same_as(LandscapeOptions, "box_size")
    pixel_size: float | None = same_as(LandscapeOptions, "pixel_size")
    flip: bool | None = same_as(LandscapeOptions, "flip")
    skip_volumes: bool = same_as(LandscapeOptions, "skip_volumes")
    like: Path | None = same_as(LandscapeOptions, "like")
    threshold: float | None = same_as(LandscapeOptions, "threshold")
    dilation: float = same_as(LandscapeOptions, "dilation")
    edge: float = same_as(LandscapeOptions, "edge")
    mask: Path | None = same_as(LandscapeOptions, "mask")
    linkage: Literal["average", "single", "complete", "ward"] = same_as(
        LandscapeOptions, "linkage"
    )
    num_states: int = same_as(LandscapeOptions, "num_states")
    num_components: int = same_as(LandscapeOptions, "num_components")
    num_plotted: int = same_as(LandscapeOptions, "num_plotted")

    def run(self) -> "LandscapeFiles":
        """Write the landscape; returns the names of its files."""
        from cryodrgn.rundir import LandscapeFiles
        from cryodrgn.workflow.landscape import make_landscape

        run, epoch = self.opened()
        files = LandscapeFiles(self.outdir) if self.outdir else run.files.landscape(epoch)
        files = replace(files, first_number=self.numbered_from(run))
        make_landscape(run, epoch, files, part_of(self, LandscapeOptions), self.device)
        return files


@settings
class AnalyzeLandscapeFull(
    DecodingOptions, DeviceOptions, SeededEpochOptions, Job["LandscapeFiles"]
):
    """Map every particle into the landscape of volumes."""

    landscape_dir: Path | None = option(
        "--landscape-dir",
        default=None,
        help="Output folder of analyze_landscape (default: [WORKDIR]/landscape.[EPOCH])",
    )
    outdir: Path | None = option(
        "-o",
        "--outdir",
        default=None,
        help="Folder for the results (default: that folder)",
    )
    num_volumes: int = same_as(FullLandscapeOptions, "num_volumes")
    volume_box_size: int | None = same_as(FullLandscapeOptions, "box_size")
    flip: bool | None = same_as(FullLandscapeOptions, "flip")
    skip_volumes: bool = same_as(FullLandscapeOptions, "skip_volumes")
    batch_size: int = same_as(MappingConfig, "batch_size")
    num_epochs: int = same_as(MappingConfig, "epochs")
    hidden_dim: int = same_as(MappingConfig, "hidden_dim")
    num_layers: int = same_as(MappingConfig, "num_layers")
    learning_rate: float = same_as(MappingConfig, "learning_rate")
    skip_umap: bool = same_as(FullLandscapeOptions, "skip_umap")
    num_neighbours: int = same_as(FullLandscapeOptions, "num_neighbours")
    resolution: float = same_as(FullLandscapeOptions, "resolution")

    def run(self) -> "LandscapeFiles":
        """Map all particles; returns the names of the files."""
        from cryodrgn.rundir import LandscapeFiles
        from cryodrgn.workflow.landscape_full import MappedLandscape, map_all_particles

        run, epoch = self.opened()
        mapping = part_of(self, MappingConfig, {"seed": self.seed})
        options = part_of(self, MappedLandscape, {"mapping": mapping})
        landscape = run.files.landscape(epoch)
        if self.landscape_dir is not None:
            landscape = LandscapeFiles(self.landscape_dir)
        files = LandscapeFiles(self.outdir) if self.outdir else landscape
        map_all_particles(run, epoch, landscape, files, options, self.device)
        return files


analyze = function_of(Analyze)
analyze_landscape = function_of(AnalyzeLandscape)
analyze_landscape_full = function_of(AnalyzeLandscapeFull)
