"""``cryodrgn run``."""

import argparse
from pathlib import Path

from cryodrgn.cli.options import (
    add_datadir,
    add_particles,
    add_pose_and_ctf,
    particle_files,
)

# Options of train_vae that take the place of what is chosen from the data.
CHOICES = {
    "-D": "Box size of training in pixels",
    "--qdim": "Width of the encoder",
    "--pdim": "Width of the decoder",
    "-b": "Batch size",
    "--lr": "Learning rate",
    "-n": "Largest number of epochs",
    "--window-r": "Window images from this fraction of half the box on",
    "--held-out": "Share of the particles kept out of training, to tell when it has converged; "
    "0 for none, and then all epochs are trained",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_particles(parser)
    add_pose_and_ctf(parser)
    parser.add_argument(
        "-o", "--outdir", type=Path, required=True, help="Folder for everything"
    )
    parser.add_argument("--ind", type=Path, help="Use only these (.pkl, .npy or .txt)")
    add_datadir(parser)
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument(
        "--quick",
        dest="effort",
        action="store_const",
        const="quick",
        help="A first look: coarser images (at most 64 px), small networks, at most 8 epochs",
    )
    effort.add_argument(
        "--full",
        dest="effort",
        action="store_const",
        const="full",
        help="All the detail there is: finer images (at most 256 px) and at most 100 epochs; "
        "without either, at most 128 px and 50 epochs",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )
    group = parser.add_argument_group("Settings that are otherwise chosen from the data")
    group.add_argument(
        "--zdim", type=int, default=8, help="Dimension of the latent (default: %(default)s)"
    )
    for option, text in CHOICES.items():
        group.add_argument(option, type=float, help=text)
    sign = group.add_mutually_exclusive_group()
    sign.add_argument(
        "--invert-data",
        dest="invert",
        action="store_true",
        default=None,
        help="Invert data sign",
    )
    sign.add_argument(
        "--uninvert-data", dest="invert", action="store_false", help="Keep data sign"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.cli.main import main
    from cryodrgn.workflow.run import RunSettings, run_all

    names = {option: option.lstrip("-").replace("-", "_") for option in CHOICES}
    options = {option: getattr(args, name) for option, name in names.items()}
    settings = RunSettings(
        files=particle_files(args),
        output=args.outdir,
        latent_dim=args.zdim,
        effort=args.effort or "normal",
        seed=args.seed,
        given={option: value for option, value in options.items() if value is not None},
        invert=args.invert,
    )
    run_all(settings, main)
