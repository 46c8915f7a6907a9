"""``cryodrgn downsample``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.ignored_flags import DOWNSAMPLING_FLAGS, add_ignored_flags
from cryodrgn.cli.options import (
    MRC_ENDINGS,
    add_datadir,
    add_screen,
    output_names,
    require_ending,
)
from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    from cryodrgn.preflight.screening import Screen

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "mrcs", type=Path, help="Input particles or volume (.mrc, .mrcs, .star, .cs, or .txt)"
    )
    parser.add_argument(
        "-D",
        dest="box_size",
        type=int,
        required=True,
        metavar="D",
        help="New box size in pixels, must be even",
    )
    parser.add_argument(
        *output_names("mrc"),
        dest="output",
        type=Path,
        required=True,
        metavar="MRCS",
        help="Output projection stack (.mrcs)",
    )
    parser.add_argument("--is-vol", action="store_true", help="Flag if input .mrc is a volume")
    parser.add_argument(
        "--chunk",
        type=int,
        help="Chunksize (in # of images) to split particle stack when saving",
    )
    add_datadir(parser)
    add_screen(parser)
    add_ignored_flags(parser, DOWNSAMPLING_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import numpy as np

    from cryodrgn.data.downsample import downsample_stack, downsample_volume_file
    from cryodrgn.diagnosis.screening import find_bad
    from cryodrgn.fourier.resample import check_new_box_size
    from cryodrgn.io.particle_files import open_stack
    from cryodrgn.io.volume_headers import volume_in_words
    from cryodrgn.preflight.plans import downsampling_plan
    from cryodrgn.preflight.screening import on_sound_images, screen_stack
    from cryodrgn.rundir import ScreeningFiles

    require_ending(args.output, MRC_ENDINGS, "-o")
    if args.is_vol:
        old, pixel_size = downsample_volume_file(args.mrcs, args.box_size, args.output)
        logger.info("downsampled a volume of %d voxels to %d", old, args.box_size)
        logger.info("wrote %s (%s)", args.output, _sampling(pixel_size))
        return
    volume = volume_in_words(args.mrcs) if args.mrcs.suffix == ".mrc" else None
    if volume is not None:
        msg = (
            f"{args.mrcs} is {volume}, expected images; add --is-vol, or give the file a name "
            "that ends in .mrcs if it holds images after all"
        )
        raise ConfigError(msg)
    images, pixel_size = open_stack(args.mrcs, args.datadir)
    if len(images) == images.box_size:
        logger.warning(
            "%s is taken for %d images; is it a volume? Then add --is-vol",
            args.mrcs,
            len(images),
        )
    check_new_box_size(images.box_size, args.box_size)
    downsampling_plan(images, args.box_size, args.output.parent).announce("downsampling")

    def screened(how: "Screen") -> "np.ndarray | None":
        rows, files = np.arange(len(images)), ScreeningFiles(args.output.parent)
        bad = screen_stack(images, rows, files, how, source=str(args.mrcs))
        return bad if how == "sample" else None

    def work(known_bad: "np.ndarray | None") -> list[Path]:
        return downsample_stack(
            *(images.judged_by(find_bad), args.box_size, args.output),
            pixel_size=pixel_size,
            chunk=args.chunk,
            known_bad=known_bad,
        )

    paths = on_sound_images(screened, work, args.screen)
    names = ", ".join(str(path) for path in paths[-3:])
    new = pixel_size and pixel_size * images.box_size / args.box_size
    logger.info(
        "wrote %d images to %s (%s)",
        len(images),
        names,
        _sampling(new),
    )


def _sampling(pixel_size: float | None) -> str:
    return "pixel size unknown" if pixel_size is None else f"{pixel_size:.4g} Å/px"
