"""Options and small acts that several tools share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.options import MRC_ENDINGS
from cryodrgn.errors import ConfigError, ShapeMismatchError

if TYPE_CHECKING:
    import torch

    from cryodrgn.io.image_stack import ImageStack

IMAGES_SHOWN = 9


def add_input(parser: argparse.ArgumentParser, help_text: str, name: str = "input") -> None:
    """The file that a tool works on."""
    parser.add_argument(name, type=Path, help=help_text)


def add_output(
    parser: argparse.ArgumentParser, help_text: str, *, required: bool = True
) -> None:
    """The file that a tool writes."""
    parser.add_argument("-o", dest="output", type=Path, required=required, help=help_text)


def add_seed(parser: argparse.ArgumentParser) -> None:
    """The seed of random numbers."""
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )


def add_indices(parser: argparse._ActionsContainer, *, required: bool = True) -> None:
    """The index pickle that selects rows."""
    parser.add_argument(
        "--ind", type=Path, required=required, help="Indices of the rows to keep (.pkl)"
    )


def add_picture(parser: argparse.ArgumentParser) -> None:
    """A picture of the first images written."""
    parser.add_argument(
        "--out-png", type=Path, metavar="PNG", help="Picture of the first images of the output"
    )


def beside(path: Path, ending: str) -> Path:
    """A file beside another one, its name prolonged by ``_ending``."""
    return path.with_name(f"{path.stem}_{ending}.mrc")


def read_two_volumes(
    first: Path, second: Path
) -> tuple["torch.Tensor", "torch.Tensor", float | None]:
    """Two volumes of one box size, and the pixel size in Å that the first one gives.

    Raises:
        ShapeMismatchError: The volumes differ in size.
    """
    import torch

    from cryodrgn.io.mrc import read_volume

    (one, pixel_size), (other, _) = read_volume(first), read_volume(second)
    if one.shape != other.shape:
        msg = f"{first} has {len(one)} voxels along a side, but {second} has {len(other)}"
        raise ShapeMismatchError(msg)
    if len(one) % 2:
        msg = f"{first} has {len(one)} voxels along a side; it must be an even number"
        raise ConfigError(msg)
    return torch.from_numpy(one), torch.from_numpy(other), pixel_size


def draw_images(images: "ImageStack", path: Path) -> None:
    """Draw the first images of a stack."""
    import numpy as np

    from cryodrgn.analysis.image_plots import plot_images
    from cryodrgn.analysis.plots import save_figure

    count = min(IMAGES_SHOWN, len(images))
    save_figure(plot_images(images.read(np.arange(count))), path)


def draw_stack(stack: Path, path: Path | None) -> None:
    """Draw the first images of a stack on disk, if a picture was asked for."""
    if path is not None:
        from cryodrgn.io.image_stack import ImageStack

        draw_images(ImageStack.whole_files([stack]), path)


def require_mrc(path: Path) -> None:
    """Refuse an output that is not to be an MRC file, before any work is done."""
    from cryodrgn.cli.options import require_ending

    require_ending(path, MRC_ENDINGS, "-o")
