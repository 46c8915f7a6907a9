"""``cryodrgn train_vae``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.ignored_flags import TRAINING_FLAGS, add_ignored_flags
from cryodrgn.cli.network_options import (
    add_decoder_architecture,
    add_encoder_architecture,
    vae_config,
)
from cryodrgn.cli.options import add_tilt
from cryodrgn.cli.training import (
    add_dataset,
    add_held_out,
    add_pose_refinement,
    add_run,
    add_storage,
    add_training,
    run_training,
    train_config,
)

if TYPE_CHECKING:
    from cryodrgn.training.config import TrainConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_run(parser)
    parser.add_argument("--zdim", type=int, help="Dimension of latent variable")
    add_dataset(parser)
    add_storage(parser)
    add_tilt(parser)
    group = add_training(parser)
    group.add_argument(
        "--beta",
        default="1.0",
        help="Choice of beta schedule (a, b, c, d) or a constant for KLD weight "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--beta-control",
        type=float,
        help="KL-Controlled VAE gamma. Beta is KL target. (default: None)",
    )
    group.add_argument(
        "--init-z",
        type=Path,
        metavar="RUN",
        help="Teach the encoder the latents of this run (of train_linear, for instance) or "
        "z.pkl, before all else is trained",
    )
    group.add_argument(
        "--init-epochs",
        type=int,
        default=10,
        metavar="EPOCHS",
        help="Epochs of that (default: %(default)s)",
    )
    add_held_out(parser)
    add_pose_refinement(parser, pretrain=1, learning_rate=3e-4, name="--pretrain")
    encoder = parser.add_argument_group("Encoder Network")
    add_encoder_architecture(encoder)
    encoder.add_argument(
        "--use-real",
        action="store_true",
        help="Use real space image for encoder (for convolutional encoder)",
    )
    add_decoder_architecture(parser.add_argument_group("Decoder Network"))
    add_ignored_flags(parser, TRAINING_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    run_training(args, vae_config, _training)


def _training(args: argparse.Namespace) -> "TrainConfig":
    from cryodrgn.training.schedules import KlWeighting, parse_beta
    from cryodrgn.training.warm_start import WarmStart

    kl = KlWeighting(beta=parse_beta(args.beta), control=args.beta_control)
    warm_start = None
    if args.init_z is not None:
        warm_start = WarmStart(latents=args.init_z, epochs=args.init_epochs)
    return train_config(args, kl=kl, warm_start=warm_start)
