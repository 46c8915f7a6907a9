"""Columns by which the page places and colours particles: one number for each of them.

A column is named by its group and its name in it. Columns of latents belong to an epoch; those
of poses, CTF and the particle file to the run.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.analysis.pca import principal_components
from cryodrgn.errors import CryodrgnError, InputFileError, ShapeMismatchError
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_array, load_labels, load_pickles
from cryodrgn.io.cryosparc_tables import read_table
from cryodrgn.io.particle_files import open_metadata
from cryodrgn.io.score_table import JUNK, read_scores
from cryodrgn.io.star import particle_block, read_star
from cryodrgn.particles.half_sets import halves_of
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.rundir import AnalysisFiles, JudgedFiles, LandscapeFiles
from cryodrgn.runs.run import Run
from cryodrgn.units import ANGSTROM_PER_MICRON

logger = logging.getLogger(__name__)

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


def latent_columns(latents: Float[np.ndarray, "particles z"]) -> Makers:
    """The latent's dimensions and its principal components."""
    dim = latents.shape[1]
    found: Makers = {f"z{i + 1}": lambda i=i: Column(values=latents[:, i]) for i in range(dim)}
    if dim < 2 or len(latents) < 2:
        return found
    components = principal_components(latents, min(dim, MOST_COMPONENTS))
    centre = components.mean.astype(np.float32)

    def along(number: int) -> Column:
        direction = components.directions[number].astype(np.float32)
        return Column(values=latents @ direction - float(centre @ direction))

    for number in range(len(components)):
        found[f"PC{number + 1}"] = lambda number=number: along(number)
    return found


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
        found["contrast"] = lambda: Column(values=_numbers(read_npy(files.contrasts)))
    if files.half_latents.is_file():
        count = min(run.latent_dim, MOST_COMPONENTS)
        for axis in range(count):
            found[f"half-model z{axis + 1}"] = lambda axis=axis: Column(
                values=_numbers(read_npy(files.half_latents)[:, axis])
            )
    return found


def score_columns(files: JudgedFiles) -> Makers:
    """Scores of the particles of a finished run: contrast, misfit, distances, and junk."""
    if not files.table.is_file():
        return {}

    def score(name: str) -> Column:
        values = read_scores(files.table)[1][name]
        if name != JUNK:
            return Column(values=values)
        return Column(values=values, names=("good", "junk"))

    try:
        names = list(read_scores(files.table)[1])
    except CryodrgnError as error:
        logger.warning("no scores: %s", error)
        return {}
    return {name: lambda name=name: score(name) for name in names}


def set_columns(
    numbers: Int[np.ndarray, " particles"], rows: Int[np.ndarray, " particles"]
) -> Makers:
    """Half set of every particle, and its row in the file, which usually is order of time.

    Args:
        numbers: Number of the different particle that each row of the run shows.
        rows: Row of every particle in the file that the run was given.
    """

    def half() -> Column:
        _, second = halves_of(np.arange(len(numbers)), numbers)
        values = np.zeros(len(numbers), dtype=np.float32)
        values[second] = 1
        return Column(values=values, names=("first", "second"))

    return {"half set": half, "row in the file": lambda: Column(values=_numbers(rows))}


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
        found["dose"] = lambda: Column(values=_numbers(doses), unit="e/Å²")
    if images.tilt_angles is not None:
        tilts = images.tilt_angles
        found["stage tilt"] = lambda: _degrees(tilts)
    return found


def file_columns(path: Path, rows: Int[np.ndarray, " particles"]) -> Makers:
    """Groups and numbers of a ``.star`` or ``.cs`` file, by the names that the file has.

    Only names are looked at until a column is asked for.

    Args:
        path: The particle file.
        rows: Row of every particle in it.

    Raises:
        InputFileError: The file cannot be read.
    """
    if path.suffix == ".cs":
        table = read_table(path)
        found: Makers = {}
        for name in table.dtype.names or ():
            kind = table.dtype[name]
            if kind.base.kind in "SU":
                found[name] = lambda name=name: Column.of_names(
                    [
                        str(value, "utf-8", "replace")
                        for value in _bytes(read_table(path), name, rows)
                    ]
                )
            elif kind.base.kind in "iufb" and int(np.prod(kind.shape)) == 1:
                found[name] = lambda name=name: Column(
                    values=_numbers(read_table(path)[name].reshape(-1)[rows])
                )
        return found
    if path.suffix != ".star":
        return {}
    blocks = read_star(path)
    block = particle_block(path, {name: len(table) for name, table in blocks.items()})

    def column(name: str) -> Column:
        table = read_star(path)[block]
        try:
            return Column(values=_numbers(table.numbers(name)[rows]))
        except CryodrgnError:
            texts = table.text(name)
            return Column.of_names([texts[row] for row in rows.tolist()])

    return {name: lambda name=name: column(name) for name in blocks[block].names}


def category_columns(path: Path, rows: Int[np.ndarray, " particles"]) -> Makers:
    """Micrographs (or tomograms) and optics groups, if the file tells of them."""
    metadata = open_metadata(path)
    if metadata is None:
        return {}
    names = metadata.select(rows[:1]).categories()

    def column(name: str) -> Column:
        again = open_metadata(path)
        assert again is not None
        return Column.of_names(again.select(rows).categories()[name])

    return {name: lambda name=name: column(name) for name in names}


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


def _numbers(values: np.ndarray) -> Float[np.ndarray, " particles"]:
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def _degrees(radians: np.ndarray) -> Column:
    return Column(values=_numbers(np.rad2deg(radians)), unit="°")


def _microns(lengths: np.ndarray) -> Column:
    return Column(values=_numbers(lengths / ANGSTROM_PER_MICRON), unit="µm")


def _axis(path: Path, axis: int) -> Column:
    table = load_array(path)
    if table.ndim != 2 or table.shape[1] <= axis:
        msg = f"{path} holds no coordinates: expected (particles, axes), found {table.shape}"
        raise InputFileError(msg)
    return Column(values=_numbers(table[:, axis]))


def _labels(path: Path) -> Column:
    labels = load_labels(path)
    if len(labels) and (labels.min() < 0 or labels.max() >= MOST_NAMES):
        return Column(values=_numbers(labels))
    names = tuple(str(number) for number in range(int(labels.max(initial=0)) + 1))
    return Column(values=_numbers(labels), names=names)


def _bytes(table: np.ndarray, name: str, rows: np.ndarray) -> list[bytes]:
    values = table[name].reshape(len(table), -1)[:, 0][rows]
    return [v if isinstance(v, bytes) else str(v).encode() for v in values.tolist()]
