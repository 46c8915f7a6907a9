"""Particle sets of known truth for the accuracy table, made from one antibody structure."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import gemmi
import numpy as np
import roma
import torch

from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_poses, save_pickles
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer, write_volume
from cryodrgn.rundir import SimulationFiles
from cryodrgn.simulation.density import model_densities, read_models
from cryodrgn.simulation.simulate import SimulationSettings, simulate
from cryodrgn.simulation.views import TiltScheme

# Hinge of an Fab of PDB 1HZH: residues of its heavy chain up to the first turn with its light
# chain about the axis through both C-alphas.
HINGE = (213, 244)
# Heavy and light chain of both Fabs.
FABS = ("HL", "KM")
SIDE = 288.0
# Signal-to-noise ratio of images without visible noise.
CLEAN = 1e8
# What is known of every particle, and poses without error, beside the files of a set.
TRUTH, TRUE_POSES = "truth", "true_poses.pkl"


@dataclass(frozen=True, slots=True)
class Axis:
    """One of the things that differ between states that are a grid.

    Attributes:
        kind: ``circle`` and ``line`` for motions by equal steps, ``parts`` for compositions.
        count: Number of values.
    """

    kind: Literal["circle", "line", "parts"]
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkSet:
    """How a set is made.

    Attributes:
        states: Makes the atomic models of its states from the structure.
        compositions: Number of compositions; every one has all of the hinge's angles, those of
            the first composition come first.
        weights: Relative numbers of images by state; None for equal numbers.
        circular: Whether the last state neighbours the first.
        axes: What differs between states that are a grid, the last fastest; none for others.
        side: Side of the box in Å.
        box_size: Side in pixels.
        snr: Signal-to-noise ratio.
        num_images: Number of images; of tilt series the number of particles.
        tilts: The tilt series of every particle; None shows it by one image.
        pose_error_deg: Standard deviation of errors of the rotations.
        shift_error_px: Standard deviation of errors of the shifts.
        contrast_spread: Standard deviation of contrasts.
        noise_fall: Factor by which the noise's amplitude falls from the origin to Nyquist.
        junk: Share of images that are junk: they show nothing but noise.
        mixed_junk: Junk is of three kinds instead: nothing, another particle than its pose and
            CTF say, and two particles at once.
    """

    states: Callable[[gemmi.Model], list[gemmi.Model]]
    compositions: int = 1
    weights: tuple[float, ...] | None = None
    circular: bool = False
    axes: tuple[Axis, ...] = ()
    side: float = SIDE
    box_size: int = 64
    snr: float = 0.1
    num_images: int = 10_000
    tilts: TiltScheme | None = None
    pose_error_deg: float = 0.0
    shift_error_px: float = 0.0
    contrast_spread: float = 0.0
    noise_fall: float = 1.0
    junk: float = 0.0
    mixed_junk: bool = False

    def __post_init__(self) -> None:
        """Refuse errors of poses that commands would not see.

        Raises:
            ValueError: The poses of tilt series are those of the STAR file, which has none.
        """
        if self.tilts is not None and (self.pose_error_deg or self.shift_error_px):
            raise ValueError("tilt series are made without errors of their poses")

    @property
    def pixel_size(self) -> float:
        """Å per pixel."""
        return self.side / self.box_size


def hinge(angle_deg: float, count: int = 50) -> Callable[[gemmi.Model], list[gemmi.Model]]:
    """One Fab turned about its hinge, by equal steps."""
    closed = angle_deg == 360
    angles = np.linspace(0, angle_deg, count, endpoint=not closed)

    def states(model: gemmi.Model) -> list[gemmi.Model]:
        return [_turned(model, math.radians(angle)) for angle in angles]

    return states


def two_hinges(angle_deg: float, count: int) -> Callable[[gemmi.Model], list[gemmi.Model]]:
    """Both Fabs turned about their hinges, one independently of the other."""
    angles = np.radians(np.linspace(0, angle_deg, count))

    def states(model: gemmi.Model) -> list[gemmi.Model]:
        first = [_turned(model, angle) for angle in angles]
        return [_turned(state, angle, FABS[1]) for state in first for angle in angles]

    return states


def rotor(count: int = 50) -> Callable[[gemmi.Model], list[gemmi.Model]]:
    """One Fab turned about its own axis, from the hinge to its middle, through 360°."""

    def states(model: gemmi.Model) -> list[gemmi.Model]:
        start = _hinge_ends(model, FABS[0])[0]
        middle = np.mean([atom.pos.tolist() for atom in _fab_atoms(model, FABS[0])], axis=0)
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
        return [_about(model, FABS[0], start, middle, angle) for angle in angles]

    return states


def _turned(model: gemmi.Model, angle: float, fab: str = FABS[0]) -> gemmi.Model:
    start, end = _hinge_ends(model, fab)
    return _about(model, fab, start, end, angle)


def _hinge_ends(model: gemmi.Model, fab: str) -> list[np.ndarray]:
    return [np.array(_c_alpha(model[fab[0]], number).tolist()) for number in HINGE]


def _fab_atoms(model: gemmi.Model, fab: str) -> list[gemmi.Atom]:
    """Atoms of an Fab: those of its light chain, and of the heavy one up to the hinge."""
    heavy, light = fab
    return [
        atom
        for chain in model
        for residue in chain
        if chain.name == light or (chain.name == heavy and residue.seqid.num <= HINGE[0])
        for atom in residue
    ]


def _about(
    model: gemmi.Model, fab: str, start: np.ndarray, end: np.ndarray, angle: float
) -> gemmi.Model:
    """An Fab turned about the axis from one place to another."""
    axis = (end - start) / np.linalg.norm(end - start)
    rotation = roma.rotvec_to_rotmat(torch.from_numpy(axis * angle)).numpy()
    result = model.clone()
    for atom in _fab_atoms(result, fab):
        place = rotation @ (np.array(atom.pos.tolist()) - start) + start
        atom.pos = gemmi.Position(*place)
    return result


def _c_alpha(chain: gemmi.Chain, number: int) -> gemmi.Position:
    for residue in chain:
        if residue.seqid.num == number:
            for atom in residue:
                if atom.name == "CA":
                    return atom.pos
    raise LookupError(number)


def without_chains(*removed: str) -> Callable[[gemmi.Model], list[gemmi.Model]]:
    """The whole antibody, and what is left without each of some sets of chains."""

    def states(model: gemmi.Model) -> list[gemmi.Model]:
        return [_without(model, names) for names in removed]

    return states


def _without(model: gemmi.Model, names: str) -> gemmi.Model:
    result = model.clone()
    for name in names:
        result.remove_chain(name)
    return result


def hinge_without(
    angle_deg: float, count: int, *removed: str
) -> Callable[[gemmi.Model], list[gemmi.Model]]:
    """One Fab turned about its hinge, by equal steps, without each of some sets of chains."""

    def states(model: gemmi.Model) -> list[gemmi.Model]:
        turned = hinge(angle_deg, count)(model)
        return [_without(state, names) for names in removed for state in turned]

    return states


def unrelated(count: int) -> Callable[[gemmi.Model], list[gemmi.Model]]:
    """Shapes that have nothing in common: balls of atoms along random walks."""

    def states(_: gemmi.Model) -> list[gemmi.Model]:
        return [_walk(seed) for seed in range(count)]

    return states


def _walk(seed: int) -> gemmi.Model:
    rng = np.random.default_rng(seed)
    place, chain = np.zeros(3), gemmi.Chain("A")
    steps = []
    for _ in range(12):
        direction = rng.normal(size=3)
        place = place + 22 * direction / np.linalg.norm(direction)
        place *= min(1.0, 90 / np.linalg.norm(place))
        steps.append(place + rng.normal(scale=9, size=(90, 3)))
    atoms = np.concatenate(steps)
    atoms -= atoms.mean(0)
    for number, position in enumerate(atoms, start=1):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(number, " ")
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(*position)
        residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    return model


SETS = {
    "hinge360": BenchmarkSet(states=hinge(360), circular=True),
    "hinge150": BenchmarkSet(states=hinge(150)),
    "hinge360_128px": BenchmarkSet(states=hinge(360), circular=True, box_size=128),
    "composition": BenchmarkSet(
        states=without_chains("", "LH", "KM", "L"), weights=(0.4, 0.3, 0.2, 0.1)
    ),
    "unrelated8": BenchmarkSet(states=unrelated(8)),
    "rigid": BenchmarkSet(states=hinge(0, 1)),
    # All that makes a set hard at once: a hinge of 25 steps, whole, without the light chain of
    # the resting Fab, without that Fab and half of the stem.
    "hard": BenchmarkSet(
        states=hinge_without(150, 25, "", "M", "KM"),
        compositions=3,
        axes=(Axis("parts", 3), Axis("line", 25)),
        num_images=6000,
        pose_error_deg=1.5,
        shift_error_px=0.3,
        contrast_spread=0.2,
        junk=0.05,
    ),
}
SETS["hard_mixed_junk"] = replace(SETS["hard"], mixed_junk=True)
# Two in a hundred have lost one light chain.
SETS["rare"] = BenchmarkSet(
    states=without_chains("", "M"), weights=(0.98, 0.02), num_images=6000, contrast_spread=0.2
)
for _name in ("hinge360", "hinge150", "composition", "unrelated8", "rigid"):
    SETS[f"{_name}_snr0.03"] = replace(SETS[_name], snr=0.03)
for _name, _change in {
    "pose_error": {"pose_error_deg": 2.0, "shift_error_px": 0.5},
    "contrast": {"contrast_spread": 0.2},
    "coloured": {"noise_fall": 3.0},
    "junk": {"junk": 0.05},
}.items():
    SETS[f"hinge360_{_name}"] = replace(SETS["hinge360"], **_change)

# Sets on which a plane through the volumes is not enough.
SETS |= {
    "two_hinges_128px": BenchmarkSet(
        states=two_hinges(180, 9),
        axes=(Axis("line", 9), Axis("line", 9)),
        side=3.0 * 128,
        box_size=128,
    ),
    "rotor360_snr0.03": BenchmarkSet(states=rotor(), circular=True, snr=0.03),
    "unrelated8_unequal": BenchmarkSet(
        states=unrelated(8), weights=(0.8, 0.4, 0.3, 0.2, 0.2, 0.1, 0.1, 0.1)
    ),
    "tilt_hinge360": BenchmarkSet(
        states=hinge(360),
        circular=True,
        num_images=2000,
        snr=0.02,
        tilts=TiltScheme(step_deg=6.0),
    ),
}


def make_set(
    settings: BenchmarkSet, structure: Path, output: Path, seed: int
) -> SimulationFiles:
    """Simulate a set, degrade it, and write it.

    Clean images are simulated; noise, contrasts, junk and errors of poses come on top, so that
    all sets of one kind have the same particles. ``poses.pkl`` holds the poses with their
    errors (``particles.star`` and ``true_poses.pkl`` those without), ``labels.npy`` −1 for
    junk, and ``truth/`` (:class:`Truth`) what else is known of every particle.
    """
    model = read_models(structure)[0]
    pixel_size = settings.pixel_size
    volumes = model_densities(
        settings.states(model), settings.box_size, pixel_size, 2 * pixel_size
    )
    order = _order(len(volumes), settings.weights)
    simulation = SimulationSettings(
        num_images=settings.num_images,
        pixel_size=pixel_size,
        snr=CLEAN,
        tilt_series=settings.tilts,
        seed=seed,
    )
    files = simulate([volumes[state] for state in order], simulation, output)
    rng = np.random.default_rng(seed)
    junk = rng.random(settings.num_images) < settings.junk
    labels = np.array(order)[read_npy(files.labels)]
    np.save(files.labels, np.where(junk, -1, labels))
    for path in files.state(0).parent.iterdir():
        path.unlink()
    for state, volume in enumerate(volumes):
        write_volume(files.state(state), volume, pixel_size)
    of_images = np.repeat(junk, simulation.images_per_particle)
    contrast = _add_noise(files, settings, of_images, rng, pixel_size)
    per_composition = len(volumes) // settings.compositions
    known = {
        "state": labels,
        "hinge": labels % per_composition,
        "composition": labels // per_composition,
        "junk": junk,
        "contrast": contrast,
    }
    (output / TRUTH).mkdir(exist_ok=True)
    for name, values in known.items():
        np.save(output / TRUTH / f"{name}.npy", values)
    shutil.copy(files.poses, output / TRUE_POSES)
    _disturb_poses(files, settings, rng)
    return files


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What is known of every particle of a set.

    Attributes:
        state: Number of its volume in ``gt``, of junk too (the particle that is not shown).
        hinge: Number of the angle of its hinge.
        composition: Number of its composition.
        junk: Whether its image shows nothing but noise.
        contrast: Factor of its signal, 0 for junk.
        rotations: Its rotation, without error.
        shifts: Its shift as a fraction of the box, without error.
    """

    state: np.ndarray
    hinge: np.ndarray
    composition: np.ndarray
    junk: np.ndarray
    contrast: np.ndarray
    rotations: np.ndarray
    shifts: np.ndarray

    @classmethod
    def of(cls, folder: Path) -> "Truth":
        """Read the truth of a set that :func:`make_set` wrote."""
        rotations, shifts = load_poses(folder / TRUE_POSES)
        names = ("state", "hinge", "composition", "junk", "contrast")
        known = {name: read_npy(folder / TRUTH / f"{name}.npy") for name in names}
        return cls(rotations=rotations, shifts=shifts, **known)


