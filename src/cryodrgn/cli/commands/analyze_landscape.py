"""``cryodrgn analyze_landscape``."""

import argparse
from pathlib import Path

from cryodrgn.cli.ignored_flags import LANDSCAPE_FLAGS, add_ignored_flags
from cryodrgn.cli.options import add_device, add_like, add_run_and_epoch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_run_and_epoch(parser)
    parser.add_argument(
        "-o",
        "--outdir",
        type=Path,
        help="Folder for the results (default: [WORKDIR]/landscape.[EPOCH])",
    )
    add_device(parser)
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )
    _add_volumes(parser.add_argument_group("Volumes"))
    _add_mask(parser.add_argument_group("Mask"))
    group = parser.add_argument_group("States and components")
    group.add_argument(
        "--linkage",
        choices=("average", "single", "complete", "ward"),
        default="average",
        help="Linkage of agglomerative clustering (default: %(default)s)",
    )
    group.add_argument("-M", type=int, default=10, help="States (default: %(default)s)")
    group.add_argument(
        "--pc-dim", type=int, default=20, help="Components to keep (default: %(default)s)"
    )
    group.add_argument(
        "--plot-dim", type=int, default=5, help="Components to plot (default: %(default)s)"
    )
    add_ignored_flags(parser, LANDSCAPE_FLAGS)


def _add_volumes(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-N",
        "--sketch-size",
        type=int,
        default=1000,
        help="Volumes that stand for all particles (default: %(default)s)",
    )
    group.add_argument(
        "-d",
        "--downsample",
        type=int,
        default=128,
        metavar="BOX",
        help="Box size (pixels) at which larger volumes are compared (default: %(default)s)",
    )
    group.add_argument(
        "--Apix",
        dest="pixel_size",
        type=float,
        help="Angstroms per pixel of the training images (default: as in the config, else 1)",
    )
    group.add_argument("--flip", action="store_true", help="Flip handedness of the volumes")
    group.add_argument("--skip-vol", action="store_true", help="Use the volumes that are there")
    add_like(group)


def _add_mask(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--thresh",
        type=float,
        help="Density at which the mask begins (default: half of the high densities)",
    )
    group.add_argument(
        "--dilate", type=float, default=5.0, help="Widening in Å (default: %(default)s)"
    )
    group.add_argument(
        "--cosine-edge", type=float, default=0.0, help="Soft edge in Å (default: %(default)s)"
    )
    group.add_argument("--mask", type=Path, metavar="MRC", help="A mask to use instead")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysisdir import LandscapeFiles
    from cryodrgn.runs.run import open_run
    from cryodrgn.workflow.landscape import LandscapeOptions, make_landscape

    run = open_run(args.workdir)
    epoch = None if args.epoch == -1 else args.epoch
    options = LandscapeOptions(
        sketch_size=args.sketch_size,
        box_size=args.downsample,
        pixel_size=args.pixel_size,
        flip=args.flip,
        skip_volumes=args.skip_vol,
        threshold=args.thresh,
        dilation=args.dilate,
        edge=args.cosine_edge,
        mask=args.mask,
        like=args.like,
        linkage=args.linkage,
        num_states=args.M,
        num_components=args.pc_dim,
        num_plotted=args.plot_dim,
        seed=args.seed,
    )
    files = LandscapeFiles(args.outdir) if args.outdir else run.files.landscape(epoch)
    make_landscape(run, epoch, files, options, args.device)
