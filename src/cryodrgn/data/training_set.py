"""Batches of particles with everything an image model needs, on the device that needs it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batches import VisitingOrder
from cryodrgn.data.prepared import PreparedImages
from cryodrgn.data.preprocessing import ctf_parameters
from cryodrgn.data.stores import EpochStream
from cryodrgn.devices import to_device
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.imaging.ctf import contrast_transfer
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.particles.particle_set import ParticleSet


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Exposure:
    """The images of a batch from one exposure.

    Attributes:
        images: Centred transforms as stored, pairs (real, imaginary).
        ctf: CTF at the same points; None for images without one.
        coordinates: In the volume's frame, in cycles per pixel, the points on which images are
            compared with slices.
        compared: Positions of those points among the stored ones; None where all are compared.
    """

    images: Float[Tensor, "batch points 2"]
    ctf: Float[Tensor, "batch points"] | None
    coordinates: Float[Tensor, "batch compared 3"]
    compared: Int[Tensor, " compared"] | None

    def phase_flipped(self) -> Float[Tensor, "batch points 2"]:
        """The images times the sign of their CTF."""
        return self.images if self.ctf is None else self.images * self.ctf.sign()[..., None]

    def targets(self) -> Float[Tensor, "batch compared 2"]:
        """The images where they are compared with slices."""
        return self.images if self.compared is None else self.images[:, self.compared]

    def compared_ctf(self) -> Float[Tensor, "batch compared"] | None:
        """The CTF where images are compared with slices."""
        if self.ctf is None or self.compared is None:
            return self.ctf
        return self.ctf[:, self.compared]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Some particles.

    Attributes:
        rows: Which ones.
        exposures: Their images; two for tilt pairs, otherwise one.
    """

    rows: Int[Tensor, " batch"]
    exposures: tuple[Exposure, ...]

    def __len__(self) -> int:
        return len(self.rows)


