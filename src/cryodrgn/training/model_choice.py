"""The choice between a linear model and its sum with a network, in words."""

import math
from dataclasses import dataclass

from cryodrgn.counts import counted

# Standard errors beyond which a difference is no chance, and from which it may be none.
CLEAR, LIKELY = 3.0, 2.0
# Log-likelihood of all particles together from which a difference is any: what a parameter
# costs in Akaike's criterion. Models that differ by rounding may differ beyond chance, too.
PARAMETER_COST = 1.0
# Of fewer epochs a network has learnt little more than the consensus.
FEW_EPOCHS = 5
# Held-out particles below which their mean says too little of models.
FEWEST_PARTICLES = 30
# Share of the particles that may be held out.
MOST_HELD_OUT = 0.5


def remedy_for_few(num_particles: int) -> str:
    """Advice where too few particles are held out to choose a model by, in words.

    Args:
        num_particles: All different particles.
    """
    share = math.ceil(100 * FEWEST_PARTICLES / num_particles) / 100
    if share > MOST_HELD_OUT:
        return "train on more particles"
    return f"give train_vae `held_out` {share:g} or more"


def is_better(gain: float, error: float, num_particles: int) -> bool:
    """True if a model explains images better than another, beyond chance and worth saying.

    Args:
        gain: By how much the log-likelihood of a particle is larger, on average.
        error: Standard error of that.
        num_particles: Number of particles.
    """
    return gain > CLEAR * error and gain * num_particles > PARAMETER_COST


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChoice:
    """Comparison of the linear model and its sum with a network, on held-out particles.

    Attributes:
        gain: By how much the log-likelihood of a particle is larger under the sum, on average.
        error: Standard error of that, over particles.
        num_particles: Held-out particles.
        num_epochs: Epochs that the network was trained for; None if that is not known.
    """

    gain: float
    error: float
    num_particles: int
    num_epochs: int | None = None

    @property
    def can_be_made(self) -> bool:
        """True if enough particles were held out to choose a model by."""
        return self.num_particles >= FEWEST_PARTICLES

    @property
    def network_helps(self) -> bool:
        """True if the sum explains held-out particles better, beyond chance."""
        return self.can_be_made and is_better(self.gain, self.error, self.num_particles)

    @property
    def network_harms(self) -> bool:
        """True if the sum explains held-out particles worse, beyond chance."""
        return self.can_be_made and is_better(-self.gain, self.error, self.num_particles)

    @property
    def in_words(self) -> str:
        """The better model, by how much, and whose volumes to trust, in one sentence."""
        numbers = (
            f"log-likelihood per particle {self.gain:+.3g} ± {self.error:.2g} against the "
            f"linear model, {self.num_particles} particles held out"
        )
        if not self.can_be_made:
            return (
                "too few particles were held out to say if the network helps, at least "
                f"{FEWEST_PARTICLES} are needed: trust the volumes of the linear model "
                f"({numbers})"
            )
        if self.network_helps:
            return (
                "the network explains the images better than the linear model alone: trust its "
                f"volumes ({numbers})"
            )
        if self.network_harms:
            return (
                "the network explains the images worse than the linear model alone: trust the "
                f"volumes of the linear model ({numbers})"
            )
        return f"{self._undecided}: trust the volumes of the linear model ({numbers})"

    @property
    def _undecided(self) -> str:
        """Verdict where neither model is better both beyond chance and by enough to matter."""
        is_much = abs(self.gain) * self.num_particles > PARAMETER_COST
        side = "better" if self.gain > 0 else "worse"
        if abs(self.gain) > LIKELY * self.error:
            words = "by two to three standard errors"
            return (
                f"the network explains the images {side} than the linear model alone, but "
                f"{'not clearly, ' + words if is_much else 'by too little to matter'}"
            )
        epochs = self.num_epochs
        if self.gain > 0 and is_much and epochs is not None and epochs < FEW_EPOCHS:
            return (
                f"after {counted(epochs, 'epoch')} it is not shown yet that the network adds "
                "anything to the linear model, and more may show it"
            )
        return "the network adds nothing to the linear model"
