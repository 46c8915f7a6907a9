"""Particles with and without a piece of density, from the files of a run to a table."""

import csv
import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.config import DataConfig
from cryodrgn.data.prepared import Storage
from cryodrgn.errors import ConfigError
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.masks import read_mask
from cryodrgn.linear.feature import LACKING, Amounts, TwoGroups, amounts, two_groups
from cryodrgn.linear.latents import Latents
from cryodrgn.linear.prepared_states import prepare_states
from cryodrgn.linear.states import StateSettings
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.particle_set import ParticleSet

logger = logging.getLogger(__name__)

DEFAULT_RADIUS = 10.0
TITLES = ("row", "amount", "standard_error", "log_ratio", "probability")
# Probabilities between which an image is called undecided.
UNDECIDED = (0.1, 0.9)
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
POINT = re.compile(rf"\s*{NUMBER}(?:\s*,\s*{NUMBER}){{2,3}}\s*")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureJudgement:
    """Density of a feature in every particle.

    Attributes:
        rows: Row of every particle in the original file.
        amounts: Amount of the density in it.
        groups: Particles with the density and without it.
    """

    rows: Int[np.ndarray, " particles"]
    amounts: Amounts
    groups: TwoGroups

    @property
    def remaining(self) -> float:
        """Density that is left in the particles with less, as a share of that in the others."""
        return max(0.0, self.amounts.remaining(self.groups.means))

    @property
    def names(self) -> tuple[str, str]:
        """Names of the groups: without and with the density, or with less and more of it."""
        if self.remaining < LACKING:
            return "absent", "present"
        return f"less ({self.remaining:.0%} of more)", "more"

    def in_words(self) -> str:
        """Numbers of particles in either group, and what is left of the density."""
        probabilities = self.groups.probabilities
        low, high = UNDECIDED
        present, absent = int((probabilities > high).sum()), int((probabilities < low).sum())
        if self.remaining < LACKING:
            groups, share = f"have the density and {absent} lack it", "have it"
        else:
            groups, share = f"have more of the density and {absent} less", "have more"
        return (
            f"{present} particles {groups} with a probability above {high:g}, "
            f"{len(probabilities) - present - absent} are undecided; by the fit to all images "
            f"{self.groups.share:.1%} {share}, and {self.remaining:.0%} of it is left in the "
            "others"
        )


def feature_mask(
    feature: str | Path | tuple[float, ...], box_size: int, geometry: MapGeometry
) -> Float[Tensor, "box box box"]:
    """The mask of a feature: a file, or a ball.

    Args:
        feature: A mask (.mrc), or x, y, z or x, y, z, radius in Å, as text or as numbers.
        box_size: Side of the volumes in voxels.
        geometry: Their pixel size and place: coordinates are those that ChimeraX shows.

    Raises:
        CryodrgnError: The mask cannot be read, or the ball lies outside of the box.
    """
    assert geometry.pixel_size is not None
    text = ",".join(map(repr, feature)) if isinstance(feature, tuple) else str(feature)
    if not POINT.fullmatch(text):
        if isinstance(feature, tuple) or ("," in text and not Path(text).exists()):
            msg = (
                f"`feature` {text} is neither a file nor X,Y,Z or X,Y,Z,RADIUS in Å, each a "
                "finite number"
            )
            raise ConfigError(msg)
        return read_mask(Path(text), box_size, geometry.pixel_size)
    numbers = [float(word) for word in text.split(",")]
    radius = numbers[3] if len(numbers) == 4 else DEFAULT_RADIUS
    if not radius > 0:
        msg = f"the radius of `feature` must be positive, got {radius:g} Å in {feature}"
        raise ConfigError(msg)
    first = first_voxel(geometry)
    last = [place + (box_size - 1) * geometry.pixel_size for place in first]
    inside = all(
        low <= number <= high for low, number, high in zip(first, numbers, last, strict=False)
    )
    if not inside:
        msg = (
            f"`feature` {feature} lies outside of the volumes, which reach from "
            f"{_place(first)} to {_place(last)} Å; give a place as ChimeraX shows it in a "
            "volume of the run, or name with `like` the map in which it was read"
        )
        raise ConfigError(msg)
    return _ball(numbers, radius, first, box_size, geometry.pixel_size)


