"""Pictures of series of volumes: surfaces, slices, projections, differences, and films.

All pictures of a series share view, level, grey values and scale, so that they can be compared.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image, ImageDraw

from cryodrgn.analysis.surfaces import (
    BACKGROUND,
    Surface,
    iso_surface,
    render,
    shared_level,
    view,
)

Volume = Float[np.ndarray, "box box box"]
Picture = UInt8[np.ndarray, "height width 3"]

PANEL = 150
FILM_SIDE = 360
MILLISECONDS_PER_FRAME = 150
# By the array axis (z, y, x) along which one looks: azimuth and elevation of the view.
VIEWS = ((0.0, 90.0), (0.0, 0.0), (90.0, 0.0))
AXIS_NAMES = ("z", "y", "x")


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Camera, level and colours with which the volumes of a series are rendered.

    Attributes:
        axis: Array axis along which projections are taken, 0 for z.
        level: Density of the surfaces.
        sign: −1 where the molecules have negative density, and are drawn with the other sign.
        extent: Half the width of the pictures, as a fraction of the volume's side.
        slice_range: Densities that are black and white in slices.
        projection_range: The same for projections.
        difference: Largest magnitude in the projections of differences.
    """

    axis: int
    level: float
    sign: int
    extent: float
    slice_range: tuple[float, float]
    projection_range: tuple[float, float]
    difference: float


def choose_look(volumes: Sequence[Volume]) -> Look:
    """The view in which volumes differ most, and levels that suit all of them."""
    mean = np.mean(volumes, axis=0)
    centred = mean - np.median(mean)
    sign = -1 if float((centred**3).sum()) < 0 else 1
    drawn = volumes if sign > 0 else [-volume for volume in volumes]
    level = shared_level(drawn)
    axis = int(np.argmax([_change_of_outlines(drawn, axis, level) for axis in range(3)]))
    inside = np.argwhere(np.max(drawn, axis=0) > level) / len(mean) - 0.5
    reach = np.percentile(np.linalg.norm(inside, axis=1), 99.5) if len(inside) else 0.5
    slices = [_slice(volume, axis) for volume in drawn]
    projections = [volume.sum(axis) for volume in drawn]
    steps = [np.abs(b - a).max() for a, b in pairwise(projections)]
    return Look(
        axis=axis,
        level=level,
        sign=sign,
        extent=float(np.clip(1.12 * reach, 0.1, 0.5)),
        slice_range=_range(slices),
        projection_range=_range(projections),
        difference=float(max(steps, default=1.0)) or 1.0,
    )


def surfaces_of(volumes: Sequence[Volume], look: Look) -> list[Surface]:
    """The surface of every volume."""
    return [iso_surface(look.sign * volume, look.level) for volume in volumes]


def tile(
    volume: Volume, surface: Surface, look: Look, colour: tuple[float, float, float]
) -> Picture:
    """Surface from the front and from the side, over central slice and projection."""
    azimuth, elevation = VIEWS[look.axis]
    side_view = (azimuth + 90, 10.0) if elevation == 0 else (azimuth, 10.0)
    shaded = [
        render(surface, view(*angles), size=PANEL, colour=colour, extent=look.extent)
        for angles in (VIEWS[look.axis], side_view)
    ]
    drawn = look.sign * volume
    grey = [
        _grey(_slice(drawn, look.axis), look.slice_range, look.extent),
        _grey(drawn.sum(look.axis), look.projection_range, look.extent),
    ]
    return np.concatenate([np.concatenate(row, axis=1) for row in (shaded, grey)])


def difference_tile(first: Volume, second: Volume, look: Look) -> Picture:
    """Projection of what the second volume has more (red) and less (blue) than the first."""
    difference = look.sign * (second - first).sum(look.axis) / look.difference
    cropped = _cropped(difference, look.extent)
    colours = colormaps["RdBu_r"](0.5 + 0.5 * np.clip(cropped, -1, 1))[..., :3]
    return _resized((255 * colours).astype(np.uint8), PANEL)


def film(
    surfaces: Sequence[Surface],
    look: Look,
    colours: Float[np.ndarray, "volumes 4"],
    *,
    frame_of_view: Float[np.ndarray, "3 3"] | None = None,
    size: tuple[int, int] = (FILM_SIDE, FILM_SIDE),
    milliseconds: int = MILLISECONDS_PER_FRAME,
    first: int = 0,
) -> bytes:
    """A GIF that goes through surfaces forwards and backwards, with their numbers.

    Args:
        surfaces: The surfaces.
        look: How they are looked at.
        colours: Of each.
        frame_of_view: Where they are looked at from; None takes the view of the look.
        size: Width and height in pixels.
        milliseconds: How long each is shown.
        first: Number of the first.
    """
    frames = []
    angles = view(*VIEWS[look.axis]) if frame_of_view is None else frame_of_view
    side = min(size)
    for number, surface in enumerate(surfaces):
        red, green, blue = (float(value) for value in colours[number, :3])
        shaded = render(
            surface,
            angles,
            size=side,
            colour=(red, green, blue),
            extent=look.extent,
        )
        frame = Image.new("RGB", size, BACKGROUND)
        corner = ((size[0] - side) // 2, (size[1] - side) // 2)
        frame.paste(Image.fromarray(shaded), corner)
        ImageDraw.Draw(frame).text((8, 6), str(number + first), fill=(60, 60, 60), font_size=18)
        frames.append(frame.quantize(128))
    frames += frames[-2:0:-1]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
    )
    return buffer.getvalue()


def as_png(picture: Picture) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def _change_of_outlines(volumes: Sequence[Volume], axis: int, level: float) -> float:
    return float(np.var([volume.max(axis) > level for volume in volumes], axis=0).sum())


def _slice(volume: Volume, axis: int) -> Float[np.ndarray, "box box"]:
    return np.take(volume, volume.shape[axis] // 2, axis)


def _range(images: Sequence[np.ndarray]) -> tuple[float, float]:
    low, high = np.percentile(images, [0.5, 99.9])
    return float(low), float(high) if high > low else float(low) + 1


def _grey(
    image: Float[np.ndarray, "box box"], limits: tuple[float, float], extent: float
) -> Picture:
    scaled = np.clip((_cropped(image, extent) - limits[0]) / (limits[1] - limits[0]), 0, 1)
    grey = _resized((255 * scaled).astype(np.uint8), PANEL)
    return np.repeat(grey[..., None], 3, axis=2)


def _cropped(
    image: Float[np.ndarray, "box box"], extent: float
) -> Float[np.ndarray, "side side"]:
    """The middle of an image, with the second axis pointing up as in the views."""
    half = max(2, round(extent * len(image)))
    middle = len(image) // 2
    part = slice(max(0, middle - half), middle + half)
    return image[part, part][::-1]


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
