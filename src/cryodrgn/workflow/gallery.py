"""Pictures of series of volumes, drawn from their files and written beside them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.analysis.latent_plots import colours
from cryodrgn.analysis.volume_pictures import (
    Look,
    Volume,
    as_png,
    choose_look,
    difference_tile,
    film,
    surfaces_of,
    tile,
)
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.mrc import read_volume
from cryodrgn.progress import Progress
from cryodrgn.rundir import VolumeSeries

LARGEST = 128
PLAIN_COLOUR = (0.36, 0.55, 0.76)


def draw_series(
    folder: VolumeSeries, paths: Sequence[Path], progress: Progress, *, is_path: bool
) -> Look:
    """Draw every volume, the differences of neighbours and, along a path, a film.

    Args:
        folder: Where the pictures go.
        paths: The volumes, in order.
        progress: Is told of every volume.
        is_path: Whether the volumes follow one another as the parts of a motion.

    Returns:
        How the volumes are looked at.
    """
    volumes = [_for_pictures(read_volume(path)[0]) for path in paths]
    look = choose_look(volumes)
    surfaces = surfaces_of(volumes, look)
    for number, (volume, surface) in enumerate(zip(volumes, surfaces, strict=True)):
        save_bytes(folder.picture(number), as_png(tile(volume, surface, look, PLAIN_COLOUR)))
        progress.advance()
    for number, (first, second) in enumerate(pairwise(volumes)):
        save_bytes(folder.difference(number), as_png(difference_tile(first, second, look)))
    if is_path:
        save_bytes(
            folder.film, film(surfaces, look, colours(len(volumes)), first=folder.offset)
        )
    return look


def write_film(
    path: Path,
    volumes: Sequence[Path],
    progress: Progress,
    *,
    frame: Float[np.ndarray, "3 3"] | None,
    level: float | None,
    size: tuple[int, int],
    milliseconds: int,
    first: int,
) -> None:
    """Write a film of volumes as a GIF.

    Args:
        path: The film.
        volumes: The volumes, in order.
        progress: Is told of every volume.
        frame: Where they are looked at from; None chooses.
        level: Density of the surfaces; None chooses.
        size: Width and height in pixels.
        milliseconds: How long each is shown.
        first: Number of the first.
    """
    read = []
    for volume in volumes:
        read.append(_for_pictures(read_volume(volume)[0]))
        progress.advance()
    look = choose_look(read)
    if level is not None:
        # Densities are drawn with the sign of the molecule.
        look = replace(look, level=abs(level), sign=1 if level >= 0 else -1)
    content = film(
        surfaces_of(read, look),
        look,
        colours(len(read)),
        frame_of_view=frame,
        size=size,
        milliseconds=milliseconds,
        first=first,
    )
    save_bytes(path, content)


def _for_pictures(volume: Volume) -> Volume:
    """A volume no larger than pictures need, with the same densities."""
    size = len(volume)
    if size <= LARGEST or size % 2:
        return volume
    smaller = downsample_volume(torch.from_numpy(volume), LARGEST)
    return smaller.numpy() * (LARGEST / size) ** 3


def look_as_mapping(look: Look, pixel_size: float, box_size: int) -> dict[str, object]:
    """Camera and level of the pictures, for a report.

    Args:
        look: How the volumes are looked at.
        pixel_size: Å/px of the volumes.
        box_size: Their side in voxels.
    """
    return {
        "axis": look.axis,
        "sign": look.sign,
        "level": look.level,
        "width": float(np.round(2 * look.extent * pixel_size * box_size, 1)),
    }


def save_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)
