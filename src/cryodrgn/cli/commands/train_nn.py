"""``cryodrgn train_nn``."""

import argparse

from cryodrgn.cli.ignored_flags import TRAINING_FLAGS, add_ignored_flags
from cryodrgn.cli.network_options import add_bare_decoder, add_decoder_input, single_structure
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_run(parser)
    add_dataset(parser)
    add_storage(parser)
    add_training(parser)
    add_held_out(parser)
    add_pose_refinement(parser, pretrain=5, learning_rate=1e-4, name="--pretrain")
    group = parser.add_argument_group("Network Architecture")
    add_bare_decoder(group, hidden_dim=256)
    add_decoder_input(group)
    add_ignored_flags(parser, TRAINING_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    run_training(args, single_structure, train_config)
