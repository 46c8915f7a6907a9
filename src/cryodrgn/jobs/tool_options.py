"""Groups of settings, and small acts, that several tools share."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.given_arrays import PathOrArray
from cryodrgn.jobs.options import MRC_ENDINGS, output_flags, require_ending
from cryodrgn.particles.options import ParticleOptions
from cryodrgn.settings import POSITIVE, Settings, option, same_as, settings

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from cryodrgn.io.image_stack import ImageStack

logger = logging.getLogger(__name__)

ROWS = "Rows to keep (.pkl, .npy or .txt: row numbers from 0, or a boolean for each)"


@settings
class RowOptions(Settings):
    """Rows to keep of a table or stack."""

    indices: PathOrArray = option("--ind", help=ROWS)

    def rows_of(self, count: int, path: Path) -> "np.ndarray":
        """The rows to keep of a file with ``count`` of them."""
        from cryodrgn.io.selection_files import load_selection

        return load_selection(self.indices).rows_of(count, str(path))


@settings
class ImageOptions(ParticleOptions):
    """Images to keep, and where their stacks lie."""

    indices: Path | None = same_as(
        ParticleOptions, "indices", default=None, group=None, help=ROWS
    )
    datadir: Path | None = same_as(ParticleOptions, "datadir", default=None, group=None)


@settings
class PixelSizeOptions(Settings):
    """Pixel size of volumes."""

    pixel_size: float | None = option(
        "--Apix",
        default=None,
        unit="Å/px",
        check=POSITIVE,
        help="Å/px (default: as in the file, else 1)",
    )


@settings
class PictureOutput(Settings):
    """Picture to draw."""

    output: Path = option(*output_flags("-png"), metavar="PNG", help="Output picture")


def save_picture(figure: "Figure", path: Path) -> Path:
    """Write a figure, say so, and return its path."""
    from cryodrgn.analysis.plots import save_figure

    save_figure(figure, path)
    logger.info("wrote %s", path)
    return path


def require_mrc(path: Path, setting: str = "output") -> None:
    """Refuse an output that is not to be an MRC file, before any work is done.

    Raises:
        ConfigError: Its name ends in something else.
    """
    require_ending(path, MRC_ENDINGS, setting)


def warn_of_copies(images: "ImageStack", source: Path, output: Path, remedy: str) -> None:
    """Warn where rows that are copies of an image become images of their own in a stack.

    Args:
        images: The images of the rows.
        source: The file that lists them.
        output: The stack to write.
        remedy: What to do instead.
    """
    copies = images.copies()
    if copies is not None:
        from cryodrgn.particles.copies import number_of_different

        logger.warning(
            "%s lists %d different images in %d rows, and each row becomes an image of its own "
            "in %s: nothing tells then that they are copies, so that half sets and held-out "
            "sets share images, and FSCs and likelihoods come out too good; %s",
            source,
            number_of_different(copies, len(images)),
            len(images),
            output,
            remedy,
        )
