"""The choice between a linear model and its sum with a network, in words."""

from dataclasses import dataclass

# Standard errors beyond which a difference is no chance.
CLEAR = 3.0


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
    def score(self) -> float:
        """The gain in standard errors."""
        return self.gain / max(self.error, 1e-12)

    @property
    def network_helps(self) -> bool:
        """True if the sum explains held-out particles better, beyond chance."""
        return self.score > CLEAR

    @property
    def in_words(self) -> str:
        """The better model, by how much, and whose volumes to trust, in one sentence."""
        numbers = (
            f"log-likelihood per particle {self.gain:+.3g} ± {self.error:.2g} against the "
            f"linear model, {self.num_particles} particles held out"
        )
        if self.network_helps:
            return (
                "the network explains the images better than the linear model alone: trust its "
                f"volumes ({numbers})"
            )
        if self.score < -CLEAR:
            return (
                "the network explains the images worse than the linear model alone: trust the "
                f"volumes of the linear model ({numbers})"
            )
        return f"the network adds nothing to the linear model: trust its volumes ({numbers})"
