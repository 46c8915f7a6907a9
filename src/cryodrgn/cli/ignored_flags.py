"""Flags of other versions that commands accept although they change nothing here."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PREFIX = "unused_"

PREPARED = "images are prepared once, when the run begins"
READ_AT_ONCE = "the number of images read at once is set by the CPU cache"
PROGRESS = "progress is shown at intervals of time"
COMPARED = "as many images are compared at once as the device handles best"
OPTIMISERS = "networks learn with Adam, poses and latents with steps made for tables"
RAMP = "frequencies rise with --l-ramp-epochs"
ENCODER = "encoders are those of train_vae"
REPRESENTATIVES = "representative particles are centres of k-means clusters"
UNTILTED = "poses are searched with the untilted images alone"


@dataclass(frozen=True, slots=True)
class IgnoredFlag:
    """A flag that changes nothing here.

    Attributes:
        flag: Its name, or its names, the longest last.
        why: What takes its place, or why nothing has to.
        has_value: Whether a value follows it.
    """

    flag: str
    why: str
    has_value: bool = True

    @property
    def names(self) -> list[str]:
        """Its names."""
        return self.flag.split()

    @property
    def dest(self) -> str:
        """Its name among the parsed arguments, which is nobody else's."""
        return PREFIX + self.names[-1].lstrip("-").replace("-", "_")


READING_FLAGS = (
    IgnoredFlag("--relion31", "the version of a .star file is recognised", has_value=False),
    IgnoredFlag("--max-threads", PREPARED),
)
TRAINING_FLAGS = (
    *READING_FLAGS,
    IgnoredFlag("--num-workers", PREPARED),
    IgnoredFlag("--shuffler-size", PREPARED),
    IgnoredFlag("--amp", "--precision chooses by itself", has_value=False),
    IgnoredFlag("--no-analysis", "analyze is run on its own", has_value=False),
    IgnoredFlag(
        "--preprocessed",
        "stacks that `cryodrgn preprocess` wrote are recognised, and named when they are read",
        has_value=False,
    ),
)
EVALUATION_FLAGS = (
    *READING_FLAGS,
    IgnoredFlag("--log-interval", PROGRESS),
    IgnoredFlag("-v --verbose", PROGRESS, has_value=False),
    IgnoredFlag("--num-workers", PREPARED),
)
BACKPROJECTION_FLAGS = (
    *READING_FLAGS,
    IgnoredFlag("--lazy", "images are read as they are needed", has_value=False),
    IgnoredFlag("-b --batch-size", READ_AT_ONCE),
    IgnoredFlag("--log-interval", PROGRESS),
    IgnoredFlag("--reg-weight", "the volume is filtered by the FSC of its half maps"),
    IgnoredFlag(
        "--output-sumcount", "half maps are written, sums and counts are not", has_value=False
    ),
)
DOWNSAMPLING_FLAGS = (
    *READING_FLAGS,
    IgnoredFlag("-b --batch-size", READ_AT_ONCE),
)
LANDSCAPE_FLAGS = (
    IgnoredFlag("--multigpu", "one device makes the volumes", has_value=False),
    IgnoredFlag("--skip-umap", "the map that analyze made is used, if any", has_value=False),
    IgnoredFlag("--vol-ind", "volumes are those of k-means centres, see --sketch-size"),
)
MAPPING_FLAGS = (IgnoredFlag("--test-batch-size", "particles are mapped all at once"),)
ALIGNMENT_FLAGS = tuple(
    IgnoredFlag(name, "shifts are searched all at once")
    for name in ("-tb", "--t-grid", "--keep-t")
)
CONVERGENCE_FLAGS = (
    IgnoredFlag("--force-umap-cpu", "processors make every map", has_value=False),
    IgnoredFlag("--n-epochs-umap", "UMAP chooses its number of steps by the particles"),
    *(
        IgnoredFlag(name, REPRESENTATIVES)
        for name in ("--n-bins", "--smooth-width", "--pruned-maxima", "--radius")
    ),
    IgnoredFlag("--smooth", REPRESENTATIVES, has_value=False),
    IgnoredFlag("--max-threads", "all processors that are free are used"),
)
REORDER_FLAGS = (
    IgnoredFlag("--reorder", "clusters always stand beside their neighbours", has_value=False),
)
SEARCH_FLAGS = (
    *TRAINING_FLAGS,
    IgnoredFlag("--no-shuffle", "the order is random, see --shuffle-seed", has_value=False),
    IgnoredFlag("--verbose-time", "metrics.csv has the seconds", has_value=False),
    IgnoredFlag("--tilt", UNTILTED),
    IgnoredFlag("--tilt-deg", UNTILTED),
    IgnoredFlag(
        "--probabilistic", "first maps weigh poses, searches choose them", has_value=False
    ),
    IgnoredFlag(
        "--pose-model-update-freq", "a search compares with the network as it was at its start"
    ),
    IgnoredFlag(
        "--reset-optim-after-pretrain",
        "slices of the first map are learnt with an optimiser of their own",
        has_value=False,
    ),
    IgnoredFlag("--n-imgs-pose-search", "give --epochs-pose-search"),
    IgnoredFlag("--pose-only-phase", "classes of the first map tell first latents"),
    IgnoredFlag("--batch-size-hps", COMPARED),
    IgnoredFlag("--batch-size-known-poses", COMPARED),
    IgnoredFlag("--lr-conf-encoder", "an encoder learns with --lr"),
    IgnoredFlag("--hypervolume-optimizer-type", OPTIMISERS),
    IgnoredFlag("--pose-table-optimizer-type", OPTIMISERS),
    IgnoredFlag("--conf-table-optimizer-type", OPTIMISERS),
    IgnoredFlag("--conf-encoder-optimizer-type", OPTIMISERS),
    IgnoredFlag("--add-one-frequency-every", RAMP),
    IgnoredFlag("--n-frequencies-per-epoch", RAMP),
    IgnoredFlag("--beta-conf", "its scale is another than that of a VAE"),
    IgnoredFlag("--variational-het", "only encoders have distributions", has_value=False),
    IgnoredFlag("--trans-l1-regularizer", "--t-extent bounds shifts"),
    IgnoredFlag("--l2-smoothness-regularizer", "volumes have no penalty besides --wd"),
    IgnoredFlag("--depth-cnn", ENCODER),
    IgnoredFlag("--channels-cnn", ENCODER),
    IgnoredFlag("--kernel-size-cnn", ENCODER),
    IgnoredFlag("--resolution-encoder", ENCODER),
    IgnoredFlag("--explicit-volume", "only first maps are of voxels", has_value=False),
    IgnoredFlag("--pe-type-conf", "latents enter the decoder as they are"),
)


