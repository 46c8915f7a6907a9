"""Hand of the curvature of the Ewald sphere, judged by prediction.

Both halves of a sample of images are backprojected with a flat sphere and with curvature of
either hand, up to the resolution at which curvature matters, and every image is predicted from
the map of the half to which it does not belong, as :mod:`cryodrgn.diagnosis.fit` does it for
conventions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.preprocessing import (
    ctf_parameters,
    exposure_parameters,
    magnifications_of,
    spatial_frequencies,
)
from cryodrgn.diagnosis.conventions import STATED
from cryodrgn.diagnosis.fit import BATCH, QuickImages
from cryodrgn.imaging.ewald import PARTICLE_SHARE, Curvature, Sidebands, depth_limit, sidebands
from cryodrgn.imaging.exposure import exposure_weights
from cryodrgn.imaging.likelihood import predict
from cryodrgn.imaging.slices import magnified
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.particles.copies import standard_error
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.progress import track
from cryodrgn.units import electron_wavelengths

# Standard errors by which a hand must fit better than the other and than a flat sphere.
CLEAR = 5.0
# Most numbers of images that are kept for the comparison, and the largest radius.
MOST_POINTS, MAX_RADIUS = 2**24, 128
# The hand is looked for where frequencies come so near to the depth limit: there the rim of a
# particle is out of phase by 57°, which many images tell from nothing.
LOOKED_FOR = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvatureFit:
    """Comparison of images with a flat Ewald sphere and one of either hand.

    Attributes:
        gains: Mean gain of an image in nats, by hand; 0 is the flat sphere.
        differences: By how much each hand fits better than a flat sphere.
        errors: Standard errors of these.
        hand_error: Standard error of the difference of both hands.
    """

    gains: dict[Curvature, float]
    differences: dict[Curvature, float]
    errors: dict[Curvature, float]
    hand_error: float

    @property
    def hand(self) -> Curvature:
        """The hand that fits clearly better than the other and than none; 0 if neither does."""
        best: Curvature = 1 if self.gains[1] > self.gains[-1] else -1
        other: Curvature = -1 if best == 1 else 1
        clear = self.differences[best] > CLEAR * self.errors[best]
        apart = self.gains[best] - self.gains[other] > CLEAR * self.hand_error
        return best if clear and apart else 0

    def in_words(self) -> str:
        """The hand, or that it cannot be told, in a sentence."""
        if self.hand:
            return (
                f"The images show the curvature of the Ewald sphere, of the hand "
                f"{self.hand:+d}: give backproject_voxel and train_linear `ewald` "
                f"{self.hand:+d}."
            )
        return "These images do not tell the hand of the curvature of the Ewald sphere."


def radius_of_curvature(images: ImageTable, rows: Int[np.ndarray, " rows"]) -> int | None:
    """Radius in Fourier pixels up to which curvature is looked for.

    None where the images have no CTF, or where the depth limit of a particle of half of the box
    is far beyond the frequencies that are compared.

    Args:
        images: The images.
        rows: Those in the sample, of one pixel size.
    """
    if images.ctf is None:
        return None
    side = images.box_size * float(images.pixel_sizes[rows].max())
    wavelength = float(electron_wavelengths(float(images.ctf.voltage_kv[rows].min())))
    limit = depth_limit(wavelength, PARTICLE_SHARE * side)
    radius = min(images.box_size // 2 - 1, MAX_RADIUS)
    return radius if side / radius < LOOKED_FOR * limit else None


def sample_within_memory(
    rows: Int[np.ndarray, " rows"], radius: int
) -> Int[np.ndarray, " sample"]:
    """Sample of some rows, evenly spread, no larger than memory allows at a radius."""
    most = max(2, int(MOST_POINTS / (np.pi / 2 * radius**2)))
    places = np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(np.int64)
    return rows[np.unique(places)]


def fit_curvature(images: QuickImages) -> CurvatureFit:
    """Compare a flat Ewald sphere and both hands of its curvature.

    Args:
        images: A sample of images with a CTF, up to the radius that matters.
    """
    signs: tuple[Curvature, ...] = (0, 1, -1)
    gains = {
        sign: images.fit(STATED).gains if sign == 0 else _gains(images, sign)
        for sign in track(signs, 3, "comparing curvatures of the Ewald sphere", "hand")
    }
    hands: tuple[Curvature, ...] = (1, -1)
    apart = {sign: gains[sign] - gains[0] for sign in hands}
    return CurvatureFit(
        gains={sign: float(gains[sign].mean()) for sign in signs},
        differences={sign: float(apart[sign].mean()) for sign in hands},
        errors={sign: standard_error(apart[sign], images.numbers, ddof=1) for sign in hands},
        hand_error=standard_error(gains[1] - gains[-1], images.numbers, ddof=1),
    )


def _gains(images: QuickImages, sign: Curvature) -> Float[np.ndarray, " images"]:
    """Gains of all images when both side bands are accounted for."""
    count, box_size = len(images.rows), images.table.box_size
    batches = np.array_split(np.arange(count), -(-count // BATCH))
    halves = [SliceAccumulator(images.grid, 1, 1, torch.device("cpu")) for _ in range(2)]
    for places in batches:
        for parity, half in enumerate(halves):
            mine = places[images.in_half(places, parity).numpy()]
            values, points, bands, faded = _model(images, mine, sign)
            ones = torch.ones(len(mine), 1)
            for where, matched, weights in bands.matched(values, points / box_size, faded):
                half.add(where * box_size, matched, weights, ones, ones)
    maps = [images.solve(half)[0] for half in halves]
    pairs = []
    for places in batches:
        values = torch.empty(len(places), len(images.lattice), 2)
        predicted = torch.empty_like(values)
        for parity in range(2):
            where = images.in_half(places, parity)
            mine = places[where.numpy()]
            values[where], points, bands, faded = _model(images, mine, sign)
            slices = [
                images.sample(maps[1 - parity], band * box_size)
                for band in bands.points(points / box_size)
            ]
            predicted[where] = predict(bands.predicted(slices[0], slices[1]), faded)
        pairs.append((values, predicted))
    return images.fit_of(pairs, maps).gains


def _model(
    images: QuickImages, places: Int[np.ndarray, " batch"], sign: Curvature
) -> tuple[
    Float[Tensor, "batch points 2"],
    Float[Tensor, "batch points 3"],
    Sidebands,
    Float[Tensor, "batch points"] | None,
]:
    """Centred images, the points of their flat slices, their side bands, and their weights."""
    values, _, points = images.model(places, STATED)
    table, rows = images.table, images.rows[places]
    assert table.ctf is not None
    pixel_sizes = torch.from_numpy(table.pixel_sizes[rows])
    frequencies = spatial_frequencies(table, rows, images.lattice)
    bands = sidebands(
        magnified(frequencies, magnifications_of(table, rows)),
        ctf_parameters(table.ctf, rows),
        torch.from_numpy(table.require_poses().rotations[rows]),
        sign,
        pixel_sizes=pixel_sizes,
        box_size=table.box_size,
    )
    exposures = exposure_parameters(table)
    if exposures is None:
        return values, points, bands, None
    return (
        values,
        points,
        bands,
        exposure_weights(frequencies, exposures[torch.from_numpy(rows)]),
    )
