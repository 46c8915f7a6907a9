"""Images made ready once, before training, and kept as a compact array."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.memory import available_memory, format_bytes
from cryodrgn.data.preprocessing import Preprocessing, prepare_images
from cryodrgn.fourier.grids import HalfLattice
from cryodrgn.io.atomic import make_folder
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress

logger = logging.getLogger(__name__)

# Share of the free memory that prepared images may take before they go to disk.
MEMORY_SHARE = 0.6
BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedImages:
    """Transforms of all particles on a half lattice, windowed, scaled and, usually, centred.

    Attributes:
        lattice: Where the transforms stand.
        values: Pairs (real, imaginary), in memory or mapped from a scratch file.
    """

    lattice: HalfLattice
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def read(
        self, rows: Int[np.ndarray, " rows"], kept: slice = slice(None)
    ) -> Float[Tensor, "rows points 2"]:
        """The transforms of some particles, in the order asked for, at the points kept."""
        return torch.from_numpy(self.values[:, kept][rows])


def prepare_all(
    particles: ParticleSet,
    lattice: HalfLattice,
    settings: Preprocessing,
    *,
    scratch_dir: Path,
    on_disk: bool | None = None,
    centred: bool = True,
) -> PreparedImages:
    """Make all images of a set ready.

    Args:
        particles: The particles.
        lattice: Frequencies to keep.
        settings: What is done to the images.
        scratch_dir: Folder for a scratch file, which disappears with the process.
        on_disk: Whether to keep the result in that file rather than in memory; None decides
            by the free memory.
        centred: Whether to apply the shifts of the poses.
    """
    shape = (len(particles), len(lattice), 2)
    size = 4 * int(np.prod(shape, dtype=np.int64))
    if on_disk is None:
        on_disk = size > MEMORY_SHARE * available_memory()
    values = _scratch_array(scratch_dir, shape) if on_disk else np.empty(shape, np.float32)
    place = f"in a scratch file in {scratch_dir}" if on_disk else "in memory"
    logger.info("keeping %d images as %s %s", len(particles), format_bytes(size), place)
    with Progress(len(particles), "preparing images") as progress:
        for start in range(0, len(particles), BATCH):
            rows = np.arange(start, min(start + BATCH, len(particles)))
            values[rows] = prepare_images(
                particles, rows, lattice, settings, centred=centred
            ).numpy()
            progress.advance(len(rows))
    return PreparedImages(lattice=lattice, values=values)


def _scratch_array(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A file-backed array whose file vanishes when the process ends, however it ends."""
    make_folder(folder)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