def first_voxel(geometry: MapGeometry) -> tuple[float, float, float]:
    """Place of the first voxel (x, y, z) in Å, where ChimeraX puts it."""
    if any(geometry.origin):
        return geometry.origin
    size = geometry.pixel_size or 1.0
    x, y, z = geometry.start
    return x * size, y * size, z * size


def _place(point: "tuple[float, ...] | list[float]") -> str:
    return "(" + ", ".join(f"{number:g}" for number in point) + ")"


def _ball(
    point: list[float],
    radius: float,
    first: tuple[float, float, float],
    box_size: int,
    pixel_size: float,
) -> Float[Tensor, "box box box"]:
    """A ball with an edge of one voxel on either side of its radius."""
    axes = [
        (place + torch.arange(box_size) * pixel_size - number).square()
        for place, number in zip(first, point, strict=False)
    ]
    x, y, z = axes
    distance = (z[:, None, None] + y[:, None] + x).sqrt()
    return (0.5 + (radius - distance) / (2 * pixel_size)).clamp(0, 1)


def judge_feature(
    data: DataConfig,
    particles: ParticleSet,
    latents: Latents,
    mask: Float[Tensor, "box box box"],
    settings: StateSettings,
    device: torch.device,
    *,
    storage: Storage,
    solvent: Path | None = None,
    team: Team = ALONE,
) -> FeatureJudgement:
    """Judge every particle of a run by the density that its images show within a mask.

    Args:
        data: What is done to the images.
        particles: The particles, with poses.
        latents: Their latents, on which the volumes of the states are regressed.
        mask: Where the density may be.
        settings: How volumes depend on the latent.
        device: Where to compute.
        storage: Where prepared images are kept.
        solvent: A solvent mask; None finds one.
        team: Processes that share the images.

    Raises:
        CryodrgnError: The particles cannot be used, or do not differ there.
    """
    molecule = None
    if solvent is not None:
        molecule = read_mask(solvent, particles.box_size, particles.require_pixel_size())
    prepared = prepare_states(
        data, particles, latents, settings, device, storage=storage, mask=molecule, team=team
    )
    states = prepared.states
    mask = mask.to(prepared.images.device)
    inside = mask * resize_mask(states.mask, len(mask))
    if not float(inside.max()) > 0.5:
        msg = (
            "there is no density of the particles within `feature`, which lies in the solvent; "
            "give a place as ChimeraX shows it in a volume of the run"
        )
        raise ConfigError(msg)
    found = states.image_model()
    first, second = (torch.from_numpy(rows) for rows in latents.halves())
    measured = amounts(prepared.images, (first, second), found.regression, prepared.noise, mask)
    return FeatureJudgement(
        rows=particles.original_rows, amounts=measured, groups=two_groups(measured)
    )


def is_judgement(path: Path) -> bool:
    """True for a table of :func:`write_judgement`, by its first line."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(200).rstrip(b"\r\n") == ",".join(TITLES).encode()


def write_judgement(judgement: FeatureJudgement, path: Path) -> None:
    """Write a table with a row for every particle.

    Args:
        judgement: What was found.
        path: A ``.csv`` file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TITLES)
    measured, groups = judgement.amounts, judgement.groups
    columns = (
        judgement.rows.tolist(),
        measured.values.tolist(),
        np.sqrt(measured.variances).tolist(),
        groups.log_ratios.tolist(),
        groups.probabilities.tolist(),
    )
    for row, value, error, ratio, probability in zip(*columns, strict=True):
        writer.writerow(
            [row, f"{value:.5g}", f"{error:.5g}", f"{ratio:.5g}", f"{probability:.6g}"]
        )
    with atomic_path(path) as partial:
        partial.write_text(text.getvalue())
