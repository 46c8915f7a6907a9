"""Schedules along a run: weight of the KL divergence, and frequencies compared."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError

# Name: value at the beginning and the end, and the numbers of images between which it rises.
SCHEDULES = {
    "a": (0.001, 15.0, 0, 1_000_000),
    "b": (5.0, 15.0, 200_000, 800_000),
    "c": (5.0, 18.0, 200_000, 800_000),
    "d": (5.0, 18.0, 1_000_000, 5_000_000),
}


# Where a curriculum begins, as a fraction of the Nyquist radius, and at least in pixels.
FIRST_SHARE = 0.25
FIRST_RADIUS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Curriculum:
    """Low frequencies first: images are compared on a disc that grows from epoch to epoch.

    Attributes:
        num_epochs: Epochs after which all frequencies are compared.
    """

    num_epochs: int

    def __post_init__(self) -> None:
        """Validate the settings.

        Raises:
            ConfigError: The number of epochs is not positive.
        """
        if self.num_epochs < 1:
            msg = f"`curriculum` must last at least 1 epoch, got {self.num_epochs}"
            raise ConfigError(msg)

    def radius_at(self, epoch: int, full: int) -> int | None:
        """Radius in pixels of the disc in an epoch; None for all frequencies.

        Args:
            epoch: Number of the epoch.
            full: The Nyquist radius, half of the box size.
        """
        if epoch >= self.num_epochs:
            return None
        first = min(max(FIRST_SHARE * full, FIRST_RADIUS), full)
        return round(first + (full - first) * epoch / self.num_epochs)


@dataclass(frozen=True, kw_only=True, slots=True)
class KlWeighting:
    """Weight of the KL divergence in the loss.

    Attributes:
        beta: Its weight, or with ``control`` its target: a number, or the name of a schedule.
        control: γ of a controlled VAE, whose penalty is γ (β − KL)² instead of β KL.
    """

    beta: float | str = 1.0
    control: float | None = None

    def __post_init__(self) -> None:
        """Validate the settings.

        Raises:
            ConfigError: β is neither a number nor a schedule, or a schedule lacks its γ.
        """
        if isinstance(self.beta, str):
            if self.beta not in SCHEDULES:
                names = ", ".join(SCHEDULES)
                msg = f"`beta` {self.beta} is neither a number nor one of the schedules {names}"
                raise ConfigError(msg)
            if self.control is None:
                msg = (
                    f"`beta` {self.beta} is a schedule of KL targets and needs the weight of "
                    "their control; give `beta_control`"
                )
                raise ConfigError(msg)
        elif self.beta < 0 or self.beta != self.beta:
            msg = f"`beta` must not be negative, got {self.beta}"
            raise ConfigError(msg)

    def beta_at(self, images_seen: int) -> float:
        """β after a number of images."""
        if not isinstance(self.beta, str):
            return float(self.beta)
        low, high, start, end = SCHEDULES[self.beta]
        share = min(max((images_seen - start) / (end - start), 0.0), 1.0)
        return low + share * (high - low)

    def penalty(
        self, kl: Float[Tensor, ""], images_seen: int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""] | float]:
        """Penalty of a divergence, and its derivative."""
        beta = self.beta_at(images_seen)
        slope = beta if self.control is None else 2 * self.control * (kl - beta)
        return self.penalty_at(kl, beta), slope

    def penalty_at(
        self, kl: Float[Tensor, ""], beta: float | Float[Tensor, ""]
    ) -> Float[Tensor, ""]:
        """Penalty of a divergence at a value of β."""
        return beta * kl if self.control is None else self.control * (beta - kl).square()


@dataclass(frozen=True, kw_only=True, slots=True)
class Equivariance:
    """A penalty on latents that change when an image is turned in its plane.

    Attributes:
        weight: Of the mean squared distance, once it has its full size.
        start: Images seen until it begins to rise, linearly.
        end: Images seen until it has risen.
    """

    weight: float
    start: float = 100_000.0
    end: float = 200_000.0

    def __post_init__(self) -> None:
        """Validate the settings.

        Raises:
            ConfigError: A number is out of range.
        """
        if not self.weight > 0:
            msg = f"`equivariance` must be a positive weight, got {self.weight}"
            raise ConfigError(msg)
        if not 0 <= self.start <= self.end:
            msg = (
                f"`equivariance_start` {self.start:g} must lie between 0 and "
                f"`equivariance_end` {self.end:g}"
            )
            raise ConfigError(msg)

    def weight_at(self, images_seen: int) -> float:
        """The weight after a number of images."""
        if images_seen >= self.end:
            return self.weight
        if images_seen <= self.start:
            return 0.0
        return self.weight * (images_seen - self.start) / (self.end - self.start)


def parse_beta(text: str) -> float | str:
    """β as typed: a number, or the name of a schedule."""
    try:
        return float(text)
    except ValueError:
        return text
