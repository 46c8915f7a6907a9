"""``cryodrgn abinit_het``."""

import argparse

from cryodrgn.cli.abinit import add_latent, add_search_run, latent_model, latent_training
from cryodrgn.cli.network_options import add_decoder_architecture
from cryodrgn.cli.training import run_training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_search_run(parser)
    parser.add_argument("--zdim", type=int, help="Dimension of latent variable")
    add_latent(parser)
    add_decoder_architecture(parser.add_argument_group("Decoder Network"))


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    run_training(args, latent_model, latent_training)
