"""Motions of known size: rigid turns of a domain of a map or of an atomic model, two states.

A domain turns about an axis through the point where it touches the rest of the molecule, and
the size of the motion is the path, straight through, of the domain's centre of mass.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.fourier.resample import resize_volume
from cryodrgn.geometry.rotations import rotation_from_vector
from cryodrgn.imaging.masks import default_threshold, soft_mask
from cryodrgn.io.map_geometry import BOX_TOLERANCE
from cryodrgn.io.mrc import read_volume
from cryodrgn.kernels.projection import move_volume
from cryodrgn.simulation.density import model_densities, read_models

logger = logging.getLogger(__name__)

# Volume that protein takes: 0.73 cm³/g.
CUBIC_ANGSTROM_PER_KDA = 1212.0
# Shares of the way between two states that are looked at where none are given.
SHARES_OF_THE_WAY = (0.25, 0.5, 0.75, 1.0)
# Atoms nearer than this to the rest of the molecule are where a domain hangs on it, in Å.
CONTACT = 8.0
LARGEST_DOMAIN = 0.5
# Mass of the domain where nobody says one, as a share of the molecule, and at most, in kDa.
USUAL_SHARE, USUAL_KDA = 0.25, 30.0
# Paths in Å that are looked at where none are given, as far as a domain can go so far.
SIZES = (5.0, 10.0, 20.0, 30.0)
# Share of the dense voxels that must lie outside of a domain.
LEAST_REST = 0.02
Vector = Float[np.ndarray, " 3"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Motions:
    """One state at rest, and the same after motions of several sizes.

    Attributes:
        rest: Density before the motion: of the whole molecule, or of the part that moves.
        moved: Densities after it, in the order of the sizes.
        sizes: In Å, or shares of the way from one map to the other.
        unit: ``Å``, or empty for shares.
        words: Description of what moves, for the report.
        is_model: True for densities that are not yet on the scale of the images.
    """

    rest: Float[Tensor, "box box box"]
    moved: Float[Tensor, "motions box box box"]
    sizes: tuple[float, ...]
    unit: str
    words: str
    is_model: bool

    @property
    def differences(self) -> Float[Tensor, "motions box box box"]:
        """Densities after the motion minus that before."""
        return self.moved - self.rest

    def named(self, size: float) -> str:
        """A size in words."""
        return f"{size:g} {self.unit}" if self.unit else f"{100 * size:.0f} % of the way"


def require_sizes(sizes: Sequence[float]) -> tuple[float, ...]:
    """Sizes of motions in ascending order, each once.

    Raises:
        ConfigError: One of them moves nothing.
    """
    wrong = [size for size in sizes if not (math.isfinite(size) and size > 0)]
    if wrong or not sizes:
        msg = (
            f"motions must be larger than 0 Å, got {wrong[0]:g}: what does not move cannot be "
            "found; how often noise is taken for a motion is tried in any case"
            if wrong
            else "no motion is given; `sizes` takes them in Å"
        )
        raise ConfigError(msg)
    return tuple(sorted({float(size) for size in sizes}))


def turned_domain(
    consensus: Float[Tensor, "box box box"],
    mask: Float[Tensor, "box box box"],
    pixel_size: float,
    sizes: Sequence[float] | None = None,
    axis: tuple[float, float, float] | None = None,
    words: str = "the domain within the mask",
) -> Motions:
    """A part of a map, turned about where it touches the rest.

    Args:
        consensus: The map.
        mask: 1 within the domain.
        pixel_size: Å/px.
        sizes: In Å; None takes the usual ones that the domain can go.
        axis: Direction (x, y, z) of the axis; None takes one perpendicular to the line from
            the point of contact to the centre of the domain.
        words: Description of the domain.

    Raises:
        ConfigError: There is no density in the mask, or none outside of it, or no turn moves
            the domain so far.
    """
    domain = consensus * mask
    inside = mask > 0.5
    weights = domain.clamp_min(0) * inside
    if float(weights.sum()) <= 0:
        msg = f"{words} holds no positive density of the consensus; give another mask"
        raise ConfigError(msg)
    dense = consensus > default_threshold(consensus)
    rest = dense & ~inside
    if int(rest.sum()) <= LEAST_REST * int(dense.sum()):
        msg = (
            f"{words} is the whole molecule: {int((dense & inside).sum())} of its "
            f"{int(dense.sum())} dense voxels; a domain moves against the rest, so give a mask "
            "of a part"
        )
        raise ConfigError(msg)
    places = _positions(pixel_size, len(consensus))
    centre = (places * weights[..., None]).flatten(0, 2).sum(0) / weights.sum()
    of_rest, of_domain = places[rest], places[inside]
    nearest = torch.cdist(of_rest, of_domain).min(1).values
    pivot = of_rest[nearest <= nearest.min() + pixel_size].mean(0)
    sizes, turns = _turns(pivot.double().numpy(), centre.double().numpy(), sizes, axis)
    moved = []
    for turn in turns:
        rotation = torch.from_numpy(turn).float()
        shift = (pivot - rotation @ pivot) / pixel_size
        moved.append(move_volume(domain, rotation, shift))
    return Motions(
        # The map goes the same way through its transform, so that only the motion differs.
        rest=move_volume(domain, torch.eye(3), torch.zeros(3)),
        moved=torch.stack(moved),
        sizes=tuple(sizes),
        unit="Å",
        words=words,
        is_model=False,
    )


def domain_at_the_end(
    consensus: Float[Tensor, "box box box"], pixel_size: float, kda: float | None = None
) -> tuple[Float[Tensor, "box box box"], float]:
    """Mask of the end of a molecule that has a given mass, and that mass.

    The molecule is what is denser than half of the 99.99th percentile of the map. From its
    centre of mass the most remote voxel gives a direction; the voxels farthest along it, as
    many as the mass of protein takes (1.21 Å³/Da), are the domain.

    Args:
        consensus: The map, density positive.
        pixel_size: Å/px.
        kda: Mass of the domain in kDa; None takes a quarter of the molecule, at most 30 kDa.

    Raises:
        ConfigError: The molecule is too small for such a domain.
    """
    inside = consensus > default_threshold(consensus)
    there = int(inside.sum())
    mass = there * pixel_size**3 / CUBIC_ANGSTROM_PER_KDA
    if kda is None:
        kda = min(USUAL_KDA, float(f"{USUAL_SHARE * mass:.2g}"))
        logger.info(
            "the end of the molecule that turns has %.3g of its %.3g kDa; `domain_kda` takes "
            "another mass",
            kda,
            mass,
        )
    wanted = round(kda * CUBIC_ANGSTROM_PER_KDA / pixel_size**3)
    if not 0 < wanted <= LARGEST_DOMAIN * there:
        msg = (
            f"a domain of {kda:g} kDa takes {wanted} voxels of {pixel_size:.2f} Å, but the "
            f"consensus is dense in {there} of them ({mass:.3g} kDa), of which at most half "
            f"({LARGEST_DOMAIN * mass:.3g} kDa) can move against the rest; give another mass "
            "with `domain_kda`, or a mask"
        )
        raise ConfigError(msg)
    places = _positions(pixel_size, len(consensus))[inside]
    weights = consensus[inside]
    centre = (places * weights[:, None]).sum(0) / weights.sum()
    away = places - centre
    outermost = away[away.square().sum(1).argmax()]
    along = away @ (outermost / outermost.norm())
    lowest = along.sort(descending=True).values[wanted - 1]
    chosen = torch.zeros_like(inside)
    chosen[inside] = along >= lowest
    return soft_mask(chosen.float(), 1.0, threshold=0.5, dilation=1.0, edge=2.0), kda


def between_maps(
    paths: tuple[Path, Path], box_size: int, pixel_size: float, shares: Sequence[float]
) -> Motions:
    """Shares of the way from one map to another.

    Raises:
        ConfigError: A share is not in (0, 1].
        ShapeMismatchError: A map fills another box than the images.
    """
    first, last = (map_of_box(path, box_size, pixel_size) for path in paths)
    return _between(first, last, shares, f"{paths[0].name} to {paths[1].name}", is_model=True)


def between_models(
    paths: tuple[Path, Path],
    box_size: int,
    pixel_size: float,
    sizes: Sequence[float] | None,
) -> Motions:
    """The way from one atomic model to another, on straight lines where atoms are the same.

    The size of a motion is then the root mean square path of the atoms. Models of different
    atoms are compared as maps.

    Raises:
        ConfigError: A size is longer than the way.
        InputFileError: A file cannot be read, or does not fit into the box.
    """
    first, last = (read_models(path)[0] for path in paths)
    starts, ends = (_atoms(model) for model in (first, last))
    words = f"{paths[0].name} to {paths[1].name}"
    if [name for name, _ in starts] != [name for name, _ in ends]:
        pair = _densities([first, last], box_size, pixel_size)
        return _between(pair[0], pair[1], sizes or SHARES_OF_THE_WAY, words, is_model=True)
    start, end = (np.array([place for _, place in atoms]) for atoms in (starts, ends))
    whole = float(np.sqrt(np.square(end - start).sum(1).mean()))
    if whole == 0:
        msg = f"{paths[0]} and {paths[1]} are the same atoms in the same places: nothing moves"
        raise ConfigError(msg)
    chosen = tuple(sizes) if sizes else tuple(round(s * whole, 3) for s in SHARES_OF_THE_WAY)
    if max(chosen) > whole * 1.001:
        msg = (
            f"the atoms of {paths[0]} and {paths[1]} are {whole:.1f} Å apart (root mean "
            f"square), a motion of {max(chosen):g} Å goes beyond; give smaller `sizes`"
        )
        raise ConfigError(msg)
    models = [_placed(first, start + size / whole * (end - start)) for size in (0.0, *chosen)]
    return _of_models(models, box_size, pixel_size, chosen, words)


def turned_chains(
    path: Path,
    chains: Sequence[str],
    box_size: int,
    pixel_size: float,
    sizes: Sequence[float] | None = None,
    axis: tuple[float, float, float] | None = None,
) -> Motions:
    """Some chains of an atomic model, turned about where they touch the others.

    Raises:
        ConfigError: A chain is not there, or none is left that stays.
        InputFileError: The file cannot be read, or does not fit into the box.
    """
    model = read_models(path)[0]
    known = [chain.name for chain in model]
    missing = [name for name in chains if name not in known]
    if missing:
        msg = f"{path} has no chain {missing[0]}; its chains are {', '.join(known)}"
        raise ConfigError(msg)
    if set(known) == set(chains):
        msg = f"all chains of {path} would move; name those of one domain with `chains`"
        raise ConfigError(msg)
    places = np.array([site.atom.pos.tolist() for site in model.all()])
    moves = np.array([site.chain.name in chains for site in model.all()])
    distances = torch.cdist(torch.from_numpy(places[moves]), torch.from_numpy(places[~moves]))
    nearest = distances.min(1).values.numpy()
    pivot = places[moves][nearest <= max(CONTACT, float(nearest.min()))].mean(0)
    sizes, turns = _turns(pivot, places[moves].mean(0), sizes, axis)
    models = [model]
    for turn in turns:
        turned = np.where(moves[:, None], (places - pivot) @ turn.T + pivot, places)
        models.append(_placed(model, turned))
    words = f"chain{'s' if len(chains) > 1 else ''} {', '.join(chains)} of {path.name}"
    return _of_models(models, box_size, pixel_size, tuple(sizes), words)


def map_of_box(path: Path, box_size: int, pixel_size: float) -> Float[Tensor, "box box box"]:
    """A map resampled to the box of the images.

    Raises:
        InputFileError: The file cannot be read or is no cube.
        ShapeMismatchError: It fills another box.
    """
    volume, own = read_volume(path)
    lengths = len(volume) * (own or pixel_size), box_size * pixel_size
    if abs(lengths[0] / lengths[1] - 1) > BOX_TOLERANCE or len(volume) % 2:
        msg = (
            f"{path} fills a box of {lengths[0]:.1f} Å ({len(volume)} voxels), but the images "
            f"show one of {lengths[1]:.1f} Å ({box_size} px of {pixel_size:g} Å); give a map "
            "of even side in that box, or correct its pixel size with add_psize"
        )
        raise ShapeMismatchError(msg)
    return resize_volume(torch.from_numpy(volume), box_size)


def _between(
    first: Float[Tensor, "box box box"],
    last: Float[Tensor, "box box box"],
    shares: Sequence[float],
    words: str,
    *,
    is_model: bool,
) -> Motions:
    if max(shares) > 1:
        msg = (
            f"between two maps, motions are shares of the way from 0 to 1, got "
            f"{max(shares):g}; Å need two atomic models of the same atoms"
        )
        raise ConfigError(msg)
    if torch.equal(first, last):
        msg = f"{words}: the two states are the same, nothing moves"
        raise ConfigError(msg)
    moved = torch.stack([first + share * (last - first) for share in shares])
    return Motions(
        rest=first, moved=moved, sizes=tuple(shares), unit="", words=words, is_model=is_model
    )


def _of_models(
    models: Sequence[gemmi.Model],
    box_size: int,
    pixel_size: float,
    sizes: tuple[float, ...],
    words: str,
) -> Motions:
    rest, *moved = _densities(models, box_size, pixel_size)
    return Motions(
        rest=rest, moved=torch.stack(moved), sizes=sizes, unit="Å", words=words, is_model=True
    )


def _densities(
    models: Sequence[gemmi.Model], box_size: int, pixel_size: float
) -> list[Float[Tensor, "box box box"]]:
    """Densities of models, the first centred, so that it lies there whatever the others are."""
    volumes = model_densities(models, box_size, pixel_size, 2 * pixel_size, on_first=True)
    return [torch.from_numpy(volume) for volume in volumes]


def _turns(
    pivot: Vector,
    centre: Vector,
    sizes: Sequence[float] | None,
    axis: tuple[float, float, float] | None,
) -> tuple[tuple[float, ...], list[Float[np.ndarray, "3 3"]]]:
    """Rotations about a point that move another one by given or usual lengths, and these."""
    arm = centre - pivot
    if axis is None:
        least = np.eye(3)[np.abs(arm).argmin()]
        direction = np.cross(arm, least)
    else:
        direction = np.array(axis, dtype=np.float64)
    length = float(np.linalg.norm(direction))
    if not (math.isfinite(length) and length > 0):
        msg = "the axis of the motion has no direction; give three numbers with `axis`"
        raise ConfigError(msg)
    direction /= length
    reach = float(np.linalg.norm(arm - (arm @ direction) * direction))
    if sizes is None:
        farthest = 2 * reach
        fits = [size for size in SIZES if size <= farthest]
        sizes = fits or [float(f"{share * farthest:.2g}") for share in (0.25, 0.5, 0.75)]
        if len(fits) < len(SIZES):
            logger.info("the domain can go %.1f Å at most; shorter motions are tried", farthest)
    if max(sizes) > 2 * reach:
        msg = (
            f"the centre of the domain is {reach:.1f} Å from the axis, so that no turn moves "
            f"it by {max(sizes):g} Å; the largest motion is {2 * reach:.1f} Å"
        )
        raise ConfigError(msg)
    angles = [2 * math.asin(size / (2 * reach)) for size in sizes]
    turns = [
        rotation_from_vector(torch.from_numpy(direction * angle)).numpy() for angle in angles
    ]
    return tuple(sizes), turns


def _positions(pixel_size: float, box_size: int) -> Float[Tensor, "box box box 3"]:
    """(x, y, z) of all voxels in Å, from the origin of the volume."""
    line = pixel_size * (torch.arange(box_size) - box_size // 2)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def _atoms(model: gemmi.Model) -> list[tuple[str, list[float]]]:
    return [
        (f"{site.chain.name} {site.residue.seqid} {site.atom.name}", site.atom.pos.tolist())
        for site in model.all()
    ]


def _placed(model: gemmi.Model, places: Float[np.ndarray, "atoms 3"]) -> gemmi.Model:
    copy = model.clone()
    for site, place in zip(copy.all(), places, strict=True):
        site.atom.pos = gemmi.Position(*place)
    return copy
