"""Images and latents made ready for a reconstruction of states."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.config import DataConfig
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.linear.latents import Latents
from cryodrgn.linear.runner import estimated_norm, prepare_disc, with_double_precision
from cryodrgn.linear.states import StateReconstruction, StateSettings
from cryodrgn.models.basis import BasisModel
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.particles.particle_set import ParticleSet


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedStates:
    """A reconstruction of states that is ready to begin.

    Attributes:
        images: The prepared images.
        noise: Their noise.
        states: The reconstruction.
        norm: Offset and scale of the images.
    """

    images: DiscImages
    noise: NoiseModel
    states: StateReconstruction
    norm: tuple[float, float]


def prepare_states(
    data: DataConfig,
    particles: ParticleSet,
    latents: Latents,
    settings: StateSettings,
    device: torch.device,
    *,
    storage: Storage,
    mask: Float[Tensor, "box box box"] | None = None,
    model: BasisModel | None = None,
    team: Team = ALONE,
) -> PreparedStates:
    """Prepare images, their noise, and the functions of their latents.

    Args:
        data: What is done to the images.
        particles: The images, with poses.
        latents: Their latents.
        settings: How to reconstruct.
        device: Where to compute; a device without double precision gives way to the processor.
        storage: Where prepared images are kept.
        mask: A solvent mask; None finds one.
        model: Functions of the latents, whose volumes are not yet known; None finds them.
        team: Processes that share the images.
    """
    device = with_double_precision(device)
    norm = data.norm or estimated_norm(data, particles)
    images = prepare_disc(
        data,
        particles,
        norm,
        device,
        storage=storage,
        symmetry=settings.symmetry,
        ewald=settings.ewald,
        team=team,
    )
    noise = initial_noise(images.images, optics_groups(particles.images))
    mask = None if mask is None else mask.to(device)
    states = StateReconstruction(images, latents, noise, settings, mask, model=model)
    return PreparedStates(images=images, noise=noise, states=states, norm=norm)
