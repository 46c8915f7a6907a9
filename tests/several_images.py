"""Sets whose particles are shown by several images."""

from collections.abc import Sequence

import numpy as np

from cryodrgn.particles.particle_set import ParticleSet


def repeated(particles: ParticleSet, counts: Sequence[int]) -> ParticleSet:
    """The set in which every particle has so many copies of its image."""
    rows = np.repeat(np.arange(len(particles)), counts)
    return ParticleSet(
        images=particles.images.select(rows),
        original_rows=particles.original_rows,
        offsets=np.concatenate([[0], np.cumsum(counts)]),
    )
