"""Rough estimates of the duration of a run's steps, before anything has been measured."""

import math
import time
from collections.abc import Mapping

import torch

from cryodrgn.devices import choose_device

# Share of a large matrix product's speed that networks reach, and values per particle and
# second that everything beside matrix products reaches (benchmarks of this program).
SHARE_REACHED, VALUES_PER_SECOND = 0.4, 2e6
MATRIX = 1024
SECONDS_PER_VOLUME, VOLUMES = 0.6, 40
MAPPED_PER_SECOND, MAPPED_AT_MOST = 400, 100_000
SAMPLE = 3000


def measured_speed() -> float:
    """Multiplications per second in a matrix product on the device that will be used."""
    device = choose_device("auto")
    matrix = torch.ones(MATRIX, MATRIX, device=device)
    durations = []
    for _ in range(3):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        durations.append(time.perf_counter() - started)
    return MATRIX**3 / min(durations)


def estimated_seconds(
    count: int, box_size: int, settings: Mapping[str, float], speed: float
) -> dict[str, float]:
    """Seconds of every step.

    Args:
        count: Number of particles.
        box_size: Side of the images in pixels.
        settings: Options of the training by name.
        speed: Multiplications per second, see :func:`measured_speed`.
    """
    box, width = settings["-D"], settings["--pdim"]
    points = math.pi * box**2 / 8
    decoder = points * (3 * box * width + 3 * width**2)
    encoder = 2 * points * settings["--qdim"] + 3 * settings["--qdim"] ** 2
    sample = min(count, SAMPLE)
    reading = count * box_size**2 / (20 * VALUES_PER_SECOND)
    # A step goes forward once and backward twice; particles kept out add a tenth.
    training = 3.3 * settings["-n"] * count * (decoder + encoder) / (SHARE_REACHED * speed)
    return {
        "check": 10 + 0.01 * sample,
        "linear": 5 + reading + min(count, 50_000) * points * 20 / VALUES_PER_SECOND,
        "training": reading + training,
        "analysis": VOLUMES * (SECONDS_PER_VOLUME + box**3 * width**2 * 2 / speed)
        + min(count, MAPPED_AT_MOST) / MAPPED_PER_SECOND,
        "nuisance": 10 + reading + 0.005 * sample,
    }
