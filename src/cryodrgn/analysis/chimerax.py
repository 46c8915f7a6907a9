"""Scripts that open volumes in ChimeraX."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float


def chimerax_script(
    folder: Path,
    series: Sequence[tuple[str, Sequence[Path], Float[np.ndarray, "_ 4"], float]],
) -> str:
    """Commands that open series of volumes, each with one level and its own colours.

    Every series becomes one model whose volumes can be stepped through with its slider; the
    first series is shown, the others are hidden.

    Args:
        folder: Where the script will lie; volumes are named from there.
        series: Name, files, colours and level of every series.
    """
    lines = ["# open this file in ChimeraX; it names the volumes relative to itself"]
    number = 0
    for index, (name, paths, colours, level) in enumerate(series):
        first = number + 1
        for path, colour in zip(paths, colours, strict=True):
            number += 1
            red, green, blue = (round(255 * float(value)) for value in colour[:3])
            place = path.relative_to(folder).as_posix()
            shade = f"#{red:02x}{green:02x}{blue:02x}"
            lines.append(f"open {place} id {number} name {name}_{path.stem}")
            lines.append(
                f"volume #{number} style surface step 1 level {level:.6g} color {shade}"
            )
        if index:
            lines.append(f"hide #{first}-{number} models")
        else:
            lines.append(f"mseries slider #{first}-{number}")
    return "\n".join([*lines, "lighting soft", "view", ""])
