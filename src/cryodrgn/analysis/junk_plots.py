"""Figure of particles that look like junk: their scores, and images of some of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from cryodrgn.analysis.plots import Figure, new_figure

PARTICLES, JUNK = "#4c78a8", "#e45756"
COLUMNS = 8
# Between images, and a line of their labels, in units of an image's side.
GAP, LINE = 0.06, 0.11
LABEL = {"fontsize": 8, "ha": "center", "va": "bottom"}
TITLE = {"fontsize": 9, "ha": "right", "va": "center", "rotation": 90}
TITLE |= {"multialignment": "center"}
# Inches: of the figure, left of axes, of the rows of images, above them, below them.
WIDTH, MARGIN = 11.6, 0.8
GALLERY_WIDTH, ABOVE, BELOW = WIDTH - MARGIN - 0.1, 4.0, 0.5
KEY = (
    "Images are sorted along a row. row: in the file of particles, from 0; empty: probability "
    "that the image shows nothing of the model; contrast: of the model in the image, 1 of an "
    "ordinary particle;\nmisfit: of the rest with noise, in standard deviations; distance: in "
    "the latent space to the fifth neighbour, in units of the uncertainty. Images are centred, "
    "multiplied by their CTF, and low-pass filtered."
)


def plot_junk(
    scores: Mapping[str, Float[np.ndarray, " particles"]],
    is_junk: Bool[np.ndarray, " particles"],
    images: Mapping[str, Float[np.ndarray, "images box box"]],
    labels: Mapping[str, Sequence[str]],
    sentence: str,
) -> Figure:
    """Distributions of the scores above, images in rows below, each from black to white.

    Args:
        scores: Scores by name: contrast, misfit, and nearest, the distance to neighbours.
        is_junk: Which particles look like junk.
        images: Up to eight images in every row, by the title of the row.
        labels: What stands above each of the images, by the same titles.
        sentence: What was found, for the title.
    """
    sheet, places = _sheet(images, labels)
    height = GALLERY_WIDTH / sheet.shape[1] * sheet.shape[0] if images else 0.0
    total = ABOVE + height + BELOW
    # Finding a layout draws everything once more.
    figure = new_figure(WIDTH, total, is_placed_by_hand=True)

    def axes_at(left: float, bottom: float, width: float, height: float) -> Axes:
        return figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))

    figure.text(0.5, 1 - 0.15 / total, sentence, fontsize=10, ha="center", va="top", wrap=True)
    figure.text(0.5, 0.1 / total, KEY, fontsize=8, ha="center", va="bottom")
    bottom, side = total - ABOVE + 0.7, (WIDTH - MARGIN - 0.9) / 2
    _histogram(axes_at(MARGIN, bottom, side, 2.7), scores["contrast"], is_junk)
    axes = axes_at(WIDTH - 0.1 - side, bottom, side, 2.7)
    for rows, colour, name in ((~is_junk, PARTICLES, "particles"), (is_junk, JUNK, "junk")):
        if rows.any():
            values = scores["misfit"][rows], scores["nearest"][rows]
            axes.scatter(*values, s=6, c=colour, label=name, lw=0)
    axes.set(xlabel="misfit (standard deviations)", ylabel="distance to fifth neighbour")
    axes.legend(fontsize=9, markerscale=3, loc="upper right")
    if images:
        axes = axes_at(MARGIN, BELOW, GALLERY_WIDTH, height)
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, aspect="auto")
        axes.set_axis_off()
        for text, place, style in places:
            axes.text(*place, text, **style)
    return figure


def _sheet(
    images: Mapping[str, Float[np.ndarray, "images box box"]],
    labels: Mapping[str, Sequence[str]],
) -> tuple[Float[np.ndarray, "rows columns"], list[tuple[str, tuple[float, float], dict]]]:
    """All images as one, since axes for each take matplotlib seconds, and its texts.

    Texts have places in pixels, and their style.
    """
    side = next((len(image) for row in images.values() for image in row), 1)
    gap = max(1, round(GAP * side))
    bands = [_lines(labels[title]) * round(LINE * side) + gap for title in images]
    ends = np.cumsum([band + side for band in bands]).astype(int)
    shape = ends[-1] if images else 1, COLUMNS * (side + gap) - gap
    sheet, places = np.full(shape, np.nan, dtype=np.float32), []
    for (title, row), end in zip(images.items(), ends, strict=True):
        for column, image in enumerate(row):
            left, grey = column * (side + gap), image - image.min()
            # Row 0 of an image is at its bottom, that of the sheet at its top.
            sheet[end - side : end, left : left + side] = grey[::-1] / max(grey.max(), 1e-12)
            place = left + side / 2, end - side - gap / 2
            places.append((labels[title][column], place, LABEL))
        places.append((title, (-2 * gap, end - side / 2), TITLE))
    return sheet, places


def _lines(labels: Sequence[str]) -> int:
    return max(label.count("\n") + 1 if label else 0 for label in labels)


def _histogram(
    axes: Axes,
    values: Float[np.ndarray, " particles"],
    is_junk: Bool[np.ndarray, " particles"],
) -> None:
    edges = np.linspace(values.min(), values.max() + 1e-6, 81)
    for rows, colour in ((~is_junk, PARTICLES), (is_junk, JUNK)):
        # One outline, since a patch for each bar takes matplotlib a second.
        style = {"histtype": "stepfilled", "color": colour, "alpha": 0.8}
        axes.hist(values[rows], edges, log=True, **style)
    axes.set(xlabel="contrast", ylabel="particles")
