"""``cryodrgn check``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import (
    add_datadir,
    add_particles,
    add_pose_and_ctf,
    particle_files,
)
from cryodrgn.errors import MetadataError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_particles(parser)
    add_pose_and_ctf(parser)
    parser.add_argument(
        "-o",
        "--outdir",
        type=Path,
        default=Path("check"),
        help="Folder for check.html and check.json (default: %(default)s)",
    )
    parser.add_argument(
        "--ind", type=Path, help="Check only these particles (.pkl, .npy or .txt)"
    )
    add_datadir(parser)
    parser.add_argument(
        "--invert-data", action="store_true", help="Invert data sign, for white particles"
    )
    parser.add_argument(
        "-n",
        "--num-images",
        type=int,
        default=3000,
        help="Images from which the conventions are judged (default: %(default)s)",
    )
    parser.add_argument(
        "--num-screened",
        type=int,
        default=5000,
        help="Images that are looked at one by one (default: %(default)s)",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="End with status 0 even if another convention fits better",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.workflow.check import CheckSettings, check_particles

    settings = CheckSettings(
        num_images=args.num_images,
        num_screened=args.num_screened,
        invert=args.invert_data,
        seed=args.seed,
    )
    result = check_particles(particle_files(args), args.outdir, settings)
    if not result.passed and not args.accept:
        msg = f"{result.sentence} See {result.files.page}; --accept overrides this"
        raise MetadataError(msg)
