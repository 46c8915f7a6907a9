"""Schedules along a run: weight of the KL divergence, and frequencies compared."""

from math import isfinite
from typing import Any

from cryodrgn.errors import ConfigError
from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Check,
    Settings,
    at_least,
    option,
    settings,
)
from cryodrgn.training.options import TRAINING

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


@settings
class Curriculum(Settings):
    """Low frequencies first: images are compared on a disc that grows from epoch to epoch."""

    num_epochs: int = option(
        "--curriculum",
        group=TRAINING,
        metavar="EPOCHS",
        check=at_least(1),
        help="Train on low spatial frequencies first, and on all of them after this number "
        "of epochs (if no number is given, half of the epochs)",
    )

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


def parse_beta(given: Any) -> float | str:
    """β as given, perhaps as text: a number, or the name of a schedule."""
    try:
        number = float(given)
    except ValueError:
        return str(given)
    return number if isfinite(number) else str(given)


def _is_beta(value: Any) -> bool:
    beta = parse_beta(value)
    return beta in SCHEDULES if isinstance(beta, str) else beta >= 0


@settings
class KlWeighting(Settings):
    """Weight of the KL divergence in the loss: β, or with a control γ the penalty γ (β − KL)².

    A schedule of β is one of targets, and needs its γ.
    """

    beta: float | str = option(
        "--beta",
        default=1.0,
        group=TRAINING,
        parse=parse_beta,
        check=Check(
            words=f"a number of at least 0, or one of the schedules {', '.join(SCHEDULES)}",
            holds=_is_beta,
        ),
        help="Choice of beta schedule (a, b, c, d) or a constant for KLD weight",
    )
    control: float | None = option(
        "--beta-control",
        default=None,
        group=TRAINING,
        check=NOT_NEGATIVE,
        help="KL-Controlled VAE gamma. Beta is KL target. (default: None)",
    )

    def __post_init__(self) -> None:
        """Take numbers that are written as text; refuse a schedule without its control.

        Raises:
            ConfigError: β is neither a number nor a schedule, or a schedule lacks its γ.
        """
        super().__post_init__()
        object.__setattr__(self, "beta", parse_beta(self.beta))
        if isinstance(self.beta, str) and self.control is None:
            msg = (
                f"`beta` {self.beta} is a schedule of KL targets and needs the weight of "
                "their control; give `beta_control`"
            )
            raise ConfigError(msg)

    def beta_at(self, images_seen: int) -> float:
        """β after a number of images."""
        if not isinstance(self.beta, str):
            return float(self.beta)
        low, high, start, end = SCHEDULES[self.beta]
        share = min(max((images_seen - start) / (end - start), 0.0), 1.0)
        return low + share * (high - low)


@settings
class Equivariance(Settings):
    """A penalty on latents that change when an image is turned in its plane."""

    weight: float = option(
        "--equivariance",
        metavar="WEIGHT",
        check=POSITIVE,
        help="Penalty on latents that an encoder changes when an image is rotated in its plane "
        "(default: none)",
    )
    start: float = option(
        "--eq-start-it",
        default=1e5,
        metavar="IMAGES",
        check=NOT_NEGATIVE,
        help="Number of images seen when the penalty of --equivariance begins to rise",
    )
    end: float = option(
        "--eq-end-it",
        default=2e5,
        metavar="IMAGES",
        check=NOT_NEGATIVE,
        help="Number of images seen when the penalty of --equivariance has its full weight",
    )

    def __post_init__(self) -> None:
        """Validate the settings.

        Raises:
            ConfigError: A number is out of range.
        """
        super().__post_init__()
        if self.start > self.end:
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
