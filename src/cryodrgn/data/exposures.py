"""A particle set made ready for a model, with its second exposure if there is one."""

import math
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from cryodrgn.data.prepared import Storage, prepare_all
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import PoseSource, TrainingSet
from cryodrgn.fourier.grids import HalfLattice
from cryodrgn.geometry.rotations import rotation_about_x
from cryodrgn.io.particle_files import open_tilted
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.particle_set import ParticleSet


def prepare_exposures(
    particles: ParticleSet,
    lattice: HalfLattice,
    settings: Preprocessing,
    device: torch.device,
    *,
    storage: Storage,
    tilted: Path | None = None,
    tilt_deg: float = 45.0,
    datadir: Path | None = None,
    moving_poses: PoseSource | None = None,
    held_out: Int[Tensor, " rows"] | None = None,
    team: Team = ALONE,
) -> TrainingSet:
    """Prepare all images once.

    Args:
        particles: The particles, with poses.
        lattice: Frequencies to keep.
        settings: What is done to the images.
        device: Where batches are wanted.
        storage: Where they are kept.
        tilted: Particle file of the second exposure of tilt pairs.
        tilt_deg: Angle of its stage in degrees, right-handed about x.
        datadir: Folder of the stacks that ``tilted`` names.
        moving_poses: Poses that are looked up for every batch; images are then not centred.
        held_out: Rows that no epoch visits.
        team: Processes that share the images.
    """
    sets, tilts = [particles], [torch.eye(3)]
    if tilted is not None:
        sets.append(open_tilted(particles, tilted, datadir))
        tilts.append(rotation_about_x(math.radians(tilt_deg)))
    prepared = [
        prepare_all(
            exposure,
            lattice,
            settings,
            storage=storage,
            centred=moving_poses is None,
            team=team,
        )
        for exposure in sets
    ]
    return TrainingSet(particles, prepared, tilts, device, moving_poses, held_out)
