"""The part of a page on states reconstructed from images, from the files that lie there."""

import csv
from typing import Any

from cryodrgn.analysis.report import HtmlReport, Illustration
from cryodrgn.counts import counted
from cryodrgn.io.text import read_json, read_text
from cryodrgn.rundir import StateFiles

FIGURE = (
    "FSC of the half maps without mask, under the mask, of random phases under the mask, and "
    "corrected; amplitudes against 1/d² (Guinier plot); central sections of the mean of the "
    "half maps before and after sharpening, with the mask."
)


def add_states(page: HtmlReport, files: StateFiles) -> None:
    """Add a part for every state: its numbers, curves, and the names of its maps.

    Args:
        page: The page.
        files: What ``reconstruct_states`` wrote; nothing is added if it wrote nothing here.
    """
    if not files.table.is_file():
        return
    rows = list(csv.DictReader(read_text(files.table).splitlines()))
    page.heading(f"{counted(len(rows), 'state')}, reconstructed from the images")
    page.paragraph(
        "The effective number is how many different images a plain average of the same noise "
        "would have. Maps of states are regularised; half maps are not, and the sharpened map "
        "is the mean of the half maps, weighted by their FSC, with the B factor."
    )
    for row in rows:
        number = int(row["state"])
        record = files.record(number)
        page.subheading(f"State {number}")
        known = read_json(record) if record.is_file() else {}
        page.table(_figures(row, known) + _maps(files, number))
        picture = files.picture(number)
        if picture.is_file():
            page.figures([Illustration(content=picture.read_bytes(), caption=FIGURE)])


def _figures(row: dict[str, str], known: dict[str, Any]) -> list[tuple[str, str]]:
    latent = ", ".join(value for name, value in row.items() if name[0] == "z" and value)
    resolution = f"{row['resolution']} Å" if row["resolution"] else "no agreement"
    figures = [
        ("latent", latent),
        ("effective number of images", row["effective_images"]),
        ("particles near it", row["supported"]),
        ("resolution within the mask (0.143)", resolution),
    ]
    if not known:
        return figures
    if known["fitted_b_factor"] is None:
        b_factor = f"none, not sharpened: {known.get('no_fit', 'too coarse for a fit')}"
    else:
        b_factor = (
            f"{known['b_factor']:.0f} ± {known['b_factor_error']:.0f} Å², by a Guinier fit"
        )
    unmasked = known["unmasked_resolution"]
    return [
        *figures,
        ("corrected for the mask", known["resolution_in_words"]),
        ("without mask", "no agreement" if unmasked is None else f"{unmasked:.2f} Å"),
        ("B factor", b_factor),
    ]


def _maps(files: StateFiles, number: int) -> list[tuple[str, str]]:
    maps = {
        "map": files.volume(number),
        "half maps": files.half_map_a(number),
        "the other": files.half_map_b(number),
        "sharpened": files.sharpened(number),
        "local resolution": files.local_resolution(number),
        "standard error": files.standard_error(number),
    }
    return [(name, path.name) for name, path in maps.items() if path.is_file()]
