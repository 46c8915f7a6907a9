"""Fit of images to a convention: each half of them is predicted from a map of the other.

For every convention both halves of the images are backprojected at low resolution. Every image
is then predicted, by its pose and CTF, from the map of the half to which it does not belong, so
that noise cannot predict itself. The gain of an image is what the prediction adds to the
logarithm of its likelihood under white noise per shell,

    g = Σ_shells (2 a Re Σ p* y − a² Σ |p|²) / σ²,

with a scale a per shell fitted to all images, and σ² the mean square of a value of the shell.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryodrgn.data.preprocessing import (
    Preprocessing,
    ctf_parameters,
    exposure_parameters,
    magnifications_of,
    prepare_as_recorded,
)
from cryodrgn.diagnosis.conventions import Convention
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.imaging.aberrations import without_phases, zernike_phases
from cryodrgn.imaging.ctf import contrast_transfer
from cryodrgn.imaging.exposure import exposure_weights
from cryodrgn.imaging.likelihood import log_likelihood_ratios_of_shells, matched_terms, predict
from cryodrgn.imaging.masks import WINDOW_INNER_RADIUS
from cryodrgn.imaging.slices import magnified, slice_axes, slice_coordinates
from cryodrgn.kernels.gridding import SliceAccumulator, interpolate
from cryodrgn.particles.copies import in_order_of_appearance, standard_error
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.progress import Progress

MAX_RADIUS = 20
BATCH, BYTES_PER_BATCH = 1000, 2**26
# Weight of the prior of an empty map, in units of a shell's mean weight.
RIDGE = 0.1
Model = tuple[
    Float[Tensor, "batch points 2"],
    Float[Tensor, "batch points"],
    Float[Tensor, "batch points 3"],
]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fit:
    """Fit of images to one convention.

    Attributes:
        gains: Gain of every image, in nats.
        numbers: Number of the different image that each one is.
        shell_correlations: Correlation of images and predictions, shell by shell from shell 1.
        half_maps: The maps of both halves.
    """

    gains: Float[np.ndarray, " images"]
    numbers: Int[np.ndarray, " images"]
    shell_correlations: Float[np.ndarray, " shells"]
    half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]]

    @property
    def mean_gain(self) -> float:
        """Mean gain of an image, in nats."""
        return float(self.gains.mean())

    def beyond(self, other: "Fit") -> tuple[float, float]:
        """Mean by which images gain more than under another convention, and its error."""
        difference = self.gains - other.gains
        return float(difference.mean()), standard_error(difference, self.numbers)


class QuickImages:
    """A sample of images, cut to low resolution and kept in memory.

    Args:
        images: The images, with poses.
        rows: Those in the sample.
        max_radius: Highest frequency kept, in cycles per box.
        invert: Whether to change the sign of the data.
    """

    def __init__(
        self,
        images: ImageTable,
        rows: Int[np.ndarray, " rows"],
        max_radius: int = MAX_RADIUS,
        *,
        invert: bool = False,
    ) -> None:
        self.table = images
        self.rows = rows
        copies = images.copies
        self.numbers = (
            np.arange(len(rows)) if copies is None else in_order_of_appearance(copies[rows])
        )
        self._side = images.box_size * float(images.pixel_sizes[rows[0]])
        self.radius = min(max_radius, images.box_size // 2 - 1)
        self.lattice = HalfPlaneFrequencies.disc(images.box_size, self.radius)
        settings = Preprocessing(window_radius=WINDOW_INNER_RADIUS, invert=invert)
        # Of shifts the sign and unit are in question: nothing may be cut about the particle.
        stored = replace(images, poses=None)
        parts = []
        with Progress(len(rows), "reading a sample of images") as progress:
            size = max(1, BYTES_PER_BATCH // (4 * images.box_size**2))
            for start in range(0, len(rows), size):
                chosen = rows[start : start + size]
                parts.append(
                    prepare_as_recorded(stored, chosen, self.lattice, settings, centred=False)
                )
                progress.advance(len(chosen))
        values = torch.cat(parts)
        self.values = values / values.square().mean().sqrt()
        self._exposures, self._band_limits = exposure_parameters(images), None
        if self._exposures is not None:
            # Images end there under every convention.
            self._band_limits = self._exposures.band_limits
            self._exposures = replace(self._exposures, band_limits=None)
        shells = self.lattice.points.float().norm(dim=1).round().long() - 1
        self._shells = torch.nn.functional.one_hot(shells.clamp_max(self.radius - 1)).float()

    def in_half(self, places: Int[np.ndarray, " batch"], parity: int) -> Bool[Tensor, " batch"]:
        """True for images of a half set.

        Args:
            places: Places of the images in the sample.
            parity: 0 for the first half set, 1 for the second.
        """
        return torch.from_numpy(self.numbers[places] % 2 == parity)

    @property
    def grid(self) -> RfftVolumeGrid:
        """Grid of the maps."""
        return RfftVolumeGrid(2 * self.radius + 2)

    @property
    def pixel_size(self) -> float:
        """Å/px of the maps."""
        return self._side / self.grid.box_size

    def fit(
        self, convention: Convention, order: Int[np.ndarray, " images"] | None = None
    ) -> Fit:
        """Fit of the images to a convention.

        Args:
            convention: How to understand poses and CTF.
            order: Row of the tables of poses and CTF that belongs to each image; by
                default its own.
        """
        batches = np.array_split(np.arange(len(self.rows)), -(-len(self.rows) // BATCH))
        models = [self.model(places, convention, order) for places in batches]
        halves = [SliceAccumulator(self.grid, 1, 1, torch.device("cpu")) for _ in range(2)]
        for places, (values, ctf, points) in zip(batches, models, strict=True):
            for parity, half in enumerate(halves):
                mine = self.in_half(places, parity)
                weighted, weights = matched_terms(values[mine], ctf[mine])
                ones = torch.ones(len(weighted), 1)
                half.add(points[mine], weighted, weights, ones, ones)
        maps = [self.solve(half)[0] for half in halves]
        pairs = [
            (model[0], self._predicted(places, model, maps))
            for places, model in zip(batches, models, strict=True)
        ]
        return self.fit_of(pairs, maps)

    def fit_of(
        self,
        pairs: list[tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points 2"]]],
        maps: list[Float[Tensor, "z y x 2"]],
    ) -> Fit:
        """Fit of images to their predictions.

        Args:
            pairs: Images and predictions, batch by batch.
            maps: Transforms of the maps of both halves.
        """
        compared = [self.products(values, predicted) for values, predicted in pairs]
        cross, power, total = (torch.cat(part) for part in zip(*compared, strict=True))
        scale = (cross.sum(0) / power.sum(0).clamp_min(1e-12)).clamp_min(0)
        # A shell that was filtered away holds nothing that could be predicted.
        variance = (total.sum(0) / (len(total) * self._shells.sum(0))).clamp_min(1e-30)
        # The mean square of a value is that of its real and its imaginary part together.
        gains = log_likelihood_ratios_of_shells(cross, power, variance / 2, scale)
        correlation = cross.sum(0) / (power.sum(0) * total.sum(0)).clamp_min(1e-12).sqrt()
        volumes = [self.grid.volume_of(torch.view_as_complex(m.contiguous())) for m in maps]
        return Fit(
            gains=gains.double().numpy(),
            numbers=self.numbers,
            shell_correlations=correlation.numpy(),
            half_maps=(volumes[0], volumes[1]),
        )

    def model(
        self,
        places: Int[np.ndarray, " batch"],
        convention: Convention,
        order: Int[np.ndarray, " images"] | None = None,
        scales: Float[np.ndarray, " batch"] | None = None,
    ) -> Model:
        """Centred images, their transfer functions, and where their slices lie in the map.

        Args:
            places: Places of the images in the sample.
            convention: How to understand poses and CTF.
            order: As for :meth:`fit`.
            scales: True pixel sizes of the images over those stated; None takes these.
        """
        rows = self.rows[places]
        table_rows = (rows + convention.row_offset) % len(self.table)
        if order is not None:
            table_rows = order[table_rows]
        poses, pixel_sizes = self.table.require_poses(), self.table.pixel_sizes
        shifts = convention.shifts(poses.shifts[table_rows] / pixel_sizes[table_rows, None])
        values = shift_transform(
            self.values[places], self.lattice.frequencies[None], torch.from_numpy(shifts)
        )
        magnifications = self._magnifications(rows, scales)
        values, transfer = self._with_optics(values, table_rows, convention, magnifications)
        if self._band_limits is not None:
            radii = self.lattice.points.float().norm(dim=1) / self._side
            transfer = transfer * (radii < self._band_limits[torch.from_numpy(rows), None])
        rotations = torch.from_numpy(convention.rotations(poses.rotations[table_rows]))
        axes = slice_axes(rotations, magnifications)
        return values, transfer, slice_coordinates(self.lattice.points.float(), axes)

    def _magnifications(
        self, rows: Int[np.ndarray, " batch"], scales: Float[np.ndarray, " batch"] | None
    ) -> Float[Tensor, "batch 2 2"] | None:
        """Matrices that take frequencies of images to those of their slices."""
        found = magnifications_of(self.table, rows)
        if scales is None:
            return found
        found = torch.eye(2).expand(len(rows), 2, 2) if found is None else found
        return found / torch.from_numpy(scales).float()[:, None, None]

    def _with_optics(
        self,
        values: Float[Tensor, "batch points 2"],
        table_rows: Int[np.ndarray, " batch"],
        convention: Convention,
        magnifications: Float[Tensor, "batch 2 2"] | None,
    ) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
        """Images without antisymmetric aberrations, and their CTF times their weights."""
        sizes = self.table.pixel_sizes[table_rows] * np.float32(convention.pixel_scale)
        frequencies = self.lattice.frequencies / torch.from_numpy(sizes)[:, None, None]
        transfer = torch.ones(len(table_rows), len(self.lattice))
        table = self.table.ctf
        if table is not None and convention.ctf != "off":
            changed = convention.ctf_table(table.select(table_rows))
            parameters = ctf_parameters(changed, np.arange(len(changed)))
            undistorted = magnified(frequencies, magnifications)
            transfer = contrast_transfer(undistorted, parameters)
            if convention.ctf == "magnitude":
                transfer = transfer.abs()
            if changed.odd_zernike is not None:
                coefficients = torch.from_numpy(changed.odd_zernike)
                phases = zernike_phases(undistorted, coefficients, is_odd=True)
                values = without_phases(values, phases)
        if self._exposures is not None and convention.attenuation == "none":
            exposures = self._exposures[torch.from_numpy(table_rows)]
            transfer = transfer * exposure_weights(frequencies, exposures)
        return values, transfer

    def sample(
        self, spectrum: Float[Tensor, "z y x 2"], points: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points 2"]:
        """The transform of a map at some points."""
        table = spectrum.reshape(-1, 2).contiguous()
        values = interpolate(self.grid, table, points.reshape(-1, 3))
        return values.view(*points.shape[:2], 2)

    def solve(self, sums: SliceAccumulator) -> list[Float[Tensor, "z y x 2"]]:
        """The transform of a map for each coefficient, zero where nothing was added."""
        values, weights = sums.totals()
        shells = self.grid.radii().round().long().flatten()
        maps = []
        for column, weight in zip(values.unbind(1), weights.unbind(1), strict=True):
            mean = torch.bincount(shells, weight) / torch.bincount(shells)
            ridge = (RIDGE * mean).clamp_min(1e-6)[shells]
            maps.append((column / (weight + ridge)[:, None]).view(*self.grid.shape, 2))
        return maps

    def _predicted(
        self,
        places: Int[np.ndarray, " batch"],
        model: Model,
        maps: list[Float[Tensor, "z y x 2"]],
    ) -> Float[Tensor, "batch points 2"]:
        """Images as the maps of the halves predict them to which they do not belong."""
        values, ctf, points = model
        predicted = torch.empty_like(values)
        for parity in range(2):
            mine = self.in_half(places, parity)
            slices = self.sample(maps[1 - parity], points[mine])
            predicted[mine] = predict(slices, ctf[mine])
        return predicted

    def products(
        self,
        values: Float[Tensor, "batch points 2"],
        predicted: Float[Tensor, "batch points 2"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Per image and shell: image × prediction, prediction², image²."""
        products = (predicted * values, predicted.square(), values.square())
        cross, power, total = (product.sum(-1) @ self._shells for product in products)
        return cross, power, total

    @property
    def points_of_shells(self) -> Float[Tensor, " shells"]:
        """Number of points in every shell."""
        return self._shells.sum(0)
