"""The plan of a training run, checked against what there is, and said before it begins."""

import logging
import tempfile
from pathlib import Path

import torch

from cryodrgn.data.memory import memory_limits, resident_memory
from cryodrgn.data.prepared import Storage
from cryodrgn.devices import operations_per_second
from cryodrgn.errors import ConfigError, OutputFileError
from cryodrgn.io.atomic import format_size, free_bytes
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import format_duration
from cryodrgn.training.config import RunConfig
from cryodrgn.training.memory import bytes_written, memory_needed, operations_per_image

logger = logging.getLogger(__name__)


def require_output(folder: Path, size: int = 0) -> None:
    """Refuse a folder for results that cannot be written or has too little room.

    Args:
        folder: The folder; it need not exist yet.
        size: Bytes that will be written.

    Raises:
        OutputFileError: It cannot be used.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        msg = f"{folder} cannot be written: {error.strerror}; give another folder with -o"
        raise OutputFileError(msg) from error
    if (free := free_bytes(place)) < size:
        msg = (
            f"{folder} cannot be written: it needs {format_size(size)}, but {place.resolve()} "
            f"has room for {format_size(free)}; make room there, or give another folder with -o"
        )
        raise OutputFileError(msg)


def require_memory(size: int, what: str, advice: str) -> None:
    """Refuse work for which there is too little memory.

    Args:
        size: Bytes that it takes beyond what the process holds.
        what: The work, for messages.
        advice: What to do about it.

    Raises:
        ConfigError: A limit does not allow it.
    """
    name, available = min(memory_limits().items(), key=lambda pair: pair[1])
    if size > available:
        msg = (
            f"{what} needs {format_size(size)} of memory, but the {name} has "
            f"{format_size(max(available, 0))} left; {advice}"
        )
        raise ConfigError(msg)


def check_training(
    config: RunConfig,
    particles: ParticleSet,
    folder: Path,
    device: torch.device,
    storage: Storage,
) -> None:
    """Check room and memory for a training run, and say what it will take.

    Args:
        config: The run.
        particles: Its particles.
        folder: Where it is written.
        device: Where it computes.
        storage: Where prepared images are kept.

    Raises:
        OutputFileError: The folder cannot be written, or has no room.
        ConfigError: There is too little memory.
    """
    count, is_processor = len(particles), device.type == "cpu"
    need = memory_needed(config, count, is_processor=is_processor)
    on_disk = storage.cache_dir is not None or storage.uses_disk(need.images)
    written = bytes_written(config, count)
    if storage.cache_dir is None and on_disk:
        written += need.images
    require_output(folder, written)
    host = need.total - (need.images if on_disk else 0)
    on_device = 0
    if not is_processor:
        on_device = need.total if not on_disk else need.total - need.images
        host = 0 if on_disk else need.images
    advice = "take smaller networks (--pdim, --qdim), or a smaller box with -D"
    require_memory(host, "training", advice)
    rate = operations_per_second(device)
    seconds = count * operations_per_image(config.model) / rate
    logger.info(
        "plan: %d particles of %d px, %d epochs in batches of %d; memory %s%s%s; up to %s "
        "written to %s; about %s per epoch",
        count,
        particles.box_size,
        config.training.num_epochs,
        config.training.batch_size,
        format_size(resident_memory() + host),
        "" if is_processor else f", {format_size(on_device)} on {device}",
        f" ({format_size(need.images)} of images in a file)" if on_disk else "",
        format_size(written),
        folder,
        format_duration(seconds),
    )
