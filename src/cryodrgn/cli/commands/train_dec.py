"""``cryodrgn train_dec``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.ignored_flags import TRAINING_FLAGS, add_ignored_flags
from cryodrgn.cli.network_options import (
    add_bare_decoder,
    add_decoder_input,
    decoder_only_config,
)
from cryodrgn.cli.training import (
    add_dataset,
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
    add_training(parser)
    group = parser.add_argument_group("Latents")
    group.add_argument(
        "--load-z",
        type=Path,
        metavar="PKL",
        help="Begin with the latents of this z.pkl, or of this run (of train_linear, for "
        "instance)",
    )
    group.add_argument(
        "--z-lr",
        type=float,
        default=1e-4,
        help="Learning rate of the latents (default: %(default)s)",
    )
    group.add_argument(
        "--pretrain-z",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="Number of epochs with fixed latents (default: %(default)s)",
    )
    add_pose_refinement(parser, pretrain=5, learning_rate=1e-4, name="--pretrain-pose")
    group = parser.add_argument_group("Network Architecture")
    add_bare_decoder(group, hidden_dim=1024)
    add_decoder_input(group)
    add_ignored_flags(parser, TRAINING_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    run_training(args, decoder_only_config, _training)


def _training(args: argparse.Namespace) -> "TrainConfig":
    from cryodrgn.training.config import LatentTableConfig

    latents = LatentTableConfig(
        learning_rate=args.z_lr, pretrain=args.pretrain_z, initial=args.load_z
    )
    return train_config(args, latents=latents)
