"""UMAP is compiled by one worker while the others wait, and read what it has kept.

Compiling it takes a minute of a processor, and workers come to it at about the same time.
"""

import fcntl
import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryodrgn.analysis import communities, embedding

_load = embedding.umap_library
FEW = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


@functools.cache
def compiled_library(lock: Path) -> Any:
    """The library, after it has made a map while no other process does."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        library = _load()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            library.UMAP(n_neighbors=5, random_state=0, n_jobs=1).fit(FEW)
    return library


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Maps are made in this process once another one has compiled what makes them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (embedding, communities):
            patch.setattr(module, "umap_library", functools.partial(compiled_library, lock))
        yield
