"""What the commands that find poses by themselves have in common."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.training import (
    add_dataset,
    add_run,
    add_storage,
    add_training,
    train_config,
)

if TYPE_CHECKING:
    from cryodrgn.training.config import TrainConfig


def add_search_run(parser: argparse.ArgumentParser) -> None:
    """The run, its images and how it is trained."""
    add_run(parser, with_poses=False)
    parser.add_argument(
        "--load-poses",
        dest="poses",
        type=Path,
        metavar="PKL",
        help="Begin with these poses instead of maps made from nothing",
    )
    add_dataset(parser)
    add_storage(parser)
    add_training(parser, num_epochs=30, learning_rate=5e-4)
    _add_search(parser.add_argument_group("Pose search"))
    _add_schedule(parser.add_argument_group("Schedule"))


def _add_search(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--l-start",
        type=int,
        default=12,
        help="First radius of the frequencies compared, in cycles per box (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--l-end", type=int, default=32, help="Last radius of them (default: %(default)s)"
    )
    group.add_argument(
        "--niter",
        type=int,
        default=4,
        help="Times that the grids are refined to half their spacing (default: %(default)s)",
    )
    group.add_argument(
        "--nkeptposes",
        type=int,
        default=8,
        help="Rotations of each image that are refined (default: %(default)s)",
    )
    group.add_argument(
        "--base-healpy",
        type=int,
        default=2,
        help="Level of the grid of rotations searched whole (default: %(default)s, 15° apart)",
    )
    group.add_argument(
        "--t-extent",
        type=float,
        default=10.0,
        help="Largest shift along x and y in pixels of the images trained on (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--t-ngrid",
        type=int,
        default=7,
        help="Shifts along each axis at level 1, twice as many at level 2; no finer than the "
        "frequencies compared can tell (default: %(default)s)",
    )
    for axis in "xy":
        group.add_argument(
            f"--t-{axis}shift",
            type=float,
            default=0.0,
            help=f"Middle of the shifts along {axis} in pixels (default: %(default)s)",
        )
    group.add_argument("--no-trans", action="store_true", help="Search no shifts")


def _add_schedule(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pretrain",
        type=int,
        default=0,
        metavar="IMAGES",
        help="Images in random poses from which each first map begins (default: all of "
        "--start-images)",
    )
    group.add_argument(
        "--starts",
        type=int,
        default=1,
        metavar="K",
        help="First maps made from different seeds, of which the best is kept (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--start-images",
        type=int,
        default=1000,
        metavar="IMAGES",
        help="Images of which first maps are made (default: %(default)s)",
    )
    group.add_argument(
        "--ps-freq",
        type=int,
        default=5,
        metavar="EPOCHS",
        help="Epochs from one search of all poses to the next (default: %(default)s)",
    )
    group.add_argument(
        "--l-ramp-epochs",
        type=int,
        default=10,
        metavar="EPOCHS",
        help="Epochs in which the frequencies learnt and compared rise from --l-start to "
        "--l-end (default: %(default)s)",
    )
    group.add_argument(
        "--refine-epochs",
        type=int,
        default=5,
        metavar="EPOCHS",
        help="Epochs at the end in which poses follow their gradients (default: %(default)s)",
    )
    group.add_argument(
        "--pose-lr",
        type=float,
        default=3e-3,
        help="Length of the steps of the poses in them (default: %(default)s)",
    )
    group.add_argument(
        "--emb-type",
        choices=("s2s2", "quat"),
        default="quat",
        help="Numbers that stand for a rotation in them (default: %(default)s)",
    )


def search_training(args: argparse.Namespace, **more: object) -> "TrainConfig":
    """The training settings that the options describe; ``more`` are those of one command."""
    from dataclasses import replace

    from cryodrgn.orientation.settings import GridSettings
    from cryodrgn.training.pose_table import PoseConfig
    from cryodrgn.training.search_config import SearchConfig

    grids = GridSettings(
        radius_start=args.l_start,
        radius_end=max(args.l_start, args.l_end),
        num_levels=args.niter,
        num_kept=args.nkeptposes,
        base_level=args.base_healpy,
        shift_extent_px=0.0 if args.no_trans else args.t_extent,
        num_shifts=args.t_ngrid,
        shift_centre_px=(args.t_xshift, args.t_yshift),
    )
    search = SearchConfig(
        grids=grids,
        interval=args.ps_freq,
        ramp_epochs=args.l_ramp_epochs,
        refine_epochs=args.refine_epochs,
        num_starts=args.starts,
        start_images=args.start_images,
        random_images=args.pretrain,
        takes_given=args.poses is not None,
        **({"num_references": args.references} if hasattr(args, "references") else {}),
    )
    poses = PoseConfig(
        embedding=args.emb_type,
        learning_rate=args.pose_lr,
        pretrain=max(0, args.num_epochs - args.refine_epochs),
    )
    return replace(train_config(args, **more), search=search, poses=poses)
