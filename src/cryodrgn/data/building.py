"""Training sets: the images of a particle set, preprocessed for a model."""

import torch
from jaxtyping import Int
from torch import Tensor

from cryodrgn.data.moving_poses import PoseSource
from cryodrgn.data.prepared import Storage, prepare_all
from cryodrgn.data.preprocessing import Preprocessing, preparing_device
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.particle_set import ParticleSet


def build_training_set(
    particles: ParticleSet,
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    device: torch.device,
    *,
    storage: Storage,
    moving_poses: PoseSource | None = None,
    held_out: Int[Tensor, " particles"] | None = None,
    images_drawn: int | None = None,
    team: Team = ALONE,
) -> TrainingSet:
    """Prepare all images once.

    Args:
        particles: The particles, with poses.
        lattice: Frequencies to keep.
        settings: What is done to the images.
        device: Where batches are wanted.
        storage: Where they are kept.
        moving_poses: Poses that are looked up for every batch; images are then not centred.
        held_out: Particles that no epoch visits.
        images_drawn: Images of a particle that an epoch visits, drawn anew for each; None
            visits all.
        team: Processes that share the images.
    """
    prepared = prepare_all(
        particles,
        lattice,
        settings,
        storage=storage,
        centred=moving_poses is None,
        team=team,
        device=preparing_device(device),
    )
    return TrainingSet(particles, prepared, device, moving_poses, held_out, images_drawn)
