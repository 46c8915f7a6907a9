"""``cryodrgn_utils add_noise``."""

import argparse
import logging
import math

from cryodrgn.cli.options import add_datadir
from cryodrgn.cli.tool_options import (
    add_input,
    add_output,
    add_picture,
    add_seed,
    draw_stack,
    require_mrc,
)
from cryodrgn.errors import ConfigError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Particles without noise (.mrcs, .star, .cs, or .txt)", "mrcs")
    parser.add_argument("--snr", type=float, help="Signal-to-noise ratio of the output")
    parser.add_argument("--sigma", type=float, help="Standard deviation of the noise")
    parser.add_argument(
        "--mask",
        choices=("none", "strict", "circular"),
        default="none",
        help="Pixels from which the strength of the signal is taken: all, the positive ones, "
        "or a disc (default: %(default)s)",
    )
    parser.add_argument("--mask-r", type=float, help="Radius of the disc in pixels")
    add_datadir(parser)
    add_output(parser, "Output stack (.mrcs)")
    add_picture(parser)
    add_seed(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import torch

    from cryodrgn.data.stack_changes import change_stack, signal_strength, white_noise
    from cryodrgn.io.particle_files import open_stack

    require_mrc(args.output)
    if (args.snr is None) == (args.sigma is None):
        msg = "give the strength of the noise in one way: --snr or --sigma"
        raise ConfigError(msg)
    images, pixel_size = open_stack(args.mrcs, args.datadir)
    if args.snr is None:
        sigma = args.sigma
    elif args.snr > 0:
        sigma = signal_strength(images, args.mask, args.mask_r) / math.sqrt(args.snr)
    else:
        msg = f"--snr must be positive, got {args.snr:g}"
        raise ConfigError(msg)
    noise = white_noise(sigma, torch.Generator().manual_seed(args.seed))
    change_stack(images, args.output, noise, pixel_size)
    draw_stack(args.output, args.out_png)
    logger.info("wrote %d images with noise of σ = %g to %s", len(images), sigma, args.output)
