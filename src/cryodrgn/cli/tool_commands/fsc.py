"""``cryodrgn_utils fsc``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.tool_options import add_output, read_two_volumes

if TYPE_CHECKING:
    from torch import Tensor

    from cryodrgn.fourier.shells import ShellCurve

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    for name in ("vol1", "vol2"):
        parser.add_argument(name, type=Path, help="Volume (.mrc)")
    parser.add_argument(
        "--ref-volume",
        type=Path,
        metavar="MRC",
        help="Full map from which masks are made: writes curves without mask, in a ball, under "
        "a loose and a tight mask, and corrected for the tight mask, or for that of --mask",
    )
    parser.add_argument(
        "--mask",
        type=Path,
        metavar="MRC",
        help="Mask for both volumes; with --ref-volume one curve more, and the corrected curve "
        "is corrected for it",
    )
    parser.add_argument(
        "--corrected",
        type=float,
        metavar="RES",
        help="Correct for the mask by random phases beyond this resolution (Å, or cycles per "
        "pixel if below 1)",
    )
    parser.add_argument(
        "-p",
        "--plot",
        type=Path,
        nargs="?",
        const=Path("fsc-plot.png"),
        metavar="PNG",
        help="Plot the curves (default name: fsc-plot.png)",
    )
    parser.add_argument(
        "--Apix", dest="pixel_size", type=float, help="Å/px (default: as in the file, else 1)"
    )
    add_output(parser, "Write the curves as text", kind="txt", required=False)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.curves import write_curves
    from cryodrgn.reconstruction.map_agreement import describe_resolution
    from cryodrgn.units import pixel_size_or_one

    first, second, geometry = read_two_volumes(args.vol1, args.vol2)
    pixel_size = pixel_size_or_one(args.vol1, args.pixel_size, geometry.pixel_size)
    curves = _curves(args, (first, second), pixel_size)
    if args.output is None:
        shown = list(curves.values())
        for row, frequency in enumerate(shown[0].frequencies.tolist()):
            values = " ".join(f"{curve.values[row]:.6f}" for curve in shown)
            logger.info("%.6f %s", frequency, values)
    else:
        write_curves(args.output, curves)
        logger.info("wrote %s", args.output)
    for name, curve in curves.items():
        describe_resolution(curve, pixel_size, "" if len(curves) == 1 else name)
    if args.plot is not None:
        from cryodrgn.analysis.plots import plot_fsc, save_figure

        save_figure(plot_fsc(curves, pixel_size), args.plot)
        logger.info("wrote %s", args.plot)


def _curves(
    args: argparse.Namespace, maps: "tuple[Tensor, Tensor]", pixel_size: float
) -> "dict[str, ShellCurve]":
    """The curves that the options ask for."""
    from cryodrgn.errors import ConfigError
    from cryodrgn.fourier.shells import fourier_shell_correlation
    from cryodrgn.io.masks import read_mask
    from cryodrgn.reconstruction.map_agreement import corrected_curve, masked_curves

    given = args.corrected
    frequency = pixel_size / given if given is not None and given >= 1 else given
    if given is not None and args.mask is None and args.ref_volume is None:
        msg = "--corrected needs the --mask whose effect is to be corrected"
        raise ConfigError(msg)
    mask = None if args.mask is None else read_mask(args.mask, len(maps[0]), pixel_size)
    if args.ref_volume is not None:
        reference = read_two_volumes(args.ref_volume, args.vol1)[0]
        return masked_curves(maps, reference, pixel_size, mask=mask, frequency=frequency)
    if mask is None:
        return {"fsc": fourier_shell_correlation(*maps)}
    if frequency is None:
        return {"fsc": fourier_shell_correlation(maps[0] * mask, maps[1] * mask)}
    return {"fsc": corrected_curve(maps, mask, frequency)}
