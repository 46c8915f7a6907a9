"""Sampling of the images of one set, which a reconstruction needs to be the same for all."""

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import MetadataError

# Relative difference up to which two pixel sizes are one. Files round them to six decimals or
# to float32, and magnifications to whole numbers (2e-5). By this much, the edge of a box of 500
# pixels moves by 0.025 pixels; calibrations of two microscopes differ by more.
TOLERANCE = 1e-4
SHOWN = 6
REMEDY = (
    "choose those of one with cryodrgn select --particles FILE --pixel-size Å -o PKL (and "
    "`ctf`, if it is given here), and give that file with `indices`"
)


def rows_by_pixel_size(
    pixel_sizes: Float[np.ndarray, " particles"],
) -> list[Int[np.ndarray, " rows"]]:
    """Rows of the images of each pixel size, the most frequent first.

    Args:
        pixel_sizes: Å/px of each image; those within :data:`TOLERANCE` are one.
    """
    unique, places = np.unique(pixel_sizes, return_inverse=True)
    numbers, start = np.zeros(len(unique), dtype=np.int64), 0
    for place in range(1, len(unique)):
        if unique[place] > unique[start] * (1 + TOLERANCE):
            start = place
            numbers[place:] += 1
    if len(unique) == 0 or numbers[-1] == 0:
        return [np.arange(len(pixel_sizes))]
    of_row = numbers[places.ravel()]
    groups = [np.flatnonzero(of_row == number) for number in range(numbers[-1] + 1)]
    return sorted(groups, key=len, reverse=True)


def common_pixel_size(
    pixel_sizes: Float[np.ndarray, " particles"], source: str, remedy: str = REMEDY
) -> float:
    """The pixel size that all images share, in Å.

    Args:
        pixel_sizes: Å/px of each image.
        source: The file that lists the images, for messages.
        remedy: What to do if they differ.

    Raises:
        MetadataError: They differ by more than rounding.
    """
    groups = rows_by_pixel_size(pixel_sizes)
    if len(groups) > 1:
        msg = (
            f"{source} mixes images of {in_words(pixel_sizes, groups)}, which would need one "
            f"pixel size; {remedy}"
        )
        raise MetadataError(msg)
    return float(pixel_sizes[0])


def in_words(
    pixel_sizes: Float[np.ndarray, " particles"], groups: list[Int[np.ndarray, " rows"]]
) -> str:
    """The pixel sizes there are, and how many images have each."""
    named = [
        f"{pixel_sizes[rows[0]]:.6g} Å/px ({len(rows)} image{'s' * (len(rows) > 1)})"
        for rows in groups[:SHOWN]
    ]
    if len(groups) > SHOWN:
        named[-1:] = [f"{len(groups) - SHOWN + 1} other sizes"]
    return " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
