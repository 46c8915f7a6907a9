"""The order in which particles are visited, and the random numbers drawn on the way.

Both depend on nothing but the seed and the position in the run, so that a run that is
interrupted anywhere continues as if nothing had happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def generator_at(seed: int, position: Sequence[int] = ()) -> torch.Generator:
    """A random generator for one place of a run, independent of those for all others."""
    sequence = np.random.SeedSequence(seed, spawn_key=tuple(position))
    state = sequence.generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


BUFFER_BYTES, BLOCK_BYTES = 2**27, 2**22


@dataclass(frozen=True, kw_only=True, slots=True)
class VisitingOrder:
    """In which order epochs visit the particles of a set.

    A set no larger than a buffer is shuffled as a whole. A larger one is shuffled once, into
    the order in which a file keeps it; an epoch visits the blocks of that order in random
    order, and shuffles again within every buffer of blocks. So a file can be read in large
    pieces, and the order is the same whether the images are in memory or on disk.

    Attributes:
        count: Number of particles.
        row_bytes: Size of one particle's images, on average.
        seed: Of the shuffling.
    """

    count: int
    row_bytes: int
    seed: int = 0

    @property
    def block_rows(self) -> int:
        """Particles in a block."""
        return max(1, BLOCK_BYTES // self.row_bytes)

    @property
    def buffer_rows(self) -> int:
        """Particles in a buffer, a whole number of blocks."""
        return self.block_rows * max(1, BUFFER_BYTES // BLOCK_BYTES)

    def stored(self) -> Int[Tensor, " particles"]:
        """The particle at every place of a file; the same for all seeds."""
        if self.count <= self.buffer_rows:
            return torch.arange(self.count)
        return torch.randperm(self.count, generator=generator_at(0, (0, 0, 0)))

    def epoch(self, epoch: int) -> Int[Tensor, " particles"]:
        """All particles once, in the order of one epoch."""
        generator = generator_at(self.seed, (epoch,))
        if self.count <= self.buffer_rows:
            return torch.randperm(self.count, generator=generator)
        blocks = self.stored().split(self.block_rows)
        order = torch.randperm(len(blocks), generator=generator)
        rows = torch.cat([blocks[number] for number in order.tolist()])
        buffers = rows.split(self.buffer_rows)
        return torch.cat([b[torch.randperm(len(b), generator=generator)] for b in buffers])


def padded(rows: Int[Tensor, " batch"], size: int) -> Int[Tensor, " size"]:
    """Rows of a batch, the last of them repeated until there are as many as wanted."""
    return torch.cat([rows, rows[-1:].expand(size - len(rows))])
