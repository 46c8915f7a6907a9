"""Images of particles that batches have: all of them, or some that are drawn for an epoch."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.particles.particle_set import ParticleSet, rows_in_ranges

# Random numbers of the choice of images are not those of any batch.
DRAWN = 0x711


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageChoice:
    """Some images of every particle.

    Attributes:
        counts: Number of images of every particle; one number where it is the same for all.
        offsets: First chosen image of each particle and, last, their number; None where every
            particle has one image and all are chosen.
        chosen: Rows of the chosen images, particle after particle; None for all images.
    """

    counts: int | Int[Tensor, " particles"]
    offsets: Int[np.ndarray, " bounds"] | None
    chosen: Int[np.ndarray, " images"] | None = None

    @classmethod
    def of_all(cls, particles: ParticleSet) -> "ImageChoice":
        """All images of all particles."""
        offsets = particles.offsets
        return cls(counts=1 if offsets is None else _counts_of(offsets), offsets=offsets)

    @classmethod
    def of_epoch(
        cls, particles: ParticleSet, count: int | None, seed: int, epoch: int
    ) -> "ImageChoice":
        """Those that are drawn for an epoch; None for a number takes all of them."""
        if count is None:
            return cls.of_all(particles)
        return cls.drawn(particles, count, generator_at(seed, (epoch, DRAWN)))

    @classmethod
    def drawn(
        cls, particles: ParticleSet, count: int, generator: torch.Generator
    ) -> "ImageChoice":
        """At most so many images of each particle, drawn at random and kept in their order."""
        if particles.offsets is None:
            return cls.of_all(particles)
        keys = torch.rand(len(particles.images), generator=generator).numpy()
        owners = particles.particle_of_image
        order = np.lexsort((keys, owners))
        ranks = np.arange(len(order)) - particles.offsets[owners]
        numbers = np.minimum(np.diff(particles.offsets), count)
        offsets = np.concatenate([[0], np.cumsum(numbers)])
        # Rows of a particle lie together, so that sorting all keeps particles in order.
        chosen = np.sort(order[ranks < count])
        return cls(counts=_counts_of(offsets), offsets=offsets, chosen=chosen)

    @property
    def images_per_particle(self) -> float:
        """Number of images of a particle, on average."""
        if self.offsets is None:
            return 1.0
        return float(self.offsets[-1]) / max(len(self.offsets) - 1, 1)

    def image_rows(self, rows: Int[Tensor, " particles"]) -> Int[Tensor, " images"]:
        """Rows of the chosen images of some particles, one particle after another."""
        if self.offsets is None:
            return rows
        numbers = rows.numpy()
        places = rows_in_ranges(self.offsets[numbers], self.offsets[numbers + 1])
        return torch.from_numpy(places if self.chosen is None else self.chosen[places])


def _counts_of(offsets: Int[np.ndarray, " bounds"]) -> int | Int[Tensor, " particles"]:
    counts = np.diff(offsets)
    return int(counts[0]) if np.ptp(counts) == 0 else torch.from_numpy(counts)
