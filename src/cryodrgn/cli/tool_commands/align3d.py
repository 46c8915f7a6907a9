"""``cryodrgn_utils align3d``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.ignored_flags import ALIGNMENT_FLAGS, add_ignored_flags
from cryodrgn.cli.tool_options import add_output, read_two_volumes, require_mrc

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("ref", type=Path, help="Volume to align to (.mrc)")
    parser.add_argument("vol", type=Path, help="Volume to move (.mrc)")
    add_output(parser, "Output: the moved volume (.mrc)")
    parser.add_argument(
        "--flip", action="store_true", help="Mirror the volume before it is aligned"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="Say the rotation matrix")
    group = parser.add_argument_group("Search")
    group.add_argument(
        "--max-D", type=int, default=40, help="Box size compared (default: %(default)s)"
    )
    group.add_argument(
        "--t-extent", type=float, help="Largest shift in pixels (default: a quarter of the box)"
    )
    group.add_argument(
        "--r-resol",
        type=int,
        default=2,
        help="Level of the grid of rotations searched whole (default: %(default)s, 15° apart)",
    )
    group.add_argument(
        "--keep-r",
        type=int,
        default=30,
        help="Rotations refined after the first search (default: %(default)s)",
    )
    group.add_argument(
        "--niter",
        type=int,
        default=6,
        help="Halvings of the last, local steps (default: %(default)s)",
    )
    group.add_argument(
        "-rb", type=int, default=300, help="Rotations compared at once (default: %(default)s)"
    )
    add_ignored_flags(parser, ALIGNMENT_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from dataclasses import replace

    from cryodrgn.fourier.shells import fourier_shell_correlation
    from cryodrgn.imaging.projection import move_volume
    from cryodrgn.io.mrc import write_volume
    from cryodrgn.reconstruction.align import AlignmentSettings, align_volume
    from cryodrgn.reconstruction.map_agreement import describe_resolution
    from cryodrgn.units import pixel_size_or_one

    require_mrc(args.output)
    reference, volume, geometry = read_two_volumes(args.ref, args.vol)
    pixel_size = pixel_size_or_one(args.ref, geometry.pixel_size)
    volume = volume.flip(0) if args.flip else volume
    found = align_volume(
        reference,
        volume,
        max_shift=args.t_extent,
        settings=AlignmentSettings(
            max_box_size=args.max_D,
            first_level=args.r_resol,
            num_kept=args.keep_r,
            num_halvings=args.niter,
            batch_size=args.rb,
        ),
    )
    moved = move_volume(volume, found.rotation, found.shift)
    # It lies on the reference now, wherever it was before.
    write_volume(args.output, moved.numpy(), replace(geometry, pixel_size=pixel_size))
    shift = " ".join(f"{value:.3f}" for value in found.shift.tolist())
    logger.info("correlation %.4f, shift (x y z) of %s voxels", found.correlation, shift)
    if args.verbose:
        logger.info("rotation matrix:\n%s", found.rotation.numpy())
    describe_resolution(fourier_shell_correlation(reference, moved), pixel_size)
    logger.info("wrote %s", args.output)
