"""Analysis of a run: volumes, plots, report, notebook."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn import compat
from cryodrgn.jobs.options import (
    ComputeOptions,
    DecodingOptions,
    DeviceOptions,
    LikeOptions,
    VolumeOptions,
)
from cryodrgn.jobs.processes import joined
from cryodrgn.settings import (
    EVEN,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Check,
    Job,
    Settings,
    at_least,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.rundir import AnalysisFiles, LandscapeFiles
    from cryodrgn.runs.run import Run

LAST: Literal["last"] = "last"
CONTENT, VOLUMES, MASK = "Content", "Volumes", "Mask"
STATES, MAPPING, MAP = "States and components", "Mapping", "Map"


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
class SeededEpochOptions(EpochOptions):
    """A finished run, one of its epochs, and a seed of random numbers."""

    seed: int = option("--seed", default=0, check=SEED, help="Random seed")


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
    skip_volumes: bool = option("--skip-vol", default=False, help="Skip generation of volumes")
    skip_umap: bool = option("--skip-umap", default=False, help="Skip the UMAP embedding")
    num_components: int = option(
        "--pc",
        default=2,
        group=CONTENT,
        check=at_least(1),
        help="Principal components along which volumes are made",
    )
    per_component: int = option(
        "--n-per-pc",
        default=10,
        group=CONTENT,
        check=at_least(2),
        help="Volumes along each component",
    )
    num_clusters: int = option(
        "--ksample",
        default=20,
        group=CONTENT,
        check=at_least(1),
        help="K-means clusters, with a volume at each centre",
    )

    def run(self) -> "AnalysisFiles":
        """Write the analysis; returns the names of its files."""
        from cryodrgn.rundir import AnalysisFiles
        from cryodrgn.workflow.analyze import AnalysisOptions, analyze

        run, epoch = self.opened()
        options = AnalysisOptions(
            num_components=self.num_components,
            per_component=self.per_component,
            num_clusters=self.num_clusters,
            skip_volumes=self.skip_volumes,
            skip_umap=self.skip_umap,
            pixel_size=self.pixel_size,
            box_size=self.volume_box_size,
            processing=self.processing,
            like=self.like,
            seed=self.seed,
            command=shlex.join(["cryodrgn", *sys.argv[1:]]),
            compilation=self.compilation,
        )
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
    sketch_size: int = option(
        "-N",
        "--sketch-size",
        default=1000,
        group=VOLUMES,
        check=at_least(1),
        help="Number of volumes that represent all particles",
    )
    volume_box_size: int = option(
        "-d",
        "--downsample",
        default=128,
        group=VOLUMES,
        metavar="BOX",
        unit="px",
        check=EVEN,
        help="Box size (pixels) at which larger volumes are compared",
    )
    pixel_size: float | None = same_as(VolumeOptions, "pixel_size", default=None, group=VOLUMES)
    flip: bool = same_as(VolumeOptions, "flip", default=False, group=VOLUMES)
    skip_volumes: bool = option(
        "--skip-vol", default=False, group=VOLUMES, help="Reuse volumes that exist already"
    )
    like: Path | None = same_as(LikeOptions, "like", default=None, group=VOLUMES)
    threshold: float | None = option(
        "--thresh",
        default=None,
        group=MASK,
        help="Density at which the mask begins (default: half of the high densities)",
    )
    dilation: float = option(
        "--dilate", default=5.0, group=MASK, unit="Å", check=NOT_NEGATIVE, help="Widening in Å"
    )
    edge: float = option(
        "--cosine-edge",
        default=0.0,
        group=MASK,
        unit="Å",
        check=NOT_NEGATIVE,
        help="Soft edge in Å",
    )
    mask: Path | None = option(
        "--mask", default=None, group=MASK, metavar="MRC", help="A mask to use instead"
    )
    linkage: Literal["average", "single", "complete", "ward"] = option(
        "--linkage",
        default="average",
        group=STATES,
        help="Linkage of agglomerative clustering",
    )
    num_states: int = option("-M", default=10, group=STATES, check=at_least(1), help="States")
    num_components: int = option(
        "--pc-dim", default=20, group=STATES, check=at_least(1), help="Components to keep"
    )
    num_plotted: int = option(
        "--plot-dim", default=5, group=STATES, check=at_least(1), help="Components to plot"
    )

    def run(self) -> "LandscapeFiles":
        """Write the landscape; returns the names of its files."""
        from cryodrgn.rundir import LandscapeFiles
        from cryodrgn.settings import same_named
        from cryodrgn.workflow.landscape import LandscapeOptions, make_landscape

        run, epoch = self.opened()
        own = same_named(self, LandscapeOptions)
        options = LandscapeOptions(box_size=self.volume_box_size, **own)
        files = LandscapeFiles(self.outdir) if self.outdir else run.files.landscape(epoch)
        files = replace(files, first_number=self.numbered_from(run))
        make_landscape(run, epoch, files, options, self.device)
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
    num_volumes: int = option(
        "-N",
        "--training-volumes",
        default=10_000,
        check=at_least(8),
        help="Volumes to learn from, made as those of the landscape",
    )
    volume_box_size: int | None = option(
        "-d",
        "--downsample",
        default=None,
        unit="px",
        check=EVEN,
        help="Side of the volumes (default: that of the landscape, and no other will do)",
    )
    flip: bool | None = option(
        "--flip", default=None, help="Reverse the z axis (default: as in the landscape)"
    )
    skip_volumes: bool = option(
        "--skip-vol", default=False, help="Reuse the results of volumes from an earlier call"
    )
    batch_size: int = option(
        "--batch-size", default=64, group=MAPPING, check=at_least(1), help="Volumes per step"
    )
    num_epochs: int = option(
        "--epochs",
        default=200,
        group=MAPPING,
        check=at_least(1),
        help="Passes through the volumes",
    )
    hidden_dim: int = option(
        "--dim",
        default=512,
        group=MAPPING,
        check=at_least(1),
        help="Number of nodes in hidden layers",
    )
    num_layers: int = option(
        "--layers", default=3, group=MAPPING, check=at_least(1), help="Number of hidden layers"
    )
    learning_rate: float = option(
        "--lr", default=1e-4, group=MAPPING, check=POSITIVE, help="Learning rate of Adam"
    )
    skip_umap: bool = option(
        "--skip-umap", default=False, group=MAP, help="Skip the UMAP embedding"
    )
    num_neighbours: int = option(
        "--num-neighbors", default=50, group=MAP, check=at_least(2), help="Of a particle"
    )
    resolution: float = option(
        "--resolution",
        default=1.5,
        group=MAP,
        default_words="1.5",
        check=POSITIVE,
        help="Larger values make more communities (Leiden)",
    )

    def run(self) -> "LandscapeFiles":
        """Map all particles; returns the names of the files."""
        from cryodrgn.analysis.mapping import MappingConfig
        from cryodrgn.rundir import LandscapeFiles
        from cryodrgn.workflow.landscape_full import FullLandscapeOptions, map_all_particles

        run, epoch = self.opened()
        options = FullLandscapeOptions(
            num_volumes=self.num_volumes,
            skip_volumes=self.skip_volumes,
            mapping=MappingConfig(
                hidden_dim=self.hidden_dim,
                num_layers=self.num_layers,
                epochs=self.num_epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                seed=self.seed,
            ),
            skip_umap=self.skip_umap,
            num_neighbours=self.num_neighbours,
            resolution=self.resolution,
            seed=self.seed,
            box_size=self.volume_box_size,
            flip=self.flip,
            compilation=self.compilation,
        )
        landscape = run.files.landscape(epoch)
        if self.landscape_dir is not None:
            landscape = LandscapeFiles(self.landscape_dir)
        files = LandscapeFiles(self.outdir) if self.outdir else landscape
        map_all_particles(run, epoch, landscape, files, options, self.device)
        return files


analyze = function_of(Analyze)
analyze_landscape = function_of(AnalyzeLandscape)
analyze_landscape_full = function_of(AnalyzeLandscapeFull)
