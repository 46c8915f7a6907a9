"""The order in which particles are visited, and the random numbers drawn on the way.

Both depend on nothing but the seed and the position in the run, so that a run that is
interrupted anywhere continues as if nothing had happened.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def generator_at(seed: int, *position: int) -> torch.Generator:
    """A random generator for one place of a run, independent of those for all others."""
    sequence = np.random.SeedSequence(seed, spawn_key=position)
    state = sequence.generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def epoch_order(count: int, seed: int, epoch: int) -> Int[Tensor, " particles"]:
    """All rows once, in the random order of one epoch."""
    return torch.randperm(count, generator=generator_at(seed, epoch))
