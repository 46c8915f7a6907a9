"""``cryodrgn_utils align_poses``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.tool_options import add_output, require_mrc

if TYPE_CHECKING:
    from cryodrgn.orientation.agreement import PoseAlignment

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("ref", type=Path, help="Poses to align to (.pkl)")
    parser.add_argument("poses", type=Path, help="Poses of the same images (.pkl)")
    add_output(parser, "Output: the aligned poses (.pkl)", kind="pkl")
    parser.add_argument("--ind", type=Path, help="Rows of the reference that the poses are of")
    parser.add_argument(
        "--same-hand", action="store_true", help="Do not mirror (default: if that fits better)"
    )
    group = parser.add_argument_group("Maps")
    group.add_argument("--vol", type=Path, metavar="MRC", help="Map that belongs to the poses")
    group.add_argument("--ref-vol", type=Path, metavar="MRC", help="Map to compare it with")
    group.add_argument("--out-vol", type=Path, metavar="MRC", help="Output: the aligned map")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import torch

    from cryodrgn.cli.options import require_ending
    from cryodrgn.errors import ConfigError
    from cryodrgn.io.legacy_pickle import load_poses, save_pickles
    from cryodrgn.io.selection_files import load_selection
    from cryodrgn.orientation.agreement import align_poses

    require_ending(args.output, (".pkl",), "-o")
    if (args.out_vol or args.ref_vol) and not args.vol:
        msg = "--out-vol and --ref-vol need the map that belongs to the poses; give --vol"
        raise ConfigError(msg)
    if args.out_vol:
        require_mrc(args.out_vol)
    reference = load_poses(args.ref)
    if args.ind is not None:
        rows = load_selection(args.ind).rows_of(len(reference[0]), str(args.ref))
        reference = reference[0][rows], reference[1][rows]
    poses = load_poses(args.poses)
    fixed = torch.from_numpy(reference[0]), torch.from_numpy(reference[1])
    moving = torch.from_numpy(poses[0]), torch.from_numpy(poses[1])
    found = align_poses(fixed, moving, try_hands=not args.same_hand)
    aligned = (
        found.rotations_of(moving[0]).numpy(),
        found.shifts_of(*moving).numpy(),
    )
    save_pickles(args.output, [aligned])
    logger.info("the hands are %s", "opposite: mirrored" if found.is_mirrored else "the same")
    for name, values, unit, digits in (
        ("rotations", found.distances.rad2deg(), "°", 2),
        ("shifts", found.shift_distances, " of the box", 5),
    ):
        low, median, high = values.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        logger.info(
            "%s differ by %.*f%s (median; quartiles %.*f and %.*f)",
            *(name, digits, median, unit, digits, low, digits, high),
        )
    if args.vol is not None:
        _move_map(args, found)
    logger.info("wrote %s", args.output)


def _move_map(args: argparse.Namespace, found: "PoseAlignment") -> None:
    """Write the map in the frame of the reference, and compare it there."""
    from dataclasses import replace

    import torch

    from cryodrgn.cli.tool_options import read_two_volumes
    from cryodrgn.fourier.shells import fourier_shell_correlation
    from cryodrgn.io.mrc import read_map, write_volume
    from cryodrgn.reconstruction.map_agreement import describe_resolution
    from cryodrgn.units import pixel_size_or_one

    if args.ref_vol is not None:
        reference, volume, geometry = read_two_volumes(args.ref_vol, args.vol)
    else:
        data, geometry = read_map(args.vol, cubic=True)
        reference, volume = None, torch.from_numpy(data)
    pixel_size = pixel_size_or_one(args.ref_vol or args.vol, geometry.pixel_size)
    moved = found.map_of(volume, unit=float(len(volume)))
    if reference is not None:
        curve = fourier_shell_correlation(reference, moved)
        describe_resolution(curve, pixel_size)
    if args.out_vol is not None:
        write_volume(args.out_vol, moved.numpy(), replace(geometry, pixel_size=pixel_size))
        logger.info("wrote %s", args.out_vol)
