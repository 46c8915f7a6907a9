"""Rough estimates of the duration of a run's steps, before anything has been measured."""

import math
import time
from collections.abc import Mapping

import torch

from cryodrgn.devices import choose_device, choose_network_dtype
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.training.cost import seconds_per_particle

# Values per particle and second that everything beside matrix products reaches (benchmarks of
# this program).
VALUES_PER_SECOND = 2e6
# Particles kept out are looked at after every epoch, which adds a tenth to training.
WITH_HELD_OUT = 1.1
MATRIX = 1024
SECONDS_PER_VOLUME, VOLUMES = 0.6, 40
MAPPED_PER_SECOND, MAPPED_AT_MOST = 400, 100_000
SAMPLE = 3000
# The linear model is fitted a second time with corrected poses.
LINEAR_FITS = 2
# Where settings do not say.
LATENT_DIM, BATCH_SIZE = 8, 8


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
        count: Number of images.
        box_size: Side of the images in pixels.
        settings: Options of the training by name.
        speed: Multiplications per second, see :func:`measured_speed`.
    """
    box, width = int(settings["-D"]), int(settings["--pdim"])
    points = math.pi * box**2 / 8
    sample = min(count, SAMPLE)
    reading = count * box_size**2 / (20 * VALUES_PER_SECOND)
    training = WITH_HELD_OUT * settings["-n"] * count * _seconds_of_training(settings)
    return {
        "check": 10 + 0.01 * sample,
        "linear": 5
        + reading
        + LINEAR_FITS * min(count, 50_000) * points * 20 / VALUES_PER_SECOND,
        "training": reading + training,
        "analysis": VOLUMES * (SECONDS_PER_VOLUME + box**3 * width**2 * 2 / speed)
        + min(count, MAPPED_AT_MOST) / MAPPED_PER_SECOND,
        "nuisance": 10 + reading + 0.005 * sample,
    }


def _seconds_of_training(settings: Mapping[str, float]) -> float:
    """Seconds of training per particle and epoch, as a moment of it says."""
    model = ModelConfig(
        box_size=int(settings["-D"]),
        latent_dim=int(settings.get("--zdim", LATENT_DIM)),
        encoder=EncoderConfig(hidden_dim=int(settings["--qdim"])),
        decoder=DecoderConfig(hidden_dim=int(settings["--pdim"])),
    )
    device = choose_device("auto")
    batch_size = int(settings.get("-b", BATCH_SIZE))
    return seconds_per_particle(model, device, choose_network_dtype(device), batch_size)
