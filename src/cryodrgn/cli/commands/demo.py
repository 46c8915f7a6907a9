"""``cryodrgn demo``."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "-o",
        "--outdir",
        type=Path,
        default=Path("cryodrgn_demo"),
        help="Folder to write into (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.cli.main import main
    from cryodrgn.workflow.demo import run_demo

    run_demo(args.outdir, main, args.seed)
