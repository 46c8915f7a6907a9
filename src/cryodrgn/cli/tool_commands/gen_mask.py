"""``cryodrgn_utils gen_mask``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.tool_options import add_input

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Volume (.mrc)")
    parser.add_argument("output", type=Path, help="Output mask (.mrc)")
    parser.add_argument(
        "--threshold",
        type=float,
        help="Density at which the particle begins (default: half of the 99.99th percentile)",
    )
    parser.add_argument(
        "--dilate",
        type=float,
        default=25.0,
        help="Growth of the particle in Å (default: %(default)s)",
    )
    parser.add_argument(
        "--dist",
        type=float,
        default=15.0,
        help="Width of the soft edge in Å (default: %(default)s)",
    )
    parser.add_argument(
        "--Apix", dest="pixel_size", type=float, help="Å/px (default: as in the file, else 1)"
    )
    parser.add_argument("-p", "--png", "--png-output", type=Path, help="Picture of the mask")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from dataclasses import replace

    import torch

    from cryodrgn.cli.tool_options import require_mrc
    from cryodrgn.imaging.masks import default_threshold, soft_mask
    from cryodrgn.io.mrc import read_map, write_volume
    from cryodrgn.units import pixel_size_or_one

    require_mrc(args.output)
    data, geometry = read_map(args.input)
    volume = torch.from_numpy(data)
    pixel_size = pixel_size_or_one(args.input, args.pixel_size, geometry.pixel_size)
    threshold = default_threshold(volume) if args.threshold is None else args.threshold
    mask = soft_mask(
        volume, pixel_size, threshold=threshold, dilation=args.dilate, edge=args.dist
    )
    write_volume(args.output, mask.numpy(), replace(geometry, pixel_size=pixel_size))
    share = 100 * float(mask.mean())
    logger.info(
        "threshold %g, mask of %.1f %% of the box: wrote %s", threshold, share, args.output
    )
    if args.png is not None:
        from cryodrgn.analysis.image_plots import plot_slices
        from cryodrgn.analysis.plots import save_figure

        save_figure(plot_slices(mask.numpy(), f"mask at threshold {threshold:.4g}"), args.png)
