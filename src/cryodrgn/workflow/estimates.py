"""Durations of the steps of a whole run, before any of them has begun."""

import math
from collections.abc import Mapping

from cryodrgn.devices import choose_device, choose_network_dtype
from cryodrgn.geometry.symmetry import point_group
from cryodrgn.linear.config import LinearConfig
from cryodrgn.models.build import decoder_sizes
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.preflight import cost
from cryodrgn.training.cost import seconds_per_particle

# Held-out particles are evaluated after every epoch, which adds a tenth to training.
WITH_HELD_OUT = 1.1
# Images that the check and the nuisance report look at, and volumes that an analysis decodes.
SAMPLE, VOLUMES = 3000, 40


def estimated_seconds(
    particles: ParticleSet, settings: Mapping[str, float], linear: LinearConfig
) -> dict[str, float]:
    """Seconds of every step.

    Args:
        particles: The particles.
        settings: Settings of the training by name.
        linear: Those of the linear model.
    """
    images, box_size = len(particles.images), round(settings["box_size"])
    stored, device = particles.images.pixels.box_size, choose_device("auto")
    sample = min(images, SAMPLE)
    model = ModelConfig(
        box_size=box_size,
        latent_dim=round(settings["zdim"]),
        encoder=EncoderConfig(hidden_dim=round(settings["encoder_dim"])),
        decoder=DecoderConfig(hidden_dim=round(settings["decoder_dim"])),
    )
    step = seconds_per_particle(
        model,
        device,
        choose_network_dtype(device),
        round(settings["batch_size"]),
        particles.images_per_particle,
    )
    visits = WITH_HELD_OUT * settings["num_epochs"] * len(particles)
    points = math.pi / 12 * box_size**3
    stored_volumes = decoder_sizes(model).stored_volumes
    reading = cost.reading(particles.images) + cost.preparing(images, stored, device)
    mates, consensus = len(point_group(linear.symmetry)), {}
    if mates > 1:
        adding = cost.backprojecting(images, stored, mates, device)
        consensus = {"consensus": reading + adding}
    return consensus | {
        "check": cost.checking(sample, stored),
        "linear": reading + cost.fitting(linear, images, box_size, device),
        "training": reading + visits * step,
        "analysis": cost.decoding(model, VOLUMES, points, device, stored=stored_volumes)
        + cost.analysing(len(particles), VOLUMES, with_map=True),
        "nuisance": cost.nuisance(len(particles), sample, stored),
    }
