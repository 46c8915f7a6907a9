"""Columns by which the page places and colours particles: one number for each of them.

A column is named by its group and its name in it. Columns of latents belong to an epoch; those
of poses, CTF and the particle file to the run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import InputFileError, ShapeMismatchError
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_array, load_labels, load_pickles
from cryodrgn.io.score_table import JUNK, score_names, scores_for
from cryodrgn.particles.half_sets import halves_of
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.rundir import AnalysisFiles, JudgedFiles, LandscapeFiles
from cryodrgn.runs.run import Run
from cryodrgn.units import ANGSTROM_PER_MICRON

# More groups than this are numbers, not names to choose from.
MOST_NAMES = 100_000
MOST_COMPONENTS = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Column:
    """One number for every particle.

    Attributes:
        values: The numbers; not-a-number where a particle has none.
        names: What the numbers 0, 1, … stand for; None for a quantity.
        unit: Unit of a quantity.
    """

    values: Float[np.ndarray, " particles"]
    names: tuple[str, ...] | None = None
    unit: str = ""

    @classmethod
    def of_names(cls, texts: list[str]) -> "Column":
        """Groups of particles with the same name, in the order of the names."""
        names, numbers = np.unique(np.asarray(texts), return_inverse=True)
        if len(names) > MOST_NAMES:
            return cls(values=numbers.reshape(-1).astype(np.float32))
        shown = tuple(str(name) for name in names)
        return cls(values=numbers.reshape(-1).astype(np.float32), names=shown)


Maker = Callable[[], Column]
Makers = dict[str, Maker]


def posterior_columns(path: Path, count: int) -> Makers:
    """Uncertainty of the latents of an encoder: the second pickle of their file."""

    def spread() -> Column:
        content = load_pickles(path)
        if len(content) < 2 or np.shape(content[1])[:1] != (count,):
            msg = f"{path} holds latents without their variances"
            raise InputFileError(msg)
        deviations = np.exp(0.5 * np.asarray(content[1], dtype=np.float32))
        return Column(values=np.sqrt(np.square(deviations).mean(1)))

    return {"posterior deviation": spread}


def analysis_columns(files: AnalysisFiles) -> Makers:
    """The map of the latent space and the clusters that an analysis wrote."""
    found: Makers = {}
    if files.umap.is_file():
        for axis in (0, 1):
            found[f"UMAP{axis + 1}"] = lambda axis=axis: _axis(files.umap, axis)
    for number in AnalysisFiles.clusters.numbers(files):
        path = files.clusters(number).labels
        if path.is_file():
            found[f"{number} clusters"] = lambda path=path: _labels(path)
    return found


def landscape_columns(files: LandscapeFiles) -> Makers:
    """Coordinates and states of all particles in the landscape of volumes."""
    found: Makers = {}
    if files.all_coordinates.is_file():
        count = load_array(files.all_coordinates).shape[-1]
        for axis in range(min(count, MOST_COMPONENTS)):
            name = f"volume PC{axis + 1}"
            found[name] = lambda axis=axis: _axis(files.all_coordinates, axis)
    for name, path in {
        "landscape state": files.all_states,
        "landscape community": files.communities,
    }.items():
        if path.is_file():
            found[name] = lambda path=path: _labels(path)
    return found


def linear_columns(run: Run) -> Makers:
    """Contrast and half-model latents of a linear run."""
    files, found = run.files.linear, {}
    if files.contrasts.is_file():
        found["contrast"] = lambda: Column(values=numbers_of(read_npy(files.contrasts)))
    if files.half_latents.is_file():
        count = min(run.latent_dim, MOST_COMPONENTS)
        for axis in range(count):
            found[f"half-model z{axis + 1}"] = lambda axis=axis: Column(
                values=numbers_of(read_npy(files.half_latents)[:, axis])
            )
    return found


def score_columns(
    files: JudgedFiles, rows: Callable[[], Int[np.ndarray, " particles"]]
) -> Makers:
    """Scores of the particles of a finished run: contrast, misfit, distances, and junk.

    The table names particles by their rows in the original file, by which they are found.

    Args:
        files: Names of the run's files.
        rows: Row of every particle in the original file, when they are needed.

    Raises:
        InputFileError: The file holds no table of scores.
    """
    if not files.table.is_file():
        return {}

    def score(name: str) -> Column:
        values = scores_for(files.table, rows())[name]
        if name != JUNK:
            return Column(values=values)
        return Column(values=values, names=("good", "junk"))

    return {name: lambda name=name: score(name) for name in score_names(files.table)}


def set_columns(
    numbers: Int[np.ndarray, " particles"],
    rows: Int[np.ndarray, " particles"],
    *,
    is_series: bool,
) -> Makers:
    """Half set of every particle, and its place in the file, which usually is order of time.

    Args:
        numbers: Number of the different particle that each row of the run shows.
        rows: Place of every particle in the file that the run was given.
        is_series: Whether they are numbers of particles, whose tilt images have the rows.
    """

    def half() -> Column:
        _, second = halves_of(np.arange(len(numbers)), numbers)
        values = np.zeros(len(numbers), dtype=np.float32)
        values[second] = 1
        return Column(values=values, names=("first", "second"))

    place = "number of the particle in the file" if is_series else "row in the file"
    return {"half set": half, place: lambda: Column(values=numbers_of(rows))}


def image_columns(images: ImageTable) -> Makers:
    """Poses, CTF, dose and origin of the first image of every particle."""
    found: Makers = {}
    poses, ctf = images.poses, images.ctf
    if poses is not None:
        views = poses.rotations[:, 2]
        found |= {
            "view azimuth": lambda: _degrees(np.arctan2(views[:, 1], views[:, 0])),
            "view elevation": lambda: _degrees(np.arcsin(views[:, 2].clip(-1, 1))),
            "in-plane angle": lambda: _degrees(
                np.arctan2(poses.rotations[:, 1, 2], -poses.rotations[:, 0, 2])
            ),
            "shift x": lambda: Column(values=poses.shifts[:, 0], unit="Å"),
            "shift y": lambda: Column(values=poses.shifts[:, 1], unit="Å"),
        }
    if ctf is not None:
        found |= {
            "defocus": lambda: _microns((ctf.defocus_u + ctf.defocus_v) / 2),
            "astigmatism": lambda: _microns(ctf.defocus_u - ctf.defocus_v),
            "phase shift": lambda: _degrees(np.asarray(ctf.phase_shift)),
        }
    if images.doses is not None:
        doses = images.doses
        found["dose"] = lambda: Column(values=numbers_of(doses), unit="e/Å²")
    if images.tilt_angles is not None:
        tilts = images.tilt_angles
        found["stage tilt"] = lambda: _degrees(tilts)
    return found


def older_than(latents: Path, files: AnalysisFiles | LandscapeFiles) -> list[str]:
    """Sentences on results that were computed before the latents that they belong to."""
    try:
        known = latents.stat().st_mtime
        old = [path for path in files.written_files() if path.stat().st_mtime < known]
    except OSError:
        return []
    tables = [path for path in old if path.suffix in {".pkl", ".npy"}]
    if not tables:
        return []
    msg = (
        f"{tables[0]} is older than {latents}: it may belong to latents that the run had "
        "before; analyse the run again"
    )
    return [msg]


def of_length(column: Column, count: int, name: str) -> Column:
    """A column, after checking that it has a value for every particle.

    Raises:
        ShapeMismatchError: It has another number of them.
    """
    if len(column.values) != count:
        msg = (
            f"{name} has {len(column.values)} values, but the run has {count} particles; the "
            "file belongs to another epoch or another set"
        )
        raise ShapeMismatchError(msg)
    return column


def shown_groups(groups: Mapping[str, Makers]) -> list[dict[str, object]]:
    """Names of columns by group, as the page lists them."""
    return [
        {"group": group, "names": list(makers)} for group, makers in groups.items() if makers
    ]


def numbers_of(values: np.ndarray) -> Float[np.ndarray, " particles"]:
    """Values as a column has them; those beyond its precision become infinite."""
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def _degrees(radians: np.ndarray) -> Column:
    return Column(values=numbers_of(np.rad2deg(radians)), unit="°")


def _microns(lengths: np.ndarray) -> Column:
    return Column(values=numbers_of(lengths / ANGSTROM_PER_MICRON), unit="µm")


def _axis(path: Path, axis: int) -> Column:
    table = load_array(path)
    if table.ndim != 2 or table.shape[1] <= axis:
        msg = f"{path} holds no coordinates: expected (particles, axes), found {table.shape}"
        raise InputFileError(msg)
    return Column(values=numbers_of(table[:, axis]))


def _labels(path: Path) -> Column:
    labels = load_labels(path)
    if len(labels) and (labels.min() < 0 or labels.max() >= MOST_NAMES):
        return Column(values=numbers_of(labels))
    names = tuple(str(number) for number in range(int(labels.max(initial=0)) + 1))
    return Column(values=numbers_of(labels), names=names)
