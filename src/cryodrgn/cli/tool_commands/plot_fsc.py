"""``cryodrgn_utils plot_fsc``, in 0.2.0 ``plotfsc.py``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.tool_options import add_drawing

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "input", type=Path, nargs="+", help="Curves as text: frequency in cycles/px and values"
    )
    parser.add_argument(
        "-a",
        "--Apix",
        dest="pixel_size",
        type=float,
        help="Å/px, to label the axis with resolutions (default: 1)",
    )
    parser.add_argument(
        "-t",
        "--threshold",
        type=float,
        default=0.143,
        help="Correlation at which resolutions are read (default: %(default)s)",
    )
    add_drawing(parser, "fsc-plot.png")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.plots import plot_fsc, save_figure
    from cryodrgn.io.curves import read_curves

    curves, pixel_size = {}, args.pixel_size or 1.0
    for path in args.input:
        for name, curve in read_curves(path).items():
            label = path.stem if name.startswith("fsc") else f"{path.stem} {name}"
            curves[label] = curve
            frequency = curve.first_crossing(args.threshold)
            found = "not reached" if frequency is None else f"{pixel_size / frequency:.4g}"
            logger.info("%s: FSC %g at %s", label, args.threshold, found)
    save_figure(plot_fsc(curves, pixel_size), args.output)
    logger.info("wrote %s", args.output)
