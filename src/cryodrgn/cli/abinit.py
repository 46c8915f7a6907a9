"""Options that the commands for ab initio reconstruction share."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.ignored_flags import SEARCH_FLAGS, add_ignored_flags
from cryodrgn.cli.network_options import (
    add_encoder_architecture,
    decoder_only_config,
    single_structure,
    vae_config,
)
from cryodrgn.cli.training import (
    add_dataset,
    add_run,
    add_storage,
    add_training,
    train_config,
)
from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.training.config import TrainConfig


logger = logging.getLogger(__name__)


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
    schedule = parser.add_argument_group("Schedule")
    _add_schedule(schedule)
    _add_frequencies(schedule)
    _add_refinement(schedule)
    _add_other_names(parser)
    add_ignored_flags(parser, SEARCH_FLAGS)


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
    group.add_argument(
        "--no-trans",
        "--no-trans-search-at-pose-search",
        action="store_true",
        help="Search no shifts",
    )


def _add_schedule(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pretrain",
        "--n-imgs-pretrain",
        type=int,
        default=10000,
        metavar="IMAGES",
        help="Slices of the first map in random poses that the network learns before it learns "
        "images (default: %(default)s)",
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
        "--epochs-pose-search",
        type=int,
        metavar="EPOCHS",
        help="Search this number of times, before every epoch but the first; from then on "
        "poses follow their gradients. Takes the place of --ps-freq and --refine-epochs",
    )
    for what, name in (("model", "weights anew, after a search"), ("optim", "Adam anew")):
        group.add_argument(
            f"--reset-{what}-every",
            type=int,
            metavar="EPOCHS",
            help=f"Begin with {name}, each time that this number of epochs is done "
            "(default: never)",
        )


def _add_frequencies(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--l-ramp-epochs",
        type=int,
        default=10,
        metavar="EPOCHS",
        help="Epochs in which the frequencies learnt and compared rise from --l-start to "
        "--l-end (default: %(default)s)",
    )
    group.add_argument(
        "--l-ramp-model",
        type=int,
        choices=(0, 1),
        default=1,
        help="Whether the network learns no more than these (1), or all of them from the "
        "beginning (0), so that only the search is bound to the ramp (default: %(default)s)",
    )
    group.add_argument(
        "--output-mask",
        choices=("circ", "frequency_marching"),
        help="Another way to say --l-ramp-model 0 or 1",
    )
    group.add_argument(
        "--max-freq",
        type=int,
        metavar="RADIUS",
        help="Largest radius that is learnt, in cycles per box, in the last epochs too "
        "(default: all)",
    )


def _add_refinement(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--refine-epochs",
        "--epochs-sgd",
        type=int,
        default=5,
        metavar="EPOCHS",
        help="Epochs at the end in which poses follow their gradients (default: %(default)s)",
    )
    group.add_argument(
        "--pose-lr",
        "--lr-pose-table",
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


def _add_other_names(parser: argparse.ArgumentParser) -> None:
    """Names that later versions of cryoDRGN give to these options."""
    group = parser.add_argument_group("Other names")
    for flag, same, kind in (
        ("--batch-size-sgd", "--batch-size", int),
        ("--window-radius-gt-real", "--window-r", float),
        ("--hypervolume-domain", "--domain", str),
    ):
        group.add_argument(
            flag,
            dest=same.removeprefix("--").replace("-", "_"),
            type=kind,
            default=argparse.SUPPRESS,
            choices=("hartley", "fourier") if kind is str else None,
            help=f"The same as {same}",
        )


def search_training(args: argparse.Namespace, **more: object) -> "TrainConfig":
    """The training settings that the options describe; ``more`` are those of one command."""
    from dataclasses import replace

    from cryodrgn.orientation.settings import GridSettings
    from cryodrgn.training.pose_table import PoseConfig
    from cryodrgn.training.search_config import SearchConfig

    if args.curriculum is not None:
        msg = "frequencies rise with --l-ramp-epochs here; leave out --curriculum"
        raise ConfigError(msg)
    if "l_end" in args.given and args.l_end < args.l_start:
        logger.warning(
            "--l-end has no effect: %d is below --l-start %d", args.l_end, args.l_start
        )
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
    interval, refine_epochs = _intervals(args)
    mask = args.output_mask
    search = SearchConfig(
        grids=grids,
        interval=interval,
        ramp_epochs=args.l_ramp_epochs,
        refine_epochs=refine_epochs,
        ramps_model=mask == "frequency_marching" if mask else bool(args.l_ramp_model),
        max_radius=args.max_freq,
        model_reset_interval=args.reset_model_every,
        optimizer_reset_interval=args.reset_optim_every,
        latent_spread=getattr(args, "std_z_init", 0.0),
        num_starts=args.starts,
        start_images=args.start_images,
        pretrain=args.pretrain,
        takes_given=args.poses is not None,
        num_classes=getattr(args, "classes", 1),
        num_references=getattr(args, "references", 1),
    )
    poses = PoseConfig(
        embedding=args.emb_type,
        learning_rate=args.pose_lr,
        pretrain=max(0, args.num_epochs - refine_epochs),
    )
    return replace(train_config(args, **more), search=search, poses=poses)


def _intervals(args: argparse.Namespace) -> tuple[int, int]:
    """Epochs from search to search, and those at the end that have none."""
    searched = args.epochs_pose_search
    if searched is None:
        return args.ps_freq, args.refine_epochs
    also = [
        f"--{name.replace('_', '-')}"
        for name in ("ps_freq", "refine_epochs")
        if name in args.given
    ]
    if also:
        msg = f"--epochs-pose-search takes the place of {also[0]}; leave out one of them"
        raise ConfigError(msg)
    if not 0 <= searched <= args.num_epochs:
        msg = (
            f"--epochs-pose-search must lie between 0 and -n {args.num_epochs}, got {searched}"
        )
        raise ConfigError(msg)
    return 1, args.num_epochs - searched


def add_latent(parser: argparse.ArgumentParser) -> None:
    """The latent, and what tells it."""
    group = parser.add_argument_group("Latent")
    group.add_argument(
        "--use-conf-encoder",
        action="store_true",
        help="Let an encoder tell latents from images, as train_vae does (default: they are "
        "free numbers of each particle, as in train_dec)",
    )
    group.add_argument(
        "--z-lr",
        "--lr-conf-table",
        type=float,
        default=1e-2,
        help="Length of the steps of free latents (default: %(default)s)",
    )
    group.add_argument(
        "--initial-conf",
        type=Path,
        metavar="PKL",
        help="Begin with these latents (default: the classes of the first map tell them)",
    )
    group.add_argument(
        "--std-z-init",
        type=float,
        default=0.1,
        help="Spread of first latents in directions of which classes say nothing (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--classes",
        type=int,
        default=2,
        metavar="K",
        help="Classes into which the first map is split; they tell the first latents (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--references",
        type=int,
        default=8,
        metavar="K",
        help="Latents at most whose volumes images are compared with in a search, each image "
        "with that of the nearest one (default: %(default)s)",
    )
    _add_encoder_training(parser.add_argument_group("Training of an encoder"))
    encoder = parser.add_argument_group("Encoder Network")
    add_encoder_architecture(encoder)
    encoder.add_argument(
        "--use-real",
        action="store_true",
        help="Use real space image for encoder (for convolutional encoder)",
    )


def _add_encoder_training(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--beta",
        default="1.0",
        help="Choice of beta schedule (a, b, c, d) or a constant for KLD weight, with an "
        "encoder (default: %(default)s)",
    )
    group.add_argument(
        "--beta-control",
        type=float,
        help="KL-Controlled VAE gamma. Beta is KL target. (default: None)",
    )
    group.add_argument(
        "--enc-only",
        action="store_true",
        help="Keep the decoder that --load brings as it is; only an encoder learns",
    )
    group.add_argument(
        "--equivariance",
        type=float,
        metavar="WEIGHT",
        help="Penalty on latents that an encoder changes when an image is turned in its plane "
        "(default: none)",
    )
    for name, number, what in (("start", 1e5, "begins to rise"), ("end", 2e5, "has risen")):
        group.add_argument(
            f"--eq-{name}-it",
            type=float,
            default=number,
            metavar="IMAGES",
            help=f"Images seen until that penalty {what} (default: %(default)g)",
        )


def latent_model(
    args: argparse.Namespace, box_size: int, *, allow_none: bool = False
) -> "ModelConfig":
    """The model of a command with a latent: an auto-encoder, or a decoder alone.

    Args:
        args: Its options.
        box_size: Side of the images in pixels.
        allow_none: Whether ``--zdim 0`` stands for a single structure.
    """
    args.tilt, args.layers, args.dim, args.l_extent = None, args.players, args.pdim, 0.5
    if allow_none and args.zdim == 0:
        return single_structure(args, box_size)
    if args.use_conf_encoder:
        return vae_config(args, box_size)
    return decoder_only_config(args, box_size)


def latent_training(args: argparse.Namespace) -> "TrainConfig":
    """The training settings of a command with a latent."""
    from cryodrgn.training.config import LatentTableConfig
    from cryodrgn.training.schedules import Equivariance, KlWeighting, parse_beta

    if args.enc_only and args.load is None:
        msg = "--enc-only keeps the decoder as it is; give the weights it has with --load"
        raise ConfigError(msg)
    equivariance = None
    if args.equivariance is not None:
        equivariance = Equivariance(
            weight=args.equivariance, start=args.eq_start_it, end=args.eq_end_it
        )
    if args.use_conf_encoder:
        return search_training(
            args,
            kl=KlWeighting(beta=parse_beta(args.beta), control=args.beta_control),
            equivariance=equivariance,
            keeps_decoder=args.enc_only,
        )
    if args.enc_only or equivariance is not None:
        option = "--enc-only" if args.enc_only else "--equivariance"
        msg = f"{option} is about an encoder, and there is none; add --use-conf-encoder"
        raise ConfigError(msg)
    latents = LatentTableConfig(learning_rate=args.z_lr, initial=args.initial_conf)
    return search_training(args, latents=latents)
