"""The choice between a linear model and its sum with a network, in words."""

import math
from dataclasses import dataclass

# Standard errors beyond which a difference is no chance.
CLEAR = 3.0
# Log-likelihood of all particles together from which a difference is any: what a parameter
# costs in Akaike's criterion. Models that differ by rounding may differ beyond chance, too.
PARAMETER_COST = 1.0
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
    """

    gain: float
    error: float
    num_particles: int

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
        return (
            "the network adds nothing to the linear model: trust the volumes of the linear "
            f"model ({numbers})"
        )
