"""A first estimate of the noise of prepared images."""

import numpy as np
import torch
from jaxtyping import Int

from cryodrgn.data.training_set import TrainingSet
from cryodrgn.imaging.likelihood import shell_sums
from cryodrgn.imaging.noise import NoiseModel, ResidualPower

SAMPLE = 2000


def initial_noise(images: TrainingSet, groups: Int[np.ndarray, " images"]) -> NoiseModel:
    """Noise as if there were no signal: the power of images of up to 2000 particles."""
    radii = images.lattice.points.double().square().sum(-1).sqrt()
    shells = radii.round().long().to(images.device)
    found = torch.from_numpy(groups).to(images.device)
    ones = torch.ones(int(found.max()) + 1, int(shells.max()) + 1, device=images.device)
    power = ResidualPower(
        NoiseModel(groups=found, spectra=ones, shells=shells), len(images.lattice)
    )
    rows = torch.linspace(0, len(images) - 1, min(SAMPLE, len(images))).long()
    for part in rows.split(images.most_together(200)):
        batch = images.batch(part)
        squares = batch.images.square().mean(-1)
        power.add(batch.image_rows, shell_sums(squares, shells, ones.shape[1]))
    return power.first()