def make_set_once(
    settings: BenchmarkSet, structure: Path, output: Path, seed: int
) -> SimulationFiles:
    """The same, unless it is there whole already."""
    if not (output / "done").exists():
        shutil.rmtree(output, ignore_errors=True)
        make_set(settings, structure, output, seed)
        (output / "done").touch()
    return SimulationFiles(output)


def _order(count: int, weights: tuple[float, ...] | None) -> list[int]:
    """States as often as their weights say, in multiples of the least."""
    if weights is None:
        return list(range(count))
    least = min(weights)
    return [state for state, weight in enumerate(weights) for _ in range(round(weight / least))]


def _add_noise(
    files: SimulationFiles,
    settings: BenchmarkSet,
    junk: np.ndarray,
    rng: np.random.Generator,
    pixel_size: float,
) -> np.ndarray:
    """Add noise to images of varying contrast, which is returned."""
    images = ImageStack.whole_files([files.particles])
    sample = images.read(np.arange(min(len(images), 1000)))
    sigma = float(sample.std()) / math.sqrt(settings.snr)
    box_size, partial = settings.box_size, files.path / "noisy.mrcs"
    axis = np.fft.fftfreq(box_size)
    radius = np.sqrt(axis[:, None] ** 2 + axis[: box_size // 2 + 1] ** 2) / 0.5
    fall = settings.noise_fall ** -radius.clip(0, 1)
    contrasts = []
    with stack_writer(partial, box_size, pixel_size) as writer:
        for rows in np.array_split(np.arange(len(images)), max(1, len(images) // 500)):
            contrast = rng.normal(1, settings.contrast_spread, len(rows)).clip(0.2, None)
            clean = images.read(rows)
            if settings.mixed_junk:
                for place in np.flatnonzero(junk[rows]):
                    clean[place] = _strange(clean[place], images, rng)
            else:
                contrast[junk[rows]] = 0
            contrasts.append(contrast)
            noise = rng.normal(size=(len(rows), box_size, box_size))
            if settings.noise_fall != 1:
                coloured = np.fft.rfft2(noise) * fall
                noise = np.fft.irfft2(coloured, s=noise.shape[1:])
                noise /= math.sqrt(float(np.mean(fall**2)))
            writer.append((contrast[:, None, None] * clean / sigma + noise).astype(np.float32))
    partial.replace(files.particles)
    return np.concatenate(contrasts)


def _strange(own: np.ndarray, images: ImageStack, rng: np.random.Generator) -> np.ndarray:
    """What junk shows: nothing, another particle, or a neighbour beside its own."""
    other = images.read(rng.integers(len(images), size=1))[0]
    beside = np.roll(other, rng.integers(len(own), size=2), axis=(0, 1))
    return (np.zeros_like(own), other, own + beside)[rng.integers(3)]


def _disturb_poses(
    files: SimulationFiles, settings: BenchmarkSet, rng: np.random.Generator
) -> None:
    rotations, fractions = load_poses(files.poses)
    count = len(rotations)
    turns = np.deg2rad(settings.pose_error_deg) * rng.normal(size=(count, 3)) / math.sqrt(3)
    errors = roma.rotvec_to_rotmat(torch.from_numpy(turns)).numpy()
    moved = (
        fractions + rng.normal(size=(count, 2)) * settings.shift_error_px / settings.box_size
    )
    save_pickles(
        files.poses,
        [((errors @ rotations).astype(np.float32), moved.astype(np.float32))],
    )
