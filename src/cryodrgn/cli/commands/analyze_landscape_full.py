"""``cryodrgn analyze_landscape_full``."""

import argparse
from pathlib import Path

from cryodrgn.cli.ignored_flags import MAPPING_FLAGS, add_ignored_flags
from cryodrgn.cli.options import add_device, add_run_and_epoch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_run_and_epoch(parser)
    parser.add_argument(
        "--landscape-dir",
        type=Path,
        help="What analyze_landscape wrote (default: [WORKDIR]/landscape.[EPOCH])",
    )
    parser.add_argument(
        "-o", "--outdir", type=Path, help="Folder for the results (default: that folder)"
    )
    add_device(parser)
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )
    parser.add_argument(
        "-N",
        "--training-volumes",
        type=int,
        default=10_000,
        help="Volumes to learn from, made as those of the landscape (default: %(default)s)",
    )
    parser.add_argument(
        "-d",
        "--downsample",
        type=int,
        help="Side of the volumes (default: that of the landscape, and no other will do)",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        default=None,
        help="Reverse the z axis (default: as in the landscape)",
    )
    parser.add_argument(
        "--skip-vol", action="store_true", help="Use what an earlier call found of volumes"
    )
    _add_mapping(parser)
    _add_map(parser)
    add_ignored_flags(parser, MAPPING_FLAGS)


def _add_mapping(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Mapping")
    for option, default, text in (
        ("--batch-size", 64, "Volumes per step"),
        ("--epochs", 200, "Passes through the volumes"),
        ("--dim", 512, "Number of nodes in hidden layers"),
        ("--layers", 3, "Number of hidden layers"),
    ):
        help_text = f"{text} (default: %(default)s)"
        group.add_argument(option, type=int, default=default, help=help_text)
    group.add_argument(
        "--lr", type=float, default=1e-4, help="Learning rate of Adam (default: %(default)s)"
    )


def _add_map(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Map")
    group.add_argument("--skip-umap", action="store_true", help="Make no UMAP embedding")
    group.add_argument(
        "--num-neighbors",
        type=int,
        default=50,
        help="Of a particle (default: %(default)s)",
    )
    group.add_argument(
        "--resolution",
        type=float,
        default=1.5,
        help="Larger values make more communities (Leiden; default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.mapping import MappingConfig
    from cryodrgn.analysisdir import LandscapeFiles
    from cryodrgn.runs.run import open_run
    from cryodrgn.workflow.landscape_full import FullLandscapeOptions, map_all_particles

    run = open_run(args.workdir)
    epoch = None if args.epoch == -1 else args.epoch
    options = FullLandscapeOptions(
        num_volumes=args.training_volumes,
        skip_volumes=args.skip_vol,
        mapping=MappingConfig(
            hidden_dim=args.dim,
            num_layers=args.layers,
            epochs=args.epochs,
            batch_size=args.batch_size,
            learning_rate=args.lr,
            seed=args.seed,
        ),
        skip_umap=args.skip_umap,
        num_neighbours=args.num_neighbors,
        resolution=args.resolution,
        seed=args.seed,
        box_size=args.downsample,
        flip=args.flip,
    )
    landscape = run.files.landscape(epoch)
    landscape = LandscapeFiles(args.landscape_dir) if args.landscape_dir else landscape
    files = LandscapeFiles(args.outdir) if args.outdir else landscape
    map_all_particles(run, epoch, landscape, files, options, args.device)
