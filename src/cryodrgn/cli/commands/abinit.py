"""``cryodrgn abinit``."""

import argparse
from typing import TYPE_CHECKING

from cryodrgn.cli.abinit import (
    add_latent,
    add_search_run,
    latent_model,
    latent_training,
    search_training,
)
from cryodrgn.cli.network_options import add_decoder_architecture
from cryodrgn.cli.training import run_training

if TYPE_CHECKING:
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.training.config import TrainConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_search_run(parser)
    parser.add_argument(
        "--zdim", type=int, help="Dimension of latent variable; 0 for a single structure"
    )
    add_latent(parser)
    group = parser.add_argument_group("Decoder Network")
    add_decoder_architecture(group)
    for flag, same in (("--layers", "players"), ("--dim", "pdim")):
        group.add_argument(
            flag, dest=same, type=int, default=argparse.SUPPRESS, help=f"The same as --{same}"
        )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    run_training(args, _model, _training)


def _model(args: argparse.Namespace, box_size: int) -> "ModelConfig":
    return latent_model(args, box_size, allow_none=True)


def _training(args: argparse.Namespace) -> "TrainConfig":
    return latent_training(args) if args.zdim else search_training(args)
