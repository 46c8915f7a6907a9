"""Screening of bad images: not finite, constant, with hot pixels, or of extreme contrast."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from cryodrgn.io.image_stack import NOT_FINITE, ImageStack
from cryodrgn.particles.sampling import runs_of_one_shape

# A look takes eight times as much memory.
BYTES_PER_BATCH = 2**23
# Robust standard deviations beyond which a pixel of an image, or an image among others, is odd.
HOT_PIXEL, EXTREME_IMAGE = 20.0, 8.0
# How many times as far outside as those of other images the pixels of an odd one must be.
HOT_AMONG_OTHERS = 4.0
# Median absolute deviation of a normal distribution, in standard deviations.
MAD_OF_NORMAL = 0.6745
# Pixels of an image from which its standard deviation is told in passing.
PIXELS_SAMPLED = 1024
CONSTANT, HOT = "no contrast at all", "hot pixels"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Screening:
    """Result of screening a sample of images.

    Attributes:
        num_screened: Images looked at.
        not_finite: Rows of images with values that are no finite numbers.
        constant: Rows of images whose pixels are all the same.
        hot_pixels: Rows of images with pixels far outside their others.
        extreme: Rows of images whose standard deviation is far from that of others.
        mean: Mean of the pixels of the sound images.
        deviation: Median of their standard deviations.
    """

    num_screened: int
    not_finite: Int[np.ndarray, " a"]
    constant: Int[np.ndarray, " b"]
    hot_pixels: Int[np.ndarray, " c"]
    extreme: Int[np.ndarray, " d"]
    mean: float
    deviation: float

    def findings(self) -> dict[str, Int[np.ndarray, " rows"]]:
        """Rows by what is odd about them, where anything is."""
        named = {
            "values that are not finite": self.not_finite,
            CONSTANT: self.constant,
            HOT: self.hot_pixels,
            "extreme contrast": self.extreme,
        }
        return {words: rows for words, rows in named.items() if len(rows)}

    @property
    def unusable(self) -> Int[np.ndarray, " rows"]:
        """Rows of images that cannot be computed with."""
        return np.union1d(self.not_finite, self.constant)

    def in_words(self) -> str:
        """One sentence."""
        found = self.findings()
        if not found:
            return f"{self.num_screened} images were screened, and none is bad."
        parts = [f"{len(rows)} with {words}" for words, rows in found.items()]
        return f"Of {self.num_screened} images screened there are {', '.join(parts)}."


@dataclass(frozen=True, slots=True, eq=False)
class _Measures:
    """Statistics of every image by which it is judged.

    Attributes:
        is_finite: Whether all its values are finite.
        mean: Mean of its pixels.
        deviation: Their standard deviation.
        outlier: How far the farthest pixel is from the median, in robust standard deviations.
        is_alone: Whether that pixel is far from its neighbours, too.
    """

    is_finite: Bool[np.ndarray, " images"]
    mean: Float[np.ndarray, " images"]
    deviation: Float[np.ndarray, " images"]
    outlier: Float[np.ndarray, " images"]
    is_alone: Bool[np.ndarray, " images"]

    @property
    def is_constant(self) -> Bool[np.ndarray, " images"]:
        return self.is_finite & (self.deviation == 0)

    @property
    def is_sound(self) -> Bool[np.ndarray, " images"]:
        return self.is_finite & (self.deviation != 0)

    def is_hot(self, typical: float) -> Bool[np.ndarray, " images"]:
        """True for images with hot pixels, where ``typical`` is the outlier of others.

        Particles stand out of images with little noise, too, but over several pixels, and in
        all images.
        """
        limit = max(HOT_PIXEL, HOT_AMONG_OTHERS * typical)
        return self.is_sound & (self.outlier > limit) & self.is_alone


def screen_images(images: ImageStack, rows: Int[np.ndarray, " rows"]) -> Screening:
    """Look at some images of a stack.

    Args:
        images: The stack.
        rows: Rows to look at.
    """
    parts = [_measured(batch) for batch in _batches(images, rows)]
    names = [field.name for field in fields(_Measures)]
    found = _Measures(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in names)
    )
    sound = found.is_sound
    return Screening(
        num_screened=len(rows),
        not_finite=rows[~found.is_finite],
        constant=rows[found.is_constant],
        hot_pixels=rows[found.is_hot(_median(found.outlier[sound]))],
        extreme=rows[sound][_far_out(np.log(found.deviation[sound]))],
        mean=float(found.mean[sound].mean()) if sound.any() else 0.0,
        deviation=_median(found.deviation[sound]),
    )


def find_bad(
    images: Float[np.ndarray, "batch height width"],
) -> dict[str, Int[np.ndarray, " _"]]:
    """Images of a batch that cannot be computed with, found in passing.

    The range of the pixels tells at little cost which images are worth a closer look. What
    stands out by less than ten standard deviations is not looked at.

    Args:
        images: The batch; neighbours tell what is usual.

    Returns:
        Their places in the batch, by what is wrong with them.
    """
    suspect = _is_suspect(images)
    if not suspect.any():
        return {}
    found = _measured(images)
    typical = _median(found.outlier[found.is_sound & ~suspect])
    named = {
        NOT_FINITE: ~found.is_finite,
        CONSTANT: found.is_constant,
        HOT: found.is_hot(typical) & suspect,
    }
    return {what: np.flatnonzero(bad) for what, bad in named.items() if bad.any()}


def _is_suspect(
    images: Float[np.ndarray, "batch height width"],
) -> Bool[np.ndarray, " batch"]:
    pixels = images.reshape(len(images), -1)
    # An odd step, so that not always the same columns are taken.
    sample = pixels[:, :: pixels.shape[1] // PIXELS_SAMPLED | 1]
    # What a pixel at the limit comes to in units of a deviation that it is part of; half of it.
    limit = HOT_PIXEL / (2 * (1 + HOT_PIXEL**2 / sample.shape[1]) ** 0.5)
    with np.errstate(invalid="ignore", over="ignore"):
        lowest, highest = pixels.min(1), pixels.max(1)
        mean, deviation = sample.mean(1), sample.std(1)
        away = np.maximum(highest - mean, mean - lowest)
        # So that what is not a number is suspect, too.
        return ~(away <= limit * deviation) | (highest == lowest)


def _measured(images: Float[np.ndarray, "batch height width"]) -> _Measures:
    good = np.asarray(np.isfinite(images).all((1, 2)))
    pixels = np.where(good[:, None, None], images, 0.0).reshape(len(images), -1)
    away = np.abs(pixels - np.median(pixels, axis=1, keepdims=True))
    spread = np.median(away, axis=1) / MAD_OF_NORMAL
    return _Measures(
        good,
        pixels.mean(1, dtype=np.float64),
        pixels.std(1, dtype=np.float64),
        away.max(1) / np.maximum(spread, 1e-30),
        _stands_alone(away.reshape(images.shape)),
    )


def _stands_alone(away: Float[np.ndarray, "images height width"]) -> np.ndarray:
    """True if the pixel farthest from the others is at least twice as far as its neighbours."""
    (height, width), number = away.shape[1:], np.arange(len(away))
    y, x = np.unravel_index(away.reshape(len(away), -1).argmax(1), away.shape[1:])
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    beside = [away[number, (y + dy) % height, (x + dx) % width] for dy, dx in steps]
    return np.max(beside, axis=0) < away[number, y, x] / 2


def _median(values: Float[np.ndarray, " images"]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _far_out(values: Float[np.ndarray, " images"]) -> np.ndarray:
    if len(values) < 3:
        return np.zeros(len(values), dtype=bool)
    middle = np.median(values)
    spread = max(float(np.median(np.abs(values - middle))) / MAD_OF_NORMAL, 0.02)
    return np.abs(values - middle) > EXTREME_IMAGE * spread


def _batches(images: ImageStack, rows: np.ndarray) -> Iterator[np.ndarray]:
    size = max(1, BYTES_PER_BATCH // (4 * images.box_size**2))
    for places in runs_of_one_shape(images.shapes[rows], size):
        yield images.read(rows[places], with_bad=True)
