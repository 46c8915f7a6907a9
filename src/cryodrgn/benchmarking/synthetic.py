"""Particle sets of pure noise in memory, for measurements of time."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.poses import Poses

PIXEL_SIZE = 1.5


@dataclass(frozen=True, slots=True)
class NoiseImages:
    """Images of noise, of which a few are repeated.

    Attributes:
        images: The few.
        count: How many there seem to be.
    """

    images: Float[np.ndarray, "few box box"]
    count: int

    @property
    def box_size(self) -> int:
        """Side of the images in pixels."""
        return self.images.shape[-1]

    def __len__(self) -> int:
        return self.count

    def read(self, rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows box box"]:
        """The images of some rows."""
        return self.images[rows % len(self.images)]

    def select(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """Images, repeated, one for every row asked for."""
        return type(self)(self.images, len(rows))

    def fingerprint(self) -> bytes:
        """A digest of which images these are."""
        return f"noise {self.images.shape} {self.count}".encode()


def noise_particles(count: int, box_size: int, seed: int = 0) -> ParticleSet:
    """A set of noise images with random poses and usual CTF parameters."""
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((min(count, 64), box_size, box_size), dtype=np.float32)
    rotations = random_rotations(count, torch.Generator().manual_seed(seed)).numpy()
    defocus = rng.uniform(8000, 25000, count).astype(np.float32)

    def same(value: float) -> Float[np.ndarray, " particles"]:
        return np.full(count, value, np.float32)

    table = ImageTable(
        pixels=NoiseImages(few, count),
        pixel_sizes=same(PIXEL_SIZE),
        poses=Poses(
            rotations=rotations,
            shifts=rng.uniform(-3, 3, (count, 2)).astype(np.float32),
            source="random poses",
        ),
        ctf=CtfTable(
            defocus_u=defocus + 200,
            defocus_v=defocus,
            defocus_angle=same(0.5),
            voltage_kv=same(300),
            spherical_aberration_mm=same(2.7),
            amplitude_contrast=same(0.1),
            phase_shift=same(0),
            source="usual CTF parameters",
        ),
        rows=np.arange(count),
        source="images of noise",
    )
    return ParticleSet.of_single_images(table)
