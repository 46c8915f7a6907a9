"""Settings of a training that are chosen from the data, each with its reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from cryodrgn.imaging.masks import WINDOW_INNER_RADIUS

Effort = Literal["quick", "normal", "full"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Bounds of a run at one level of effort.

    Attributes:
        most_epochs: Epochs after which it stops, converged or not.
        largest_box: Largest side of the training images in pixels.
        sampling: Factor on the Å/px that the number of particles supports.
        largest_width: Widest networks.
        purpose: What it is good for.
    """

    most_epochs: int
    largest_box: int
    sampling: float
    largest_width: int
    purpose: str


BOUNDS: Mapping[Effort, Bounds] = {
    "quick": Bounds(
        most_epochs=8,
        largest_box=64,
        sampling=1.5,
        largest_width=128,
        purpose="quick: a first look",
    ),
    "normal": Bounds(
        most_epochs=50,
        largest_box=128,
        sampling=1.0,
        largest_width=1024,
        purpose="enough for most sets",
    ),
    "full": Bounds(
        most_epochs=100,
        largest_box=256,
        sampling=0.67,
        largest_width=1024,
        purpose="full: all the detail there is",
    ),
}
SMALLEST_BOX = 24
# Held-out particles from which verdicts are clear, and below which they say nothing.
CLEAR_HELD_OUT, LEAST_HELD_OUT = 200, 12
LARGEST_WINDOW = 0.95
ON_LINEAR = " (on a linear model the recipe fast of train_vae sets it)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A setting, and why it has its value.

    Attributes:
        setting: Its name, as of ``train_vae``.
        value: Its value.
        reason: Why.
    """

    setting: str
    value: float
    reason: str


def choose(
    count: int,
    box_size: int,
    pixel_size: float,
    *,
    latent_dim: int = 8,
    effort: Effort = "normal",
    molecule_radius: float | None = None,
    given: Mapping[str, float] | None = None,
    num_different: int | None = None,
) -> list[Choice]:
    """Settings of the training, from the number and size of the images.

    Args:
        count: Number of particles.
        box_size: Side of the images in pixels.
        pixel_size: Å/px.
        latent_dim: Dimensions of the latent.
        effort: How far the run goes.
        molecule_radius: How far density reaches, as a fraction of half the box.
        given: Settings that the user chose, by name; they are taken as they are.
        num_different: Number of different particles; None where none is listed repeatedly.
    """
    bounds, given = BOUNDS[effort], given or {}
    chosen = [
        Choice(
            setting="zdim",
            value=latent_dim,
            reason="given" if latent_dim != 8 else "room for several motions; the default",
        ),
        _box(count, box_size, pixel_size, bounds),
        _window(molecule_radius),
        *_network(count, bounds),
        Choice(
            setting="num_epochs",
            value=bounds.most_epochs,
            reason=f"at most ({bounds.purpose}); stops when it has converged",
        ),
        _held_out(count if num_different is None else num_different),
    ]
    return [
        replace(choice, value=given[choice.setting], reason="given")
        if choice.setting in given
        else choice
        for choice in chosen
    ]


def _box(count: int, box_size: int, pixel_size: float, bounds: Bounds) -> Choice:
    supported = 6.0 if count < 10_000 else 4.5 if count < 50_000 else 3.0
    wanted = 4 * math.ceil(box_size * pixel_size / (supported * bounds.sampling) / 4)
    box = min(max(wanted, SMALLEST_BOX), bounds.largest_box, box_size)
    sampling = pixel_size * box_size / box
    if box == box_size:
        reason = "the images' own, which is small enough"
    elif box < wanted:
        reason = f"the largest ({bounds.purpose}), {sampling:.2g} Å/px"
    else:
        reason = (
            f"Fourier-cropped on the fly: {count} particles reach about {2 * sampling:.0f} Å, "
            f"which {sampling:.2g} Å/px hold"
        )
    return Choice(setting="box_size", value=box, reason=reason)


def _window(molecule_radius: float | None) -> Choice:
    radius = WINDOW_INNER_RADIUS
    if molecule_radius is None:
        reason = "of half the box; how far density reaches is not known"
    elif molecule_radius <= radius:
        reason = f"of half the box, density ends at {molecule_radius:.2f}; beyond is only noise"
    else:
        radius = min(molecule_radius, LARGEST_WINDOW)
        reason = f"of half the box, because density reaches {molecule_radius:.2f}"
    return Choice(setting="window_radius", value=round(radius, 3), reason=reason)


def _network(count: int, bounds: Bounds) -> list[Choice]:
    width = 128 if count < 10_000 else 256 if count < 100_000 else 1024
    width = min(width, bounds.largest_width)
    few = f"{count} particles"
    return [
        Choice(setting="encoder_dim", value=width, reason=f"encoder in proportion to {few}"),
        Choice(setting="decoder_dim", value=width, reason=f"decoder in proportion to {few}"),
        Choice(
            setting="batch_size",
            value=16 if count < 100_000 else 64,
            reason=f"{count // (16 if count < 100_000 else 64)} steps per epoch{ON_LINEAR}",
        ),
        Choice(
            setting="learning_rate",
            value=1e-3 if width < 1024 else 3e-4,
            reason=f"stable for networks of width {width}{ON_LINEAR}",
        ),
    ]


def _held_out(count: int) -> Choice:
    share = min(0.2, max(0.05, CLEAR_HELD_OUT / max(count, 1)))
    share = math.ceil(1000 * share) / 1000
    held = round(share * count)
    if held < LEAST_HELD_OUT:
        return Choice(
            setting="held_out", value=0, reason=f"none: {count} particles are too few to judge"
        )
    words = "more than 5 % of so few" if share > 0.05 else "enough to judge"
    return Choice(setting="held_out", value=share, reason=f"{held} particles, {words}")
