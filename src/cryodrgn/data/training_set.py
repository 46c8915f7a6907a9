"""Batches of particles on the device: images, CTF, weights and slice coordinates."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch, StoredBatch, factors
from cryodrgn.data.batches import VisitingOrder
from cryodrgn.data.fixed_density import FixedDensity
from cryodrgn.data.image_choice import ImageChoice
from cryodrgn.data.moving_poses import ImagesOfParticles, PoseSource
from cryodrgn.data.prefetch import DevicePrefetch
from cryodrgn.data.prepared import PreparedImages, Storage, prepare_all
from cryodrgn.data.preprocessing import (
    Preprocessing,
    ctf_parameters,
    exposure_parameters,
    magnifications_of,
    preparing_device,
)
from cryodrgn.data.stores import EpochStream
from cryodrgn.devices import to_device
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.grouping import Grouping
from cryodrgn.imaging.likelihood import WHITE, ImageLikelihood, transfer_function
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.poses import Poses


class TrainingSet:
    """Prepared images of particles with their poses and CTF.

    Args:
        particles: The particles, with poses.
        images: Their prepared images.
        device: Where batches are wanted. Images are held there, too, if they fit.
        moving_poses: Poses of the particles, in place of those of the table. Where they have
            several images, these keep to the first the rotation that they have in the table,
            and see steps of the particle from there. The images must then be prepared without
            their shifts.
        held_out: Particles that no epoch visits.
        images_drawn: Number of images of every particle that an epoch visits, drawn anew for
            each; None visits all.
    """

    def __init__(
        self,
        particles: ParticleSet,
        images: PreparedImages,
        device: torch.device,
        moving_poses: PoseSource | None = None,
        held_out: Int[Tensor, " particles"] | None = None,
        images_drawn: int | None = None,
    ) -> None:
        self.held_out = torch.zeros(0, dtype=torch.long) if held_out is None else held_out
        self.device = device
        self.lattice = images.lattice
        self.original_rows = particles.original_rows
        self.numbers = particles.numbers
        self._particles, self._prepared = particles, images
        self._images_drawn = images_drawn
        self._choice = ImageChoice.of_all(particles)
        self._resident = _on_device(images, device)
        self._stream: EpochStream | None = None
        self._prefetch: DevicePrefetch | None = None
        table = particles.images
        self._rotations = torch.from_numpy(table.require_poses().rotations).to(device)
        self._pixel_sizes = torch.from_numpy(table.pixel_sizes).to(device)
        self._ctf = self._exposures = None
        if table.ctf is not None:
            self._ctf = ctf_parameters(table.ctf, np.arange(len(table))).to(device)
        self._magnifications = magnifications_of(table, np.arange(len(table)))
        if self._magnifications is not None:
            self._magnifications = self._magnifications.to(device)
        exposures = exposure_parameters(table)
        if exposures is not None:
            self._exposures = exposures.to(device)
        self._moving_poses = moving_poses
        self._several = ImagesOfParticles.of(particles, device) if moving_poses else None
        self._frequencies = self.lattice.frequencies.to(device)
        self._within: dict[int, Tensor] = {}
        self._likelihood: Callable[[Tensor], ImageLikelihood] = lambda _: WHITE
        self._fixed: FixedDensity | None = None

    def show_beside(self, fixed: FixedDensity) -> None:
        """Let the images of batches show this density beside that of the model from now on."""
        self._fixed = fixed

    def judge_by(self, likelihood: Callable[[Tensor], ImageLikelihood]) -> None:
        """Give batches this likelihood of their images from now on, in place of white noise.

        Args:
            likelihood: Of images by their rows, at all stored points; a function of tensors.
        """
        self._likelihood = likelihood

    def __len__(self) -> int:
        return len(self._particles)

    @property
    def images_per_particle(self) -> float:
        """Number of images of a particle that batches have now, on average."""
        return self._choice.images_per_particle

    def image_rows(self, rows: Int[Tensor, " particles"]) -> Int[Tensor, " images"]:
        """Rows of the images of some particles, one particle after another."""
        return self._choice.image_rows(rows)

    def num_images(self, rows: Int[Tensor, " particles"]) -> int:
        """Number of images of some particles."""
        return len(self.image_rows(rows))

    def most_together(self, count: int) -> int:
        """Number of particles that are looked at together where single images would be so many.

        Of particles with more than two images, fewer, so that images are at most twice as many.
        """
        return max(1, min(count, int(2 * count // self.images_per_particle)))

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
        compared = self.compared(radius)
        return len(self._frequencies if compared is None else compared)

    @property
    def compared_points(self) -> Float[Tensor, "compared 2"]:
        """The frequencies at which images are compared with slices, in Fourier pixels."""
        points = self._frequencies * self.lattice.box_size
        compared = self.compared(None)
        return points if compared is None else points[compared]

    @property
    def shells(self) -> Int[Tensor, " compared"]:
        """Shell of each of them: its radius, rounded."""
        return self.compared_points.norm(dim=-1).round().long()

    def unshifted_transforms(
        self, rows: Int[Tensor, " batch"], positions: Int[Tensor, " points"]
    ) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"] | None]:
        """Images as they are prepared, and their CTF times their weights.

        Args:
            rows: Which images.
            positions: Points of the lattice.
        """
        on_device = to_device(rows, self.device)
        images = self._images(rows, on_device, slice(None))[:, positions]
        frequencies = self._frequencies[positions] / self._pixel_sizes[on_device, None, None]
        ctf = None if self._ctf is None else self._ctf[on_device]
        exposures = None if self._exposures is None else self._exposures[on_device]
        both = factors(frequencies, ctf, exposures, self.magnifications(on_device))
        return images, transfer_function(*both)

    def magnifications(
        self, images: Int[Tensor, " images"]
    ) -> Float[Tensor, "images 2 2"] | None:
        """Magnification of some images; None if no image of the set has any."""
        return None if self._magnifications is None else self._magnifications[images]

    @property
    def in_order_of_storage(self) -> Int[Tensor, " particles"]:
        """All particles, in an order in which they are read fast."""
        return self._order.stored()

    @contextmanager
    def epoch(self, seed: int, epoch: int, done: int = 0) -> Iterator[Int[Tensor, " rows"]]:
        """The particles of an epoch, in its order; their images are read ahead.

        While it lasts, batches have the images that are drawn for it, where some are.

        Args:
            seed: Of the order.
            epoch: Number of the epoch.
            done: How many have been visited already and are left out.
        """
        rows = self.visited(replace(self._order, seed=seed).epoch(epoch))[done:]
        self._choice = ImageChoice.of_epoch(self._particles, self._images_drawn, seed, epoch)
        try:
            with self.reading(rows):
                yield rows
        finally:
            self._choice = ImageChoice.of_all(self._particles)

    @contextmanager
    def reading(self, rows: Int[Tensor, " rows"]) -> Iterator[None]:
        """While it lasts, images of particles are asked for in this order, and read ahead."""
        if self._resident is None:
            buffers = rows.split(self._order.buffer_rows)
            self._stream = EpochStream(
                self._prepared.store, [self.image_rows(buffer) for buffer in buffers]
            )
            if self.device.type == "cuda":
                self._prefetch = DevicePrefetch(self._read, self.device)
        try:
            yield
        finally:
            for reader in (self._prefetch, self._stream):
                if reader is not None:
                    reader.close()
            self._prefetch = self._stream = None

    def expect(self, rows: Int[Tensor, " batch"]) -> None:
        """Begin to send the images of the batch that will be asked for next, where that helps.

        Args:
            rows: Its particles.
        """
        if self._prefetch is not None:
            self._prefetch.expect(self.image_rows(rows))

    @property
    def _order(self) -> VisitingOrder:
        return self._prepared.order

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
        stored = self.stored(rows, num_points)
        return stored.batch(self.frequencies(num_points), self.compared(radius))

    def stored(self, rows: Int[Tensor, " batch"], num_points: int | None = None) -> StoredBatch:
        """Stored data of some particles, from which their batch is computed.

        Args:
            rows: Which ones.
            num_points: Only the first frequencies of a lattice without origin; all by default.
        """
        image_rows = self.image_rows(rows)
        particles = to_device(rows, self.device)
        is_single = self._particles.offsets is None
        on_device = particles if is_single else to_device(image_rows, self.device)
        grouping = self._grouping(rows, len(image_rows))
        images = self._images(image_rows, on_device, slice(num_points))
        return self.looked_up(particles, on_device, grouping, images)

    def looked_up(
        self,
        rows: Int[Tensor, " batch"],
        image_rows: Int[Tensor, " images"],
        grouping: Grouping,
        images: Float[Tensor, "images points 2"] | None = None,
    ) -> StoredBatch:
        """Stored data of some particles, by rows that are on the device.

        Args:
            rows: The particles.
            image_rows: Their images, particle after particle.
            grouping: Which of them show the same particle.
            images: Their transforms; None takes them from the device, where all must be.
        """
        if images is None:
            assert self._resident is not None
            images = self._resident[image_rows]
        shifts = None
        if self._moving_poses is None:
            rotations = self._rotations[image_rows]
        else:
            rotations, shifts = self._moved(rows, image_rows, grouping)
        return StoredBatch(
            rows=rows,
            image_rows=image_rows,
            grouping=grouping,
            images_per_particle=self.images_per_particle,
            images=images,
            pixel_sizes=self._pixel_sizes[image_rows],
            ctf=None if self._ctf is None else self._ctf[image_rows],
            exposures=None if self._exposures is None else self._exposures[image_rows],
            rotations=rotations,
            shifts=shifts,
            magnifications=self.magnifications(image_rows),
            likelihood=self._likelihood(image_rows),
            fixed=self._fixed,
        )

    def frequencies(self, num_points: int | None = None) -> Float[Tensor, "points 2"]:
        """The first frequencies of the lattice, in cycles per pixel; all by default."""
        return self._frequencies[:num_points]

    def even_grouping(self, count: int) -> Grouping:
        """The grouping of so many particles with equally many images each."""
        counts = self._choice.counts
        assert isinstance(counts, int)
        return Grouping(num_images=count * counts, counts=counts)

    @property
    def has_equal_counts(self) -> bool:
        """True if every particle has the same number of images."""
        return isinstance(self._choice.counts, int)

    def _grouping(self, rows: Int[Tensor, " batch"], num_images: int) -> Grouping:
        counts = self._choice.counts
        if isinstance(counts, Tensor):
            counts = to_device(counts[rows], self.device)
        return Grouping(num_images=num_images, counts=counts)

    def _moved(
        self,
        rows: Int[Tensor, " batch"],
        image_rows: Int[Tensor, " images"],
        grouping: Grouping,
    ) -> tuple[Float[Tensor, "images 3 3"], Float[Tensor, "images 2"]]:
        """Rotations and shifts of images whose particles move."""
        assert self._moving_poses is not None
        rotations, shifts = (grouping.spread(part) for part in self._moving_poses.at(rows))
        if self._several is None:
            return rotations, shifts
        return self._several.poses(image_rows, rotations, shifts)

    @torch.no_grad()
    def moved_poses(self) -> Poses:
        """Poses of all images as they are now, where they move."""
        assert self._moving_poses is not None
        rotations, shifts = self._moving_poses.at(torch.arange(len(self), device=self.device))
        if self._several is not None:
            owners = to_device(torch.from_numpy(self._particles.particle_of_image), self.device)
            images = torch.arange(len(owners), device=self.device)
            rotations, shifts = self._several.poses(images, rotations[owners], shifts[owners])
        return Poses(
            rotations=rotations.cpu().numpy(),
            shifts=shifts.cpu().numpy(),
            source="refined poses",
        )

    def compared(self, radius: int | None) -> Int[Tensor, " compared"] | None:
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
        rows: Int[Tensor, " images"],
        on_device: Int[Tensor, " images"],
        kept: slice,
    ) -> Float[Tensor, "images points 2"]:
        if self._resident is not None:
            return self._resident[:, kept][on_device]
        if self._prefetch is not None:
            return self._prefetch.take(rows)[:, kept]
        return to_device(self._read(rows)[:, kept], self.device)

    def streamed(self, image_rows: Int[Tensor, " images"]) -> Tensor | None:
        """Images that do not live on the device, sent there; None where all of them do."""
        if self._resident is not None:
            return None
        return self._images(image_rows, image_rows, slice(None))

    def _read(self, rows: Int[Tensor, " images"]) -> Float[Tensor, "images points 2"]:
        source = self._prepared if self._stream is None else self._stream
        return torch.as_tensor(source.read(rows.numpy()))


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


def build_training_set(
    particles: ParticleSet,
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    device: torch.device,
    *,
    storage: Storage,
    moving_poses: PoseSource | None = None,
    held_out: Int[Tensor, " particles"] | None = None,
    images_drawn: int | None = None,
    team: Team = ALONE,
) -> TrainingSet:
    """Prepare all images once.

    Args:
        particles: The particles, with poses.
        lattice: Frequencies to keep.
        settings: What is done to the images.
        device: Where batches are wanted.
        storage: Where they are kept.
        moving_poses: Poses that are looked up for every batch; images are then not centred.
        held_out: Particles that no epoch visits.
        images_drawn: Images of a particle that an epoch visits, drawn anew for each; None
            visits all.
        team: Processes that share the images.
    """
    prepared = prepare_all(
        particles,
        lattice,
        settings,
        storage=storage,
        centred=moving_poses is None,
        team=team,
        device=preparing_device(device),
    )
    return TrainingSet(particles, prepared, device, moving_poses, held_out, images_drawn)
