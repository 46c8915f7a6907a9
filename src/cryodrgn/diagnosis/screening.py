"""Images that are none: not finite, constant, with hot pixels, or of extreme contrast."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.io.image_stack import ImageStack

BYTES_PER_BATCH = 2**25
# Robust standard deviations beyond which a pixel of an image, or an image among others, is odd.
HOT_PIXEL, EXTREME_IMAGE = 20.0, 8.0
# How many times as far outside as those of other images the pixels of an odd one must be.
HOT_AMONG_OTHERS = 4.0
# Median absolute deviation of a normal distribution, in standard deviations.
MAD_OF_NORMAL = 0.6745


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Screening:
    """What a look at a sample of images found.

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
            "no contrast at all": self.constant,
            "hot pixels": self.hot_pixels,
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
            return f"{self.num_screened} images were screened, and nothing is odd about them."
        parts = [f"{len(rows)} with {words}" for words, rows in found.items()]
        return f"Of {self.num_screened} images screened there are {', '.join(parts)}."


def screen_images(images: ImageStack, rows: Int[np.ndarray, " rows"]) -> Screening:
    """Look at some images of a stack.

    Args:
        images: The stack.
        rows: Rows to look at.
    """
    means, deviations, outliers, alone, finite = [], [], [], [], []
    for batch in _batches(images, rows):
        good = np.asarray(np.isfinite(batch).all((1, 2)))
        pixels = np.where(good[:, None, None], batch, 0.0).reshape(len(batch), -1)
        middle = np.median(pixels, axis=1, keepdims=True)
        spread = np.median(np.abs(pixels - middle), axis=1) / MAD_OF_NORMAL
        finite.append(good)
        means.append(pixels.mean(1, dtype=np.float64))
        deviations.append(pixels.std(1, dtype=np.float64))
        away = np.abs(pixels - middle)
        outliers.append(away.max(1) / np.maximum(spread, 1e-30))
        alone.append(_stands_alone(away.reshape(batch.shape)))
    good = np.concatenate(finite)
    mean, deviation = np.concatenate(means), np.concatenate(deviations)
    outlier = np.concatenate(outliers)
    constant = np.logical_and(good, deviation == 0)
    sound = np.logical_and(good, ~constant)
    # Particles stand out of images with little noise, too, but over several pixels, and in all.
    limit = max(HOT_PIXEL, HOT_AMONG_OTHERS * _median(outlier[sound]))
    hot = sound & (outlier > limit) & np.concatenate(alone)
    return Screening(
        num_screened=len(rows),
        not_finite=rows[~good],
        constant=rows[constant],
        hot_pixels=rows[hot],
        extreme=rows[sound][_far_out(np.log(deviation[sound]))],
        mean=float(mean[sound].mean()) if sound.any() else 0.0,
        deviation=_median(deviation[sound]),
    )


def _stands_alone(away: Float[np.ndarray, "images box box"]) -> np.ndarray:
    """Whether the pixel farthest from the others is at least twice as far as its neighbours."""
    box_size, number = away.shape[-1], np.arange(len(away))
    y, x = np.unravel_index(away.reshape(len(away), -1).argmax(1), away.shape[1:])
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    beside = [away[number, (y + dy) % box_size, (x + dx) % box_size] for dy, dx in steps]
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
    for start in range(0, len(rows), size):
        yield images.read(rows[start : start + size], require_finite=False)