@runtime_checkable
class PoseSource(Protocol):
    """Poses that are looked up anew for every batch, because they change."""

    def at(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 2"]]:
        """Rotations, and shifts in Å, of some particles."""
        ...


class TrainingSet:
    """Prepared images with their poses and CTF.

    Args:
        particles: The particles, with poses.
        exposures: Their prepared images; a tilt pair has two.
        tilts: For each exposure, the rotation X of the stage: its images have the orientation
            X R.
        device: Where batches are wanted. Images are held there, too, if they fit.
        moving_poses: Poses that take the place of the particles' own; the images must then be
            prepared without their shifts.
        held_out: Rows that no epoch visits.
    """

    def __init__(
        self,
        particles: ParticleSet,
        exposures: Sequence[PreparedImages],
        tilts: Sequence[Float[Tensor, "3 3"]],
        device: torch.device,
        moving_poses: PoseSource | None = None,
        held_out: Int[Tensor, " rows"] | None = None,
    ) -> None:
        self.held_out = torch.zeros(0, dtype=torch.long) if held_out is None else held_out
        self.device = device
        self.lattice = exposures[0].lattice
        self.original_rows = particles.original_rows
        self._exposures = exposures
        self._resident = [_on_device(images, device) for images in exposures]
        self._streams: list[EpochStream | None] = [None] * len(exposures)
        self._tilts = [tilt.to(device) for tilt in tilts]
        self._moving_poses = moving_poses
        self._rotations = torch.from_numpy(particles.require_poses().rotations).to(device)
        self._pixel_sizes = torch.from_numpy(particles.pixel_sizes).to(device)
        self._ctf = None
        if particles.ctf is not None:
            self._ctf = ctf_parameters(particles.ctf, np.arange(len(particles))).to(device)
        self._frequencies = self.lattice.frequencies.to(device)
        self._within: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._exposures[0])

    @property
    def num_visited(self) -> int:
        """Number of particles that an epoch visits."""
        return len(self) - len(self.held_out)

    def visited(self, rows: Int[Tensor, " rows"]) -> Int[Tensor, " visited"]:
        """Those of some rows that are not held out, in the same order."""
        return rows[~torch.isin(rows, self.held_out)] if len(self.held_out) else rows

    @property
    def num_points(self) -> int:
        """Number of frequencies at which an image is compared with a slice."""
        return self.points_within(None)

    def points_within(self, radius: int | None) -> int:
        """Number of these frequencies within a radius in pixels; None means all."""
        compared = self._compared(radius)
        return len(self._frequencies if compared is None else compared)

    @property
    def compared_points(self) -> Float[Tensor, "compared 2"]:
        """The frequencies at which images are compared with slices, in Fourier pixels."""
        points = self._frequencies * self.lattice.box_size
        compared = self._compared(None)
        return points if compared is None else points[compared]

    @property
    def shells(self) -> Int[Tensor, " compared"]:
        """Shell of each of them: its radius, rounded."""
        return self.compared_points.norm(dim=-1).round().long()

    def uncentred(
        self, rows: Int[Tensor, " batch"], positions: Int[Tensor, " points"]
    ) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"] | None]:
        """Images of the first exposure as they are prepared, and their CTF.

        Args:
            rows: Which particles.
            positions: Points of the lattice.
        """
        on_device = to_device(rows, self.device)
        images = self._images(0, rows, on_device, slice(None))[:, positions]
        if self._ctf is None:
            return images, None
        frequencies = self._frequencies[positions] / self._pixel_sizes[on_device, None, None]
        return images, contrast_transfer(frequencies, self._ctf[on_device])

    @property
    def in_order_of_storage(self) -> Int[Tensor, " particles"]:
        """All particles, in an order in which they are read fast."""
        return self._order.stored()

    @contextmanager
    def epoch(self, seed: int, epoch: int, done: int = 0) -> Iterator[Int[Tensor, " rows"]]:
        """The particles of an epoch, in its order; their images are read ahead.

        Args:
            seed: Of the order.
            epoch: Number of the epoch.
            done: How many have been visited already and are left out.
        """
        rows = self.visited(replace(self._order, seed=seed).epoch(epoch))[done:]
        for number, resident in enumerate(self._resident):
            if resident is None:
                store = self._exposures[number].store
                self._streams[number] = EpochStream(store, rows, self._order.buffer_rows)
        try:
            yield rows
        finally:
            for stream in self._streams:
                if stream is not None:
                    stream.close()
            self._streams = [None] * len(self._streams)

    @property
    def _order(self) -> VisitingOrder:
        return self._exposures[0].order

    def batch(
        self,
        rows: Int[Tensor, " batch"],
        num_points: int | None = None,
        radius: int | None = None,
    ) -> Batch:
        """Some particles, in the order asked for.

        Args:
            rows: Which ones.
            num_points: Only the first frequencies of a lattice without origin; all by default.
            radius: Compare images and slices only within this radius in pixels.
        """
        on_device = to_device(rows, self.device)
        kept = slice(num_points)
        frequencies = self._frequencies[kept] / self._pixel_sizes[on_device, None, None]
        ctf = (
            None if self._ctf is None else contrast_transfer(frequencies, self._ctf[on_device])
        )
        images = [
            self._images(number, rows, on_device, kept) for number in range(len(self._tilts))
        ]
        if self._moving_poses is None:
            rotations = self._rotations[on_device]
        else:
            rotations, shifts = self._moving_poses.at(on_device)
            images = [shift_transform(image, frequencies, shifts) for image in images]
        compared = self._compared(radius)
        points = self._frequencies[kept]
        points = points if compared is None else points[compared]
        exposures = [
            Exposure(
                images=image,
                ctf=ctf,
                coordinates=slice_coordinates(points, tilt @ rotations),
                compared=compared,
            )
            for image, tilt in zip(images, self._tilts, strict=True)
        ]
        return Batch(rows=on_device, exposures=tuple(exposures))

    def _compared(self, radius: int | None) -> Int[Tensor, " compared"] | None:
        """Positions of the frequencies within a radius; None where all stored ones are."""
        nyquist = self.lattice.box_size // 2
        if not self.lattice.has_origin and (radius is None or radius >= nyquist):
            return None
        radius = min(radius or nyquist, nyquist)
        if radius not in self._within:
            self._within[radius] = to_device(self.lattice.positions_within(radius), self.device)
        return self._within[radius]

    def _images(
        self,
        number: int,
        rows: Int[Tensor, " batch"],
        on_device: Int[Tensor, " batch"],
        kept: slice,
    ) -> Float[Tensor, "batch points 2"]:
        resident = self._resident[number]
        if resident is not None:
            return resident[:, kept][on_device]
        stream = self._streams[number]
        source = self._exposures[number] if stream is None else stream
        return to_device(torch.as_tensor(source.read(rows.numpy()))[:, kept], self.device)


def _on_device(images: PreparedImages, device: torch.device) -> Tensor | None:
    """The images as a tensor where indexing it is fastest; None if they do not fit there."""
    tensor = images.store.resident
    if tensor is None:
        return None
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if tensor.nbytes > free / 2:
            return None
    return tensor.to(device)
