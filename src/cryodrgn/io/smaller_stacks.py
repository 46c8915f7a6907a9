"""Particle files of images at another box size: all stacks, with their metadata."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.locate import locate_stacks
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.star import StarTable, particle_block, read_star
from cryodrgn.io.star_rows import Change, rewrite_star
from cryodrgn.io.text import read_text

# Columns of lengths in pixels of the images, of the size of a pixel, and of a box.
IN_PIXELS = ("rlnOriginX", "rlnOriginY", "rlnOriginXPrior", "rlnOriginYPrior")
PIXEL_SIZES = ("rlnImagePixelSize", "rlnDetectorPixelSize")
BOX = "rlnImageSize"


def stacks_of(
    source: Path, datadir: Path | None, chosen: Int[np.ndarray, " rows"] | None
) -> dict[str, Path]:
    """The stacks that a .star or .txt file names, by their names there, in order.

    Args:
        source: The file.
        datadir: Folder of the stacks.
        chosen: Rows of which the stacks are wanted; None wants all.

    Raises:
        InputFileError: A stack is not found.
    """
    if source.suffix == ".star":
        particles = RelionParticles(source)
        names, _ = (particles if chosen is None else particles.select(chosen)).image_names()
        return locate_stacks(names, source, datadir)
    lines = [line.strip() for line in read_text(source).splitlines()]
    return {line: source.parent / line for line in lines if line}


def places_below(folder: Path, stacks: Mapping[str, Path]) -> dict[str, Path]:
    """A place for every stack below a folder: its path from the folder that holds all of them.

    Args:
        folder: The folder.
        stacks: The stacks by name.

    Raises:
        ConfigError: A place is that of one of the stacks themselves.
    """
    whole = {name: path.resolve() for name, path in stacks.items()}
    common = Path(os.path.commonpath([path.parent for path in whole.values()]))
    found = {name: folder / path.relative_to(common) for name, path in whole.items()}
    taken = {path.resolve() for path in found.values()} & set(whole.values())
    if taken:
        msg = (
            f"{min(taken)} is one of the stacks that are read; give another folder for the new "
            "ones with `outdir`"
        )
        raise ConfigError(msg)
    return found


def write_star_of_smaller(
    source: Path,
    output: Path,
    stacks: Mapping[str, Path],
    box_size: int,
    pixel_sizes: tuple[Float[np.ndarray, " rows"], float] | float,
    chosen: Int[np.ndarray, " rows"] | None,
) -> None:
    """Write the rows of a .star file for the same images at another box size.

    Names of stacks, box size and pixel size follow; origins in pixels are those of the new
    pixels, origins in Å stay.

    Args:
        source: The file of the images as they were.
        output: The file to write.
        stacks: New stacks by the names of the old ones.
        box_size: New box size in pixels.
        pixel_sizes: New pixel size over the old one; or, of images that had several, the old
            one of every row of the file and the new one of all.
        chosen: Rows to keep; None keeps all.
    """

    def renamed(text: str) -> str:
        number, _, name = text.partition("@")
        return f"{number}@{os.path.relpath(stacks[name].resolve(), output.resolve().parent)}"

    tables = read_star(source)
    particles = particle_block(source, {block: len(table) for block, table in tables.items()})
    rules: dict[str, Change] = {"rlnImageName": renamed, BOX: lambda _: str(box_size)}
    of_particles: dict[str, Change] = {}
    if isinstance(pixel_sizes, tuple):
        old, new = pixel_sizes
        rules["rlnImagePixelSize"] = lambda _: f"{new:.6f}"
        of_particles = _of_rows(tables[particles], old, new, chosen)
    else:
        factor = pixel_sizes
        rules |= dict.fromkeys(PIXEL_SIZES, lambda text: f"{float(text) * factor:.6f}")
        rules |= dict.fromkeys(IN_PIXELS, lambda text: f"{float(text) / factor:.6f}")
    changes = {}
    for block, table in tables.items():
        known = rules | of_particles if block == particles else rules
        changes[block] = {name: known[name] for name in table.names if name in known}
    rewrite_star(source, output, changes, chosen)


def _of_rows(
    table: StarTable,
    old: Float[np.ndarray, " rows"],
    new: float,
    chosen: Int[np.ndarray, " rows"] | None,
) -> dict[str, Change]:
    """New values of columns in pixels, and of the size of a pixel, row by row."""
    rows = np.arange(len(table)) if chosen is None else chosen
    factors = new / old[rows]
    powers = dict.fromkeys(IN_PIXELS, -1) | {"rlnDetectorPixelSize": 1}
    return {
        name: [f"{value:.6f}" for value in table.numbers(name)[rows] * factors**power]
        for name, power in powers.items()
        if name in table
    }


def write_list_of_stacks(output: Path, stacks: Sequence[Path]) -> None:
    """Write a .txt file that names stacks, a line each, from its own folder."""
    folder = output.resolve().parent
    names = [os.path.relpath(path.resolve(), folder) for path in stacks]
    with atomic_path(output) as partial:
        partial.write_text("\n".join(names))
