"""Masks of a run: density that is taken as known outside of a focus, and volumes cut out."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.fixed_density import FixedDensity
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.imaging.likelihood import predict
from cryodrgn.io.masks import read_mask
from cryodrgn.io.mrc import read_volume
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.copies import first_rows
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.backproject import backproject
from cryodrgn.training.run_config import TrainConfig

logger = logging.getLogger(__name__)

# Particles that tell the amplitude of a consensus map in units of the images.
SAMPLE, AT_A_TIME = 2000, 32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Masks:
    """Masks of a run.

    Attributes:
        decoded: What decoded volumes are multiplied by; None for nothing.
        focus: Outside of which the consensus explains the images; None for nowhere.
    """

    decoded: Float[Tensor, "box box box"] | None
    focus: Float[Tensor, "box box box"] | None

    @classmethod
    def read(cls, training: TrainConfig, particles: ParticleSet) -> "Masks":
        """The masks that settings name.

        Raises:
            CryodrgnError: One of them cannot be used.
        """

        def at(path: Path | None) -> Tensor | None:
            if path is None:
                return None
            return read_mask(path, particles.box_size, particles.require_pixel_size())

        solvent, focus = at(training.mask), at(training.focus_mask)
        given = [mask for mask in (solvent, focus) if mask is not None]
        product = torch.stack(given).prod(0) if given else None
        return cls(decoded=product, focus=focus)


def density_outside(
    training: TrainConfig,
    particles: ParticleSet,
    images: TrainingSet,
    settings: Preprocessing,
    focus: Float[Tensor, "box box box"],
    stored: Path | None,
    team: Team = ALONE,
) -> FixedDensity:
    """The consensus outside of the focus mask, in units of the prepared images.

    Args:
        training: Settings that may name a consensus; without one, the particles are
            backprojected.
        particles: The particles, with poses.
        images: Their prepared images.
        settings: How they were prepared.
        focus: The mask.
        stored: A file of the density that the run has used before; None if it begins.
        team: Processes that share the work.

    Raises:
        CryodrgnError: The consensus cannot be used.
    """
    device = images.device
    if stored is not None:
        return FixedDensity(torch.from_numpy(read_volume(stored)[0]), device)
    if training.consensus is None:
        logger.info("backprojecting the particles: the consensus outside of the focus mask")
        whole = backproject(particles, settings, device=device, team=team).volume.cpu()
    else:
        whole = _in_units_of(images, training.consensus, team)
    return FixedDensity((whole * (1 - focus)).float().contiguous(), device)


@torch.no_grad()
def _in_units_of(images: TrainingSet, path: Path, team: Team) -> Float[Tensor, "box box box"]:
    """A map, multiplied by the number with which its projections are most like the images.

    Raises:
        CryodrgnError: Its box is another one, or it does not explain the images.
    """
    values, _ = read_volume(path)
    box_size = images.lattice.box_size
    if values.shape != (box_size,) * 3:
        sides = " x ".join(map(str, values.shape))
        msg = (
            f"the consensus {path} has {sides} voxels, expected {box_size} a side; bring it to "
            f"the images' box with cryodrgn downsample --is-vol -D {box_size}"
        )
        raise ShapeMismatchError(msg)
    volume = torch.from_numpy(values)
    density = FixedDensity(volume, images.device)
    different = torch.from_numpy(first_rows(images.numbers))
    places = torch.linspace(0, len(different) - 1, min(SAMPLE, len(different))).long()
    rows = different[places]
    sums = torch.zeros(3, device=images.device)
    for part in team.piece(rows).split(images.most_together(AT_A_TIME)):
        batch = images.batch(part)
        predicted = predict(density.slices(batch.coordinates), batch.compared_transfer())
        observed = batch.targets()
        pairs = ((predicted, observed), (predicted, predicted), (observed, observed))
        sums += torch.stack([(a * b).sum() for a, b in pairs])
    matched, power, whole = team.total(sums).tolist()
    # Of N(0, 1) if it explained nothing.
    score = matched / max(power * whole, 1e-30) ** 0.5
    score *= (len(rows) * images.num_points) ** 0.5
    if not score > 5:
        msg = (
            f"the consensus {path} does not explain the images (its projections are no more "
            "like them than noise is); give a map in the frame of their poses, of the sign of "
            "the images, or leave it out: the particles are then backprojected"
        )
        raise ConfigError(msg)
    return volume * (matched / power)
