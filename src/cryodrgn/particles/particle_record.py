"""Record of the particles of a run, by which they are recognised in files given later."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import BadImageError
from cryodrgn.particles.particle_set import ParticleSet

# Particles whose images are looked at; more would make the start of commands slower.
LOOKED_AT = 32
DIGITS = 8
# In place of the digest of an image that cannot be computed with.
BAD = "-" * DIGITS


@dataclass(frozen=True, kw_only=True, slots=True)
class ParticleRecord:
    """The number of a run's particles, and digests of the images of some of them.

    Of up to 32 particles, evenly spaced from the first to the last, the pixels of the first
    image are digested as they are stored, as float32 and without their sign. So the type,
    name and place of files, contrast, preprocessing, poses and CTF make no difference.

    Other images are noticed, and every order that moves one of the particles that are looked
    at, as any that is shifted, sorted or shuffled does. An exchange among the particles between
    them is not. Images of another box, as downsampled ones, are not compared. Images of the
    same particles that were processed otherwise (filtered, subtracted) count as others.

    Attributes:
        count: Number of particles.
        box_size: Side of the stored images in pixels.
        digests: Of the images, in the order of the particles.
        rows: Digest of the particles' rows in the original file; None if it is not known.
    """

    count: int
    box_size: int
    digests: tuple[str, ...]
    rows: str | None = None

    @classmethod
    def of(cls, particles: ParticleSet) -> "ParticleRecord":
        """The record of particles, of which a few images are read.

        Raises:
            InputFileError: One of these cannot be read.
        """
        images = particles.images
        rows = _looked_at(len(particles))
        firsts = rows if particles.offsets is None else particles.offsets[rows]
        return cls(
            count=len(particles),
            box_size=images.pixels.box_size,
            digests=tuple(_digest(particles, row) for row in firsts.tolist()),
            rows=digest_of_rows(particles.original_rows),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Entries of the group ``training`` of a config file."""
        digests = {"box_size": self.box_size, "digests": " ".join(self.digests)}
        return {"num_particles": self.count, "rows": self.rows, "images": digests}

    @classmethod
    def of_mapping(cls, training: Mapping[str, Any]) -> "ParticleRecord | None":
        """The record out of :meth:`to_mapping`; None for runs that wrote none."""
        images = training.get("images")
        if not isinstance(images, Mapping) or "num_particles" not in training:
            return None
        return cls(
            count=int(training["num_particles"]),
            box_size=int(images.get("box_size", 0)),
            digests=tuple(str(images.get("digests", "")).split()),
            rows=training.get("rows"),
        )

    def others(self, particles: ParticleSet) -> list[int] | None:
        """Rows of particles whose images are not those of the record.

        None where they cannot be compared: the number of particles or the stored box differ.
        """
        rows = _looked_at(self.count).tolist()
        is_alike = self.box_size == particles.images.pixels.box_size
        if len(particles) != self.count or not is_alike or len(self.digests) != len(rows):
            return None
        found = self.of(particles).digests
        pairs = zip(rows, self.digests, found, strict=True)
        return [row for row, *both in pairs if BAD not in both and both[0] != both[1]]


def digest_of_rows(rows: Int[np.ndarray, " particles"]) -> str:
    """Digest of rows of a particle file, in their order."""
    return hashlib.sha256(np.ascontiguousarray(rows, "<i8").tobytes()).hexdigest()[:DIGITS]


def _looked_at(count: int) -> Int[np.ndarray, " rows"]:
    """Rows of the particles that are looked at, out of so many."""
    return np.linspace(0, count - 1, min(count, LOOKED_AT)).round().astype(np.int64)


def _digest(particles: ParticleSet, row: int) -> str:
    """Digest of the image in a row, whatever its sign."""
    try:
        pixels = particles.images.pixels.read(np.array([row]))
    except BadImageError:
        return BAD
    magnitudes = np.abs(np.ascontiguousarray(pixels, "<f4"))
    return hashlib.sha256(magnitudes.tobytes()).hexdigest()[:DIGITS]
