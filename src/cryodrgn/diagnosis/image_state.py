"""Test of images for a multiplication by their CTF: by the shape of their noise.

The power of recorded images, and of phase-flipped ones, is N + S C² at the frequencies of a
shell: noise, and signal times the CTF C. That of images that were multiplied by the CTF is
C² (N + S C²), so that their noise vanishes where the CTF does. Both are fitted to the mean
power by shell and size of the CTF, and compared by the likelihood of the images, whose powers
are distributed exponentially. Signal without noise would look like noise that was multiplied:
it is bounded where the margins of the images are as rough as their centres.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.preprocessing import ctf_parameters, magnifications_of
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import transform_on_lattice
from cryodrgn.imaging.ctf import FLIPPED, MULTIPLIED, recorded_transfer
from cryodrgn.imaging.slices import magnified
from cryodrgn.particles.copies import standard_error
from cryodrgn.particles.image_table import ImageTable

FEWEST, MOST_IMAGES, BATCH = 10, 500, 100
LOWEST_RADIUS, HIGHEST_RADIUS, NUM_BINS = 3, 100, 10
# Share of the power that a window, or a crop after the multiplication, brings back to where the
# CTF vanishes.
LEAK = 0.02
# In images whose margins have at least this share of the variance of their centres the signal
# is at most so many times the noise.
NOISY, MOST_SIGNAL = 0.5, 10.0
CLEAR = 5.0
MULTIPLIED_UNSAID = (
    "images are multiplied by the CTF, which the file does not say (say it by "
    "rlnCtfDataAreCtfPremultiplied 1 in a .star, or by `correction` multiplied)"
)
NOT_MULTIPLIED = (
    "images are not multiplied by the CTF, though they are said to be "
    "(rlnCtfDataAreCtfPremultiplied, `correction`)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiplicationTest:
    """Evidence that images were multiplied by their CTF.

    Attributes:
        difference: Logarithm of the likelihood ratio of an image, on average, in nats; positive
            if the images were multiplied.
        error: Its standard error.
    """

    difference: float
    error: float

    @property
    def is_clear(self) -> bool:
        """True if the images tell."""
        return abs(self.difference) > CLEAR * self.error

    @property
    def is_multiplied(self) -> bool:
        """True if they clearly were."""
        return self.is_clear and self.difference > 0


def as_multiplied(
    images: ImageTable, rows: Int[np.ndarray, " rows"]
) -> tuple[ImageTable, tuple[str, ...]]:
    """Images with the state that their noise shows, and what is wrong with the stated one.

    Images that are said to be multiplied by the CTF, and are not, are taken to be phase
    flipped.

    Args:
        images: The images.
        rows: A sample of them.
    """
    ctf = images.ctf
    if ctf is None:
        return images, ()
    stated = np.zeros(len(ctf), np.int64) if ctf.correction is None else ctf.correction
    found, wrong = stated.copy(), []
    for is_stated in (True, False):
        members = (stated == MULTIPLIED) == is_stated
        test = multiplication_test(images, rows[members[rows]])
        if test is None or not test.is_clear or test.is_multiplied == is_stated:
            continue
        found[members] = FLIPPED if is_stated else MULTIPLIED
        wrong.append(NOT_MULTIPLIED if is_stated else MULTIPLIED_UNSAID)
    if not wrong:
        return images, ()
    return replace(images, ctf=replace(ctf, correction=found)), tuple(wrong)


def multiplication_test(
    images: ImageTable, rows: Int[np.ndarray, " rows"]
) -> MultiplicationTest | None:
    """Test some images as they are stored; None where they have no CTF or are too few.

    Of images of several shapes and pixel sizes the most frequent kind is tested.
    """
    if images.ctf is None or not len(rows):
        return None
    rows = _of_one_kind(images, rows)
    if len(rows) < FEWEST:
        return None
    spread = np.linspace(0, len(rows) - 1, min(len(rows), MOST_IMAGES)).round().astype(np.int64)
    chosen = rows[np.unique(spread)]
    bound = MOST_SIGNAL if _roughness_of_margins(images, chosen) > NOISY else np.inf
    powers, places, squares, num_shells = _powers(images, chosen)
    count = num_shells * NUM_BINS
    flat = places.flatten()
    numbers = torch.bincount(flat, minlength=count).clamp_min(1).double()
    means = torch.bincount(flat, powers.flatten(), count).double() / numbers
    contrast = torch.bincount(flat, squares.flatten(), count).double() / numbers
    shape = (num_shells, NUM_BINS)
    means, contrast, numbers = (t.view(shape) for t in (means, contrast, numbers))
    expected = [
        (_fitted(means / factor, contrast, numbers, bound) * factor).flatten()
        for factor in (torch.ones_like(contrast), contrast + LEAK)
    ]
    plain, multiplied = (
        -(e.log()[places] + powers.double() / e[places]).sum(1) for e in expected
    )
    difference = (multiplied - plain).numpy()
    error = standard_error(difference, images.numbers[chosen])
    return MultiplicationTest(difference=float(difference.mean()), error=error)


def _of_one_kind(
    images: ImageTable, rows: Int[np.ndarray, " rows"]
) -> Int[np.ndarray, " kept"]:
    """Rows of the images of the most frequent shape and pixel size."""
    kinds = np.column_stack([images.shapes_of(rows), images.pixel_sizes_in_files[rows]])
    _, places, counts = np.unique(kinds, axis=0, return_inverse=True, return_counts=True)
    return rows[places.ravel() == counts.argmax()]


def _read_squares(
    images: ImageTable, rows: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, "rows box box"]:
    """The middles of some images of one shape, squares of an even number of pixels."""
    pixels = images.read(rows)
    side = min(pixels.shape[1:]) // 2 * 2
    top, left = ((length - side) // 2 for length in pixels.shape[1:])
    return pixels[:, top : top + side, left : left + side]


def _roughness_of_margins(images: ImageTable, rows: Int[np.ndarray, " rows"]) -> float:
    """Variance of images beyond their inscribed circle over that of their centres."""
    pixels = _read_squares(images, rows[:BATCH])
    box_size = pixels.shape[1]
    axis = np.arange(box_size) - box_size / 2
    radii = np.hypot(axis[:, None], axis) / (box_size / 2)
    margin, centre = pixels[:, radii > 1], pixels[:, radii < 0.5]
    return float(margin.var(1).mean() / max(centre.var(1).mean(), 1e-30))


def _powers(
    images: ImageTable, rows: Int[np.ndarray, " rows"]
) -> tuple[
    Float[Tensor, "rows points"], Int[Tensor, "rows points"], Float[Tensor, "rows points"], int
]:
    """Power of images, bin of shell and CTF, and CTF², at every point; number of shells."""
    assert images.ctf is not None
    box_size = _read_squares(images, rows[:1]).shape[1]
    radius = min(box_size // 2 - 1, HIGHEST_RADIUS)
    lattice = HalfPlaneFrequencies.disc(box_size, radius)
    shells = lattice.points.float().norm(dim=1).round().long()
    kept = shells >= LOWEST_RADIUS
    shells = shells[kept] - LOWEST_RADIUS
    powers, squares = [], []
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        pixels = torch.from_numpy(np.ascontiguousarray(_read_squares(images, chosen)))
        values = transform_on_lattice(pixels, lattice)[:, kept]
        sizes = torch.from_numpy(images.pixel_sizes_in_files[chosen].astype(np.float32))
        frequencies = lattice.points[kept] / (box_size * sizes[:, None, None])
        frequencies = magnified(frequencies, magnifications_of(images, chosen))
        ctf = recorded_transfer(frequencies, ctf_parameters(images.ctf, chosen))
        powers.append(values.square().sum(-1))
        squares.append(ctf.square())
    # Bins of equal width in |C|, in which sines dwell about equally long.
    contrast = torch.cat(squares)
    bins = (contrast.sqrt() * NUM_BINS).long().clamp_max(NUM_BINS - 1)
    return torch.cat(powers), shells * NUM_BINS + bins, contrast, int(shells.max()) + 1


def _fitted(
    means: Float[Tensor, "shells bins"],
    contrast: Float[Tensor, "shells bins"],
    numbers: Float[Tensor, "shells bins"],
    bound: float,
) -> Float[Tensor, "shells bins"]:
    """N + S C² of every shell, closest to mean powers, with 0 ≤ S ≤ bound × N."""
    # A bin's mean has a standard deviation of itself over the root of the number.
    weights = numbers / means.clamp_min(1e-12 * means.max()).square()
    weights = torch.where(means > 0, weights, 0)

    def average(values: Tensor) -> Tensor:
        return (weights * values).sum(1) / weights.sum(1)

    x, y = average(contrast), average(means)
    covariance = average((contrast - x[:, None]) * (means - y[:, None]))
    slope = (covariance / average((contrast - x[:, None]).square()).clamp_min(1e-12)).clamp_min(
        0
    )
    # With S = bound × N the average y is N (1 + bound × x).
    slope = torch.minimum(slope, y / (1 / bound + x).clamp_min(1e-12))
    level = y - slope * x
    least = 1e-3 * y[:, None]
    return (level[:, None] + slope[:, None] * contrast).maximum(least)
