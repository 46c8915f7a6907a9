"""The noise spectrum of images, estimated along with the network that explains them."""

import logging
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import may_wait
from cryodrgn.imaging.forward_model import predict
from cryodrgn.imaging.likelihood import ImageLikelihood, shell_sums, squared_residuals
from cryodrgn.imaging.noise import NoiseModel, ResidualPower
from cryodrgn.models.model import Model
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.training.row_table import PerParticleParameters

logger = logging.getLogger(__name__)

# Particles whose residuals tell the noise: of all groups together, and at least of each.
SAMPLE, SAMPLE_OF_GROUP = 2000, 200
AT_A_TIME = 32
# Share of the mean variance below which no shell's falls: shells that a low-pass filter has
# emptied would outweigh all others.
LEAST_VARIANCE = 0.01


class NoiseAndContrast:
    """Likelihood of the images of a run, estimated anew before every epoch but the first.

    The variance σ² of the noise, by optics group and shell, is the mean square of what the
    network leaves unexplained of a sample of the images, at the means of their latents. The
    loss weights squared residuals by w = v / σ², v being the mean of σ² over all images and
    points: of white noise, w = 1 whatever its variance, and of any other the loss at the true
    volumes is what it is without weights, so that β and the learning rate keep their meaning.
    In the first epoch noise is taken for white, because a network that explains nothing yet
    leaves the signal in its residuals.

    Args:
        images: The prepared images.
        particles: Their table.
        model: What explains them.
        latents: Latents that are learnt one by one; None asks the encoder, if there is one.
        dtype: Number type of the networks' matrix products.
        team: Processes that share the work.
    """

    def __init__(
        self,
        images: TrainingSet,
        particles: ParticleSet,
        model: Model,
        latents: PerParticleParameters | None,
        dtype: torch.dtype,
        team: Team = ALONE,
    ) -> None:
        self._images, self._model, self._latents = images, model, latents
        self._dtype, self._team = dtype, team
        device = images.device
        groups = optics_groups(particles.images)
        self._groups = torch.from_numpy(groups).to(device)
        self._sizes = torch.bincount(self._groups)
        offsets = particles.offsets
        self._sample = _sample(groups if offsets is None else groups[offsets[:-1]])
        self._shells = images.shells
        self._spectra = torch.ones(len(self._sizes), int(self._shells.max()) + 1, device=device)
        # Graphs hold this tensor: what changes are its values.
        self._weights = torch.ones(len(self._sizes), len(images.lattice), device=device)
        images.judge_by(self.likelihood)

    @property
    def noise(self) -> NoiseModel:
        """The noise as it is known now."""
        return NoiseModel(groups=self._groups, spectra=self._spectra, shells=self._shells)

    def likelihood(self, rows: Int[Tensor, " images"]) -> ImageLikelihood:
        """The likelihood of some images, at all stored points."""
        if len(self._weights) == 1:
            return ImageLikelihood(weights=self._weights.expand(len(rows), -1))
        return ImageLikelihood(weights=self._weights[self._groups[rows]])

    @torch.no_grad()
    def estimate(self) -> None:
        """Estimate the noise from what the network leaves unexplained now."""
        was_training = self._model.training
        self._model.eval()
        left = ResidualPower(self.noise, len(self._shells))
        size = self._images.most_together(AT_A_TIME)
        for rows in self._team.piece(self._sample).split(size):
            batch = self._images.batch(rows)
            squares = squared_residuals(self._predicted(batch), batch.targets())
            power = shell_sums(squares / 2, self._shells, self._spectra.shape[1])
            left.add(batch.image_rows, power)
        left.share(self._team)
        self._model.train(was_training)
        self.take(left.updated().spectra)
        logger.info("%s", self._in_words())

    def state_dict(self) -> dict[str, Any]:
        """Everything that must be remembered to go on exactly."""
        return {"spectra": self._spectra.cpu(), "weights": self._weights.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a remembered state."""
        self._spectra.copy_(state["spectra"])
        self._weights.copy_(state["weights"])

    def _predicted(self, batch: Batch) -> Float[Tensor, "images compared 2"]:
        """The images that the network predicts at the means of their latents."""
        if self._model.has_encoder:
            latents, _ = self._model.encoder(batch.phase_flipped(), self._dtype)
        elif self._latents is not None:
            latents = self._latents.values[batch.rows]
        else:
            latents = batch.images.new_zeros(len(batch), 0)
        spread = batch.grouping.spread(latents)
        slices = self._model.decoder(batch.coordinates, spread, self._dtype)
        return predict(slices, batch.compared_transfer())

    def take(self, spectra: Float[Tensor, "groups shells"]) -> None:
        """Take over variances, and the weights that follow from them."""
        share = self._sizes / self._sizes.sum()
        mean = share @ spectra[:, self._shells].mean(1)
        self._spectra.copy_(spectra.maximum(LEAST_VARIANCE * mean))
        # Stored points may reach into corners that are never compared.
        radii = self._images.lattice.points.to(spectra.device).float().norm(dim=-1)
        shells = radii.round().long().clamp_max(spectra.shape[1] - 1)
        self._weights.copy_((mean / self._spectra)[:, shells])

    def _in_words(self) -> str:
        """The spectrum in one sentence."""
        mean = self._spectra[0, self._shells].mean()
        with may_wait("the spectrum goes into the log"):
            amplitudes = (self._spectra[0] / mean).sqrt().tolist()
        places = np.unique(np.linspace(1, len(amplitudes) - 1, 5).round().astype(int))
        values = ", ".join(f"{amplitudes[place]:.2f}" for place in places.tolist())
        count = len(self._spectra)
        of = "" if count == 1 else f" of the first of {count} optics groups"
        radii = ", ".join(map(str, places.tolist()))
        return f"noise{of}: amplitude {values} of that of white noise at radius {radii}"


def _sample(groups: Int[np.ndarray, " particles"]) -> Int[Tensor, " sample"]:
    """Particles evenly spaced in every optics group."""
    size = max(SAMPLE_OF_GROUP, SAMPLE // (int(groups.max()) + 1))
    rows = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        chosen = np.linspace(0, len(members) - 1, min(size, len(members))).astype(int)
        rows.append(members[chosen])
    return torch.from_numpy(np.sort(np.concatenate(rows)))
