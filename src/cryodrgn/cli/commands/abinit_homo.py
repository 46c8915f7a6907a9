"""``cryodrgn abinit_homo``."""

import argparse

from cryodrgn.cli.abinit import add_search_run, search_training
from cryodrgn.cli.network_options import add_bare_decoder, add_decoder_input, single_structure
from cryodrgn.cli.training import run_training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_search_run(parser)
    group = parser.add_argument_group("Network Architecture")
    add_bare_decoder(group, hidden_dim=256)
    add_decoder_input(group)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    run_training(args, single_structure, search_training)