# Flags by command or tool.
IGNORED: Mapping[str, Sequence[IgnoredFlag]] = {
    "train_vae": TRAINING_FLAGS,
    "train_nn": TRAINING_FLAGS,
    "train_dec": TRAINING_FLAGS,
    "backproject_voxel": BACKPROJECTION_FLAGS,
    "downsample": DOWNSAMPLING_FLAGS,
    "eval_images": EVALUATION_FLAGS,
    "analyze_landscape": LANDSCAPE_FLAGS,
    "analyze_landscape_full": MAPPING_FLAGS,
    "abinit": SEARCH_FLAGS,
    "abinit_homo": SEARCH_FLAGS,
    "abinit_het": SEARCH_FLAGS,
    "align3d": ALIGNMENT_FLAGS,
    "kmeans": REORDER_FLAGS,
    "analyze_convergence": CONVERGENCE_FLAGS,
}


def add_ignored_flags(parser: argparse.ArgumentParser, flags: Sequence[IgnoredFlag]) -> None:
    """Accept flags that change nothing; the program says so where one is given."""
    group = parser.add_argument_group("Accepted, without effect here")
    for one in flags:
        if one.has_value:
            group.add_argument(*one.names, dest=one.dest, metavar="VALUE", help=one.why)
        else:
            group.add_argument(*one.names, dest=one.dest, action="store_true", help=one.why)
