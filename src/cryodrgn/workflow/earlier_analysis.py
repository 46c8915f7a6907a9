"""Volumes and map that an earlier analysis left: they stay where they are of this one, too."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import InputFileError
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.latent_text import load_latent_text
from cryodrgn.io.provenance import describe_files
from cryodrgn.io.text import read_yaml
from cryodrgn.rundir import AnalysisFiles, VolumeSeries

logger = logging.getLogger(__name__)

Points = Float[np.ndarray, "points z"]
# Points are found anew by every analysis; their last digits depend on the machine.
TOLERANCE = 1e-5
PLOTS_ON_MAP = ("umap", "umap_hexbin", "umap_marginals")
PLOTS_OF_SERIES = ("umap", "umap_hex", "umap_traversal", "umap_traversal_connected")


def remove_volumes(
    files: AnalysisFiles, series: Iterable[tuple[VolumeSeries, Points]], *, may_stay: bool
) -> None:
    """Remove volumes of an earlier analysis, with their pictures, films and script.

    Args:
        files: The files of the analysis.
        series: Folder and points of each of its series; the points are not yet written.
        may_stay: Whether volumes stay that are at the same points, under the same numbers;
            it is said which are not.
    """
    removed = []
    for folder, points in series:
        there = [*folder.numbered(), *(path for path in (folder.film,) if path.is_file())]
        if not there or (may_stay and _is_at(folder, points)):
            continue
        for path in there:
            path.unlink()
        removed.append(str(folder.path))
    if not removed:
        return
    files.chimerax.unlink(missing_ok=True)
    if may_stay:
        logger.warning(
            "volumes of an earlier analysis are at other points, or have other numbers, and "
            "are removed from %s; leave out `skip_volumes` to make them",
            ", ".join(removed),
        )


def _is_at(folder: VolumeSeries, points: Points) -> bool:
    """True if volumes are at some points, and are numbered as theirs will be."""
    numbers, first = folder.numbered().values(), folder.first_number or 0
    if numbers and (min(numbers) != first or max(numbers) >= first + len(points)):
        return False
    try:
        made_at = load_latent_text(folder.z_values, points.shape[1])
    except InputFileError:
        return False
    far = TOLERANCE * np.abs(points).max()
    return made_at.shape == points.shape and bool(np.abs(made_at - points).max() <= far)


def earlier_map(
    files: AnalysisFiles,
    latents: Path,
    count: int,
    series: Iterable[VolumeSeries],
    *,
    is_made_again: bool,
) -> Float[np.ndarray, "particles 2"] | None:
    """Places of the particles on the map that is there, removed if it is of other latents.

    Plots on it go in any case: they show points and clusters of the earlier analysis.

    Args:
        files: The files of the analysis, whose record is still that of the earlier one.
        latents: The file of the latents.
        count: Number of particles.
        series: Folders of all series.
        is_made_again: Whether a new map follows, so that none is missed.

    Returns:
        None if there is no map of these latents.
    """
    plots = [files.plot(name) for name in PLOTS_ON_MAP]
    plots += [folder.plot(name) for folder in series for name in PLOTS_OF_SERIES]
    for path in plots:
        path.unlink(missing_ok=True)
    if not files.umap.is_file():
        return None
    # Other programs write maps without a record: to make one takes long, so it is kept.
    if not files.record.is_file() or _is_recorded(files.record, latents):
        try:
            places = load_latents(files.umap)
        except InputFileError:
            places = np.empty((0, 2), np.float32)
        if places.shape == (count, 2):
            if not files.record.is_file() and not is_made_again:
                logger.warning(
                    "%s stands without %s, which would tell its latents; it is taken for a map "
                    "of those in %s",
                    files.umap,
                    files.record.name,
                    latents,
                )
            return places
    files.umap.unlink()
    if not is_made_again:
        logger.warning(
            "%s is removed: %s does not tell that it is a map of the latents in %s",
            files.umap,
            files.record.name,
            latents,
        )
    return None


def _is_recorded(record: Path, latents: Path) -> bool:
    """True if an analysis wrote down that it had the latents that are there now."""
    try:
        content = read_yaml(record)
    except InputFileError:
        return False
    inputs = content.get("inputs") if isinstance(content, dict) else None
    digests = [item["sha256"] for item in describe_files([latents])]
    known = [item.get("sha256") for item in inputs or [] if isinstance(item, dict)]
    return any(digest in known for digest in digests)
