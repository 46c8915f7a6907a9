"""``cryodrgn nuisance``."""

import argparse
from pathlib import Path

from cryodrgn.cli.options import (
    add_datadir,
    add_particles,
    add_pose_and_ctf,
    add_screen,
    particle_files,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_particles(parser)
    parser.add_argument("latents", type=Path, help="Latents of these particles (z.pkl)")
    add_pose_and_ctf(parser)
    parser.add_argument(
        "-o",
        "--outdir",
        type=Path,
        default=Path("nuisance"),
        help="Folder for nuisance.html and nuisance.json (default: %(default)s)",
    )
    parser.add_argument(
        "--ind", type=Path, help="Particles that have latents (.pkl, .npy or .txt)"
    )
    add_datadir(parser)
    add_screen(parser)
    parser.add_argument(
        "-n",
        "--num-images",
        type=int,
        default=3000,
        help="Images from which the change along every axis is estimated "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.legacy_pickle import load_latents
    from cryodrgn.workflow.nuisance import report_nuisances

    report_nuisances(
        particle_files(args),
        load_latents(args.latents),
        args.outdir,
        num_images=args.num_images,
        seed=args.seed,
        screen=args.screen,
    )
