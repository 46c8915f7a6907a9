"""Preprocessed images: computed once, before training, and kept as a compact array."""

import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batches import VisitingOrder
from cryodrgn.data.memory import available_memory
from cryodrgn.data.preprocessing import PROCESSOR, Preprocessing, prepare_images
from cryodrgn.data.stores import FileStore, ImageStore, MemoryStore, open_nameless
from cryodrgn.errors import BadImageError, InputFileError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.io.atomic import atomic_path, format_size, make_folder
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress

logger = logging.getLogger(__name__)

# Share of the free memory that prepared images may take before they go to disk.
MEMORY_SHARE = 0.6
# Larger batches fall out of the processor's cache, at half the speed.
BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """Storage of prepared images: memory or disk, size limit, folder.

    Attributes:
        scratch_dir: Folder for a file that disappears with the process.
        on_disk: Whether to use a file rather than memory; None decides by size.
        memory: Bytes that the images may take in memory; None takes a share of what is free.
        cache_dir: Folder in which the file stays, to be used again by runs that need the very
            same images; with it, images always go to disk.
    """

    scratch_dir: Path
    on_disk: bool | None = None
    memory: int | None = None
    cache_dir: Path | None = None

    def uses_disk(self, size: int) -> bool:
        """True if images of ``size`` bytes go to disk."""
        if self.on_disk is not None:
            return self.on_disk
        limit = MEMORY_SHARE * available_memory() if self.memory is None else self.memory
        return size > limit


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedImages:
    """Transforms of all images on a half lattice, windowed, scaled and, usually, centred.

    Attributes:
        lattice: Where the transforms stand.
        store: Pairs (real, imaginary) of every image.
        order: In which order particles are best visited.
        num_images: Number of images.
    """

    lattice: HalfPlaneFrequencies
    store: ImageStore
    order: VisitingOrder
    num_images: int

    def __len__(self) -> int:
        return self.num_images

    def read(self, rows: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows points 2"]:
        """The transforms of some images, in the order asked for."""
        return torch.from_numpy(self.store.read(rows))


def prepare_all(
    particles: ParticleSet,
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    *,
    storage: Storage,
    centred: bool = True,
    team: Team = ALONE,
    device: torch.device = PROCESSOR,
) -> PreparedImages:
    """Make all images of a set ready.

    Processes of one machine share a file, which the first of them makes; the system keeps what
    fits of it in memory, once for all of them.

    Args:
        particles: The particles.
        lattice: Frequencies to keep.
        settings: What is done to the images.
        storage: Where the result is kept.
        centred: Whether to apply the shifts of the poses.
        team: Processes that share the images.
        device: Where the transforms are computed.

    Raises:
        BadImageError: An image cannot be computed with.
    """
    images, image_bytes = particles.images, 8 * len(lattice)
    row_bytes = round(image_bytes * particles.images_per_particle)
    order = VisitingOrder(count=len(particles), row_bytes=row_bytes)
    stored = torch.from_numpy(particles.image_rows(order.stored().numpy()))
    size = len(images) * image_bytes

    def fill(store: ImageStore) -> None:
        _fill(store, images, lattice, settings, centred=centred, device=device)

    words = f"keeping {len(images)} images as {format_size(size)}"
    if team.local_size > 1 or storage.cache_dir is not None:
        key = _fingerprint(particles, lattice, settings, centred=centred)
        path = (storage.cache_dir or storage.scratch_dir) / f"prepared.{key}.f32"
        with team.raise_on_all(BadImageError):
            if team.local_rank == 0:
                _fill_file(
                    path, size, words, lambda new: fill(FileStore(new, len(lattice), stored))
                )
        store: ImageStore = FileStore(_open(path, os.O_RDONLY), len(lattice), stored)
        team.wait()
        if storage.cache_dir is None and team.local_rank == 0:
            path.unlink()
    elif storage.uses_disk(size):
        logger.info("%s in a scratch file in %s", words, storage.scratch_dir)
        store = FileStore(_scratch_file(storage.scratch_dir), len(lattice), stored)
        fill(store)
    else:
        logger.info("%s in memory", words)
        store = MemoryStore(len(images), len(lattice))
        fill(store)
    return PreparedImages(lattice=lattice, store=store, order=order, num_images=len(images))


def _fill_file(path: Path, size: int, words: str, fill: Callable[[int], None]) -> None:
    """Fill a file with prepared images, unless it is there and whole."""
    if path.exists() and path.stat().st_size == size:
        logger.info("using the images prepared before in %s", path)
        return
    logger.info("%s in %s", words, path)
    with atomic_path(path, size) as partial:
        fill(_open(partial, os.O_RDWR | os.O_CREAT))


def _fill(
    store: ImageStore,
    images: ImageTable,
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    *,
    centred: bool,
    device: torch.device,
) -> None:
    with Progress(len(images), "preparing images") as progress:
        for start in range(0, len(images), BATCH):
            rows = np.arange(start, min(start + BATCH, len(images)))
            values = prepare_images(
                images, rows, lattice, settings, centred=centred, device=device
            )
            store.write(rows, values.cpu().numpy())
            progress.advance(len(rows))


def _scratch_file(folder: Path) -> int:
    """A file without a name on the disk of a folder, and no folder that was made for it.

    So a command that is refused after its images were prepared leaves nothing behind.

    Raises:
        OutputFileError: It cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        return open_nameless(folder)
    finally:
        # Another process may have written there by now.
        with suppress(OSError):
            for path in missing:
                path.rmdir()


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as error:
        msg = f"{path} cannot be opened: {error.strerror}"
        raise InputFileError(msg) from error


def _fingerprint(
    particles: ParticleSet,
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    *,
    centred: bool,
) -> str:
    """A name that only the very same prepared images have."""
    images = particles.images
    digest = hashlib.sha256(images.pixels.fingerprint())
    digest.update(repr((astuple(settings), centred, len(images))).encode())
    digest.update(lattice.points.numpy().tobytes())
    digest.update(np.ascontiguousarray(images.pixel_sizes).tobytes())
    if images.sampling is not None:
        digest.update(repr(astuple(images.sampling)).encode())
        digest.update(np.ascontiguousarray(images.pixel_sizes_in_files).tobytes())
    if images.poses is not None and (centred or images.sampling is not None):
        digest.update(np.ascontiguousarray(images.poses.shifts).tobytes())
    for values in _corrections(images):
        digest.update(np.ascontiguousarray(values).tobytes())
    if particles.offsets is not None:
        # The file is in the order of the particles.
        digest.update(np.ascontiguousarray(particles.offsets, np.int64).tobytes())
    return digest.hexdigest()[:16]


def _corrections(images: ImageTable) -> list[np.ndarray]:
    """All columns of the optics on which prepared images depend; none for plain images."""
    ctf = images.ctf
    if ctf is None:
        return []
    found = [] if ctf.odd_zernike is None else [ctf.odd_zernike]
    if ctf.correction is not None:
        found += [*ctf.columns().values(), *ctf.optional_columns().values()]
    if found and images.magnifications is not None:
        # Aberrations and the CTF are taken at the frequencies before the distortion.
        found.append(images.magnifications)
    return found
