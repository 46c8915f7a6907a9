"""``cryodrgn benchmark``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.options import add_device

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="Also write the figures to this file"
    )
    parser.add_argument(
        "--boxes",
        type=int,
        nargs="+",
        default=[64, 128, 256],
        metavar="BOX",
        help="Box sizes of training (default: 64 128 256)",
    )
    parser.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=[8, 64],
        metavar="B",
        help="Batch sizes of training (default: 8 64)",
    )
    parser.add_argument(
        "--widths",
        type=int,
        nargs="+",
        default=[256, 1024],
        metavar="W",
        help="Nodes in hidden layers (default: 256 1024)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        help="How long to go on with each measurement, of which there are at least three "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--steps-only", action="store_true", help="Measure training steps and nothing else"
    )
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.benchmarking.report import measure_machine, table, write_json
    from cryodrgn.devices import choose_device

    figures = measure_machine(
        choose_device(args.device),
        boxes=args.boxes,
        widths=args.widths,
        batches=args.batches,
        seconds=args.seconds,
        steps_only=args.steps_only,
    )
    for line in table(figures):
        logger.info("%s", line)
    if args.json is not None:
        write_json(args.json, figures)
