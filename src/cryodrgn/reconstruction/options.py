"""Settings of maps that commands take as options, and the work on maps reads."""

from pathlib import Path
from typing import Literal

from cryodrgn.settings import (
    EVEN,
    POSITIVE,
    Settings,
    at_least,
    option,
    same_as,
    settings,
)

DecodingCompilation = Literal["auto", "on", "off"]
VOLUMES, SEARCH = "Volume arguments", "Search"


@settings
class DecodingOptions(Settings):
    """Execution of networks that make volumes."""

    compilation: DecodingCompilation = option(
        "--compile",
        default="auto",
        help="Compile the code that generates volumes (on) or not (off); auto compiles on "
        "CUDA where the volumes would take longer than compiling",
    )


@settings
class ProcessingOptions(Settings):
    """Processing of a decoded volume before it is written, in this order."""

    flip: bool = option(
        "--flip", default=False, group=VOLUMES, help="Flip handedness of the volumes"
    )
    invert: bool = option(
        "--invert",
        default=False,
        group=VOLUMES,
        help="Invert contrast of the volumes",
    )
    low_pass: float | None = option(
        "--low-pass",
        default=None,
        group=VOLUMES,
        metavar="Å",
        unit="Å",
        check=POSITIVE,
        help="Low-pass filter in Å",
    )
    crop: int | None = option(
        "--crop",
        default=None,
        group=VOLUMES,
        metavar="PIX",
        unit="px",
        check=at_least(1),
        help="Crop volumes to this box size after filtering",
    )


@settings
class LikeOptions(Settings):
    """Map that volumes lie on."""

    like: Path | None = option(
        "--like",
        default=None,
        group=VOLUMES,
        metavar="MRC",
        help="Map whose origin is copied so that volumes overlay it in ChimeraX, for "
        "instance that of the refinement the poses come from (default: the first voxel lies "
        "at zero)",
    )


@settings
class VolumeOptions(LikeOptions):
    """Processing of decoded volumes: pixel size, hand, sign, box size."""

    pixel_size: float | None = option(
        "--Apix",
        default=None,
        group=VOLUMES,
        check=POSITIVE,
        unit="Å/px",
        help="Angstroms per pixel of the training images (default: as in the config, else 1)",
    )
    flip: bool = same_as(ProcessingOptions, "flip")
    invert: bool = same_as(ProcessingOptions, "invert")
    volume_box_size: int | None = option(
        "-d",
        "--downsample",
        default=None,
        group=VOLUMES,
        metavar="BOX",
        unit="px",
        check=EVEN,
        help="Downsample volumes to this box size (pixels)",
    )
    low_pass: float | None = same_as(ProcessingOptions, "low_pass")
    crop: int | None = same_as(ProcessingOptions, "crop")


@settings
class AlignmentOptions(Settings):
    """Search for the rotation and shift of one volume that fit another."""

    max_box_size: int = option(
        "--max-D",
        default=40,
        group=SEARCH,
        check=at_least(4),
        unit="px",
        help="Box size compared",
    )
    first_level: int = option(
        "--r-resol",
        default=2,
        group=SEARCH,
        check=at_least(0),
        help="Level of the rotation grid that is searched exhaustively",
        default_words="2, 15° apart",
    )
    num_kept: int = option(
        "--keep-r",
        default=30,
        check=at_least(1),
        group=SEARCH,
        help="Rotations refined after the first search",
    )
    num_halvings: int = option(
        "--niter",
        default=6,
        group=SEARCH,
        check=at_least(0),
        help="Number of times that the steps of the local search are halved",
    )
    batch_size: int = option(
        "-rb", default=300, group=SEARCH, check=at_least(1), help="Rotations compared at once"
    )
