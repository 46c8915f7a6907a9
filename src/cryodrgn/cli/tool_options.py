"""Options and small acts that several tools share."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.options import MRC_ENDINGS, output_names
from cryodrgn.errors import ConfigError, ShapeMismatchError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from cryodrgn.io.image_stack import ImageStack
    from cryodrgn.io.map_geometry import MapGeometry

logger = logging.getLogger(__name__)

IMAGES_SHOWN = 9


def add_input(parser: argparse.ArgumentParser, help_text: str, name: str = "input") -> None:
    """The file that a tool works on."""
    parser.add_argument(name, type=Path, help=help_text)


def add_output(
    parser: argparse.ArgumentParser, help_text: str, *, kind: str = "mrc", required: bool = True
) -> None:
    """The file that a tool writes."""
    parser.add_argument(
        *output_names(kind),
        dest="output",
        type=Path,
        required=required,
        metavar=kind.upper(),
        help=help_text,
    )


def add_drawing(parser: argparse.ArgumentParser, default: str) -> None:
    """The picture that a tool draws."""
    parser.add_argument(
        *output_names("-png"),
        dest="output",
        type=Path,
        default=Path(default),
        metavar="PNG",
        help="Output picture (default: %(default)s)",
    )


def add_show(parser: argparse.ArgumentParser) -> None:
    """The option to draw a UMAP of the latents, too."""
    parser.add_argument(
        "--show", action="store_true", help="Also draw the map, as a picture beside the output"
    )


def save_map(args: argparse.Namespace, places: "np.ndarray", names: tuple[str, str]) -> None:
    """Write a map of the latents, and its picture where ``--show`` asks for it."""
    from cryodrgn.analysis.latent_plots import plot_marginals
    from cryodrgn.analysis.plots import save_figure
    from cryodrgn.io.legacy_pickle import save_pickles

    save_pickles(args.output, [places])
    logger.info("wrote %d places to %s", len(places), args.output)
    if args.show:
        picture = args.output.with_suffix(".png")
        save_figure(plot_marginals(places, names), picture)
        logger.info("wrote %s", picture)


def add_seed(parser: argparse.ArgumentParser) -> None:
    """The seed of random numbers."""
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )


def add_indices(parser: argparse._ActionsContainer, *, required: bool = True) -> None:
    """The file that selects rows."""
    parser.add_argument(
        "--ind",
        type=Path,
        required=required,
        help="Rows to keep (.pkl, .npy or .txt: row numbers from 0, or a boolean for each)",
    )


def add_picture(parser: argparse.ArgumentParser) -> None:
    """A picture of the first images written."""
    parser.add_argument(
        "--out-png", type=Path, metavar="PNG", help="Picture of the first images of the output"
    )


def beside(path: Path, ending: str) -> Path:
    """A file beside another one, its name prolonged by ``_ending``."""
    return path.with_name(f"{path.stem}_{ending}.mrc")


def add_latents(parser: argparse.ArgumentParser) -> None:
    """Latents, all of them or every n-th."""
    parser.add_argument("z", type=Path, help="Latent of every particle (z.pkl)")
    parser.add_argument(
        "--stride",
        type=int,
        default=1,
        metavar="N",
        help="Take every N-th particle only (default: all)",
    )


def read_latents(args: argparse.Namespace) -> "np.ndarray":
    """The latents of the particles that ``--stride`` keeps.

    Raises:
        ConfigError: The stride is no positive number, or fewer than two particles are left.
    """
    from cryodrgn.io.legacy_pickle import load_latents

    if args.stride < 1:
        msg = f"--stride must be at least 1, got {args.stride}"
        raise ConfigError(msg)
    latents = load_latents(args.z)[:: args.stride]
    if len(latents) < 2:
        msg = f"{args.z} has {len(latents)} particles at --stride {args.stride}, two are needed"
        raise ConfigError(msg)
    return latents


def require_dimensions(latents: "np.ndarray", count: int, path: Path) -> None:
    """Refuse latents of another number of dimensions.

    Raises:
        ShapeMismatchError: They have another number.
    """
    if latents.shape[1] != count:
        msg = (
            f"{path} holds a latent of dimension {latents.shape[1]}, expected {count}; "
            "plot_z_pca draws any"
        )
        raise ShapeMismatchError(msg)


def read_two_volumes(
    first: Path, second: Path
) -> tuple["torch.Tensor", "torch.Tensor", "MapGeometry"]:
    """Two volumes of one box size, and sampling and place of the first one.

    Raises:
        ShapeMismatchError: The volumes differ in size.
    """
    import torch

    from cryodrgn.io.mrc import read_map

    one, geometry = read_map(first, cubic=True)
    other, _ = read_map(second, cubic=True)
    if one.shape != other.shape:
        msg = f"{first} has {len(one)} voxels along a side, but {second} has {len(other)}"
        raise ShapeMismatchError(msg)
    if len(one) % 2:
        msg = f"{first} has {len(one)} voxels along a side; it must be an even number"
        raise ConfigError(msg)
    return torch.from_numpy(one), torch.from_numpy(other), geometry


def draw_images(images: "ImageStack", path: Path, *, negate: bool = False) -> None:
    """Draw the first images of a stack, with their contrast inverted where it is asked for."""
    import numpy as np

    from cryodrgn.analysis.image_plots import plot_images
    from cryodrgn.analysis.plots import save_figure

    count = min(IMAGES_SHOWN, len(images))
    pixels = images.read(np.arange(count))
    save_figure(plot_images(-pixels if negate else pixels), path)


def draw_stack(stack: Path, path: Path | None) -> None:
    """Draw the first images of a stack on disk, if a picture was asked for."""
    if path is not None:
        from cryodrgn.io.image_stack import ImageStack

        draw_images(ImageStack.whole_files([stack]), path)


def require_mrc(path: Path) -> None:
    """Refuse an output that is not to be an MRC file, before any work is done."""
    from cryodrgn.cli.options import require_ending

    require_ending(path, MRC_ENDINGS, "-o")
