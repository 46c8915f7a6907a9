"""``cryodrgn analyze``, in the documentation of 0.2.0 ``analyze.sh``."""

import argparse
import shlex
import sys
from pathlib import Path

from cryodrgn.cli.ignored_flags import NUMBERING_FLAGS, add_ignored_flags
from cryodrgn.cli.options import (
    add_device,
    add_multigpu,
    add_run_and_epoch,
    add_volume_processing,
)
from cryodrgn.cli.processes import joined


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_run_and_epoch(parser)
    parser.add_argument(
        "-o",
        "--outdir",
        type=Path,
        help="Folder for the results (default: [WORKDIR]/analyze.[EPOCH])",
    )
    add_device(parser)
    add_multigpu(parser)
    parser.add_argument("--skip-vol", action="store_true", help="Make no volumes")
    parser.add_argument("--skip-umap", action="store_true", help="Make no UMAP embedding")
    add_volume_processing(parser.add_argument_group("Volume arguments"))
    group = parser.add_argument_group("What to look at")
    group.add_argument(
        "--pc",
        type=int,
        default=2,
        help="Principal components along which volumes are made (default: %(default)s)",
    )
    group.add_argument(
        "--n-per-pc",
        type=int,
        default=10,
        help="Volumes along each component (default: %(default)s)",
    )
    group.add_argument(
        "--ksample",
        type=int,
        default=20,
        help="K-means clusters, with a volume at each centre (default: %(default)s)",
    )
    group.add_argument("--seed", type=int, default=0, help="Random seed (default: %(default)s)")
    add_ignored_flags(parser, NUMBERING_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysisdir import AnalysisFiles
    from cryodrgn.reconstruction.decode import PostProcessing
    from cryodrgn.runs.run import open_run
    from cryodrgn.workflow.analyze import AnalysisOptions, analyze

    run = open_run(args.workdir)
    epoch = None if args.epoch == -1 else args.epoch
    options = AnalysisOptions(
        num_components=args.pc,
        per_component=args.n_per_pc,
        num_clusters=args.ksample,
        skip_volumes=args.skip_vol,
        skip_umap=args.skip_umap,
        pixel_size=args.pixel_size,
        box_size=args.downsample,
        processing=PostProcessing(
            flip=args.flip, invert=args.invert, low_pass=args.low_pass, crop=args.crop
        ),
        like=args.like,
        seed=args.seed,
        command=shlex.join(["cryodrgn", *sys.argv[1:]]),
    )
    files = AnalysisFiles(args.outdir) if args.outdir else run.files.analysis(epoch)
    with joined(args) as (team, device):
        analyze(run, epoch, files, options, str(device), team)
