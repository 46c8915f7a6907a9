"""The nuisance report of a latent space: what it follows besides structure, on one page."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryodrgn.analysis.nuisance_plots import plot_coloured, plot_explained, plot_shares
from cryodrgn.analysis.pca import principal_components
from cryodrgn.analysis.report import HtmlReport
from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.diagnosis.nuisance import NuisanceScore, nuisance_scores, nuisances_of
from cryodrgn.diagnosis.rigid_motion import AxisChange, axis_changes
from cryodrgn.errors import ShapeMismatchError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.particle_files import ParticleFiles, open_metadata, open_particles
from cryodrgn.io.recorded_files import (
    number_explained,
    require_particles_of_latents,
    warn_of_other_particles,
)
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.sampling import runs_of_one_shape
from cryodrgn.preflight.plan import require_output
from cryodrgn.preflight.plans import nuisance_plan
from cryodrgn.preflight.screening import (
    Screen,
    places_kept,
    run_excluding_bad_images,
    screen_particles,
)
from cryodrgn.rundir import NuisanceFiles, ScreeningFiles
from cryodrgn.units import ANGSTROM_PER_MICRON

logger = logging.getLogger(__name__)

MAX_AXES = 8
# Share of a change from which its cause is named.
LEAST_SHARE = 0.5
PARTICLES_DRAWN = 20_000
BYTES_PER_BATCH = 2**26


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NuisanceResult:
    """Nuisance variables that a latent space follows.

    Attributes:
        sentence: The verdict in words.
        is_pose_driven: Whether most of what changes along the axes, by power, is where the
            molecule is placed.
        changes: What changes along every principal axis.
        scores: What every nuisance explains of every principal axis.
        files: Where it is written.
    """

    sentence: str
    is_pose_driven: bool
    changes: list[AxisChange]
    scores: list[NuisanceScore]
    files: NuisanceFiles


def report_nuisances(
    files: ParticleFiles,
    latents: Float[np.ndarray, "particles z"],
    output: Path,
    *,
    source: Path | None = None,
    num_images: int = 3000,
    seed: int = 0,
    screen: Screen = "sample",
) -> NuisanceResult:
    """Say what a latent space follows besides structure, on a page and as JSON.

    Args:
        files: The particles of the latents, with poses.
        latents: Latent coordinates, one row per particle.
        output: Folder for ``nuisance.html`` and ``nuisance.json``.
        source: The file that they are read from; None for none.
        num_images: Images from which the change along every axis is estimated.
        seed: Of folds and shuffles.
        screen: Which images are screened before, see
            :func:`~cryodrgn.preflight.screening.screen_stack`; bad ones are left out.

    Raises:
        CryodrgnError: A file cannot be used, or the latents are those of other particles.
    """
    particles = open_particles(files)
    if len(latents) != len(particles):
        advice = "" if source is None else number_explained(source, particles)
        msg = (
            f"there are {len(latents)} latents, but {particles.source} has {len(particles)} "
            f"particles{advice or '; if they were filtered, give their rows with `indices`'}"
        )
        raise ShapeMismatchError(msg)
    if source is not None:
        require_particles_of_latents(source, particles)
    particles.images.require_poses()
    warn_of_other_particles(files.poses, "poses", particles)
    particles.require_pixel_size()
    require_output(output)

    screening = ScreeningFiles.beside(NuisanceFiles(output).page)

    def screened(how: Screen) -> ParticleSet:
        return screen_particles(particles, screening, how)

    def work(kept: ParticleSet) -> NuisanceResult:
        rows = places_kept(particles, kept)
        return _report(files, kept, latents[rows], output, num_images, seed)

    return run_excluding_bad_images(screened, work, screen, screening)


def _report(
    files: ParticleFiles,
    particles: ParticleSet,
    latents: Float[np.ndarray, "particles z"],
    output: Path,
    num_images: int,
    seed: int,
) -> NuisanceResult:
    """The report on images that have been screened."""
    nuisance_plan(particles, num_images, output).announce("the report")
    axes = principal_components(latents, MAX_AXES).project(latents)
    sample = np.linspace(0, len(axes) - 1, min(len(axes), num_images)).round().astype(np.int64)
    images = QuickImages(particles.first_images, np.unique(sample))
    changes = axis_changes(images, axes[images.rows], seed=seed)
    nuisances = nuisances_of(particles, _categories(files, particles), _statistics(particles))
    scores = nuisance_scores(axes, nuisances, seed=seed, numbers=particles.numbers)
    labels = [f"PC{number}" for number in range(1, axes.shape[1] + 1)]
    sentence, is_pose_driven = describe(labels, changes, scores)
    result = NuisanceResult(
        sentence=sentence,
        is_pose_driven=is_pose_driven,
        changes=changes,
        scores=scores,
        files=NuisanceFiles(output),
    )
    _write_json(result, labels)
    _write_page(result, labels, axes, particles)
    logger.info("%s\nThe page is %s", sentence, result.files.page)
    return result


def describe(
    labels: Sequence[str], changes: Sequence[AxisChange], scores: Sequence[NuisanceScore]
) -> tuple[str, bool]:
    """The verdict in words, and whether the latent space is pose-driven.

    Args:
        labels: Names of the axes.
        changes: What changes along each.
        scores: What each nuisance explains of each.
    """
    real = [change for change in changes if change.is_real]
    rigid = [change.is_real and change.rigid_share > LEAST_SHARE for change in changes]
    contrast = [change.is_real and change.contrast_share > LEAST_SHARE for change in changes]
    power = sum(change.power for change in real)
    moved = sum(change.power * change.rigid_share for change in real)
    is_pose_driven = power > 0 and moved > LEAST_SHARE * power
    parts = []
    if is_pose_driven:
        parts.append(
            f"the latent space is pose-driven: {100 * moved / power:.0f} % of what changes "
            "along it is where the molecule is placed, not its structure"
        )
    elif any(rigid):
        parts.append(f"errors of the poses show along {_names(labels, rigid)}")
    if any(contrast):
        parts.append(f"the contrast of images shows along {_names(labels, contrast)}")
    for score in scores:
        counts = score.counts()
        if counts.any():
            largest = float(score.explained[counts].max())
            parts.append(
                f"{_names(labels, counts)} can be predicted from {score.name} (R² up to "
                f"{largest:.2f})"
            )
    if not real:
        parts.append("no change of structure above noise was found along any axis")
    if not parts:
        axes = _names(labels, [change.is_real for change in changes])
        parts.append(
            f"no nuisance explains what changes along {axes}: it is structure, or noise that "
            "the latent took for it"
        )
    unseen = [not change.is_real for change in changes]
    if real and any(unseen):
        parts.append(f"no change above noise was found along {_names(labels, unseen)}")
    sentence = "; ".join(parts) + "."
    return sentence[0].upper() + sentence[1:], is_pose_driven


def _names(labels: Sequence[str], chosen: Sequence[bool] | np.ndarray) -> str:
    return ", ".join(label for label, is_in in zip(labels, chosen, strict=True) if is_in)


def _categories(files: ParticleFiles, particles: ParticleSet) -> Mapping[str, list[str]]:
    metadata = open_metadata(files.particles)
    return {} if metadata is None else metadata.select(particles.first_images.rows).categories()


def _statistics(particles: ParticleSet) -> Float[np.ndarray, "particles 2"]:
    """Mean and standard deviation of the first image of every particle."""
    parts, images = [], particles.first_images
    size = max(1, BYTES_PER_BATCH // (4 * images.box_size**2))
    for rows in runs_of_one_shape(images.shapes, size):
        pixels = images.read(rows).reshape(len(rows), -1)
        parts.append(np.stack([pixels.mean(1), pixels.std(1)], axis=1))
    return np.concatenate(parts).astype(np.float64)


def _write_json(result: NuisanceResult, labels: Sequence[str]) -> None:
    content = {
        "verdict": result.sentence,
        "is_pose_driven": result.is_pose_driven,
        "axes": {
            label: asdict(change)
            | {score.name: float(score.explained[number]) for score in result.scores}
            for number, (label, change) in enumerate(zip(labels, result.changes, strict=True))
        },
        "shuffled": {score.name: score.baseline.tolist() for score in result.scores},
    }
    with atomic_path(result.files.json) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _write_page(
    result: NuisanceResult,
    labels: Sequence[str],
    axes: Float[np.ndarray, "particles axes"],
    particles: ParticleSet,
) -> None:
    report = HtmlReport("cryodrgn nuisance")
    report.verdict(result.sentence)
    report.heading("What changes along each axis")
    changes = result.changes
    report.figure(
        plot_shares(
            labels,
            [change.rigid_share for change in changes],
            [change.contrast_share for change in changes],
            [change.agreement for change in changes],
        ),
        "The change of the map along each principal axis was estimated from two halves of the "
        "images. Shown is how much of it rotations and shifts of the whole molecule explain, "
        "how much its contrast, and how well the halves agree; without agreement the shares "
        "mean nothing. A latent that was estimated from these images can follow their noise, "
        "and both halves then agree on it: whether there is any structure in it, train_linear "
        "says, which fits each half by itself.",
    )
    report.heading("What each axis can be predicted from")
    explained = np.stack([score.explained for score in result.scores])
    report.figure(
        plot_explained([score.name for score in result.scores], explained, labels),
        "Share of the variance of each axis that is predicted on particles left out of the "
        "regression. Shuffled nuisances explain "
        f"{max(float(score.baseline.max()) for score in result.scores):.2f} at most.",
    )
    if axes.shape[1] > 1:
        rows = np.arange(0, len(axes), -(-len(axes) // PARTICLES_DRAWN))
        report.figure(
            plot_coloured(
                axes[rows][:, :2],
                {name: values[rows] for name, values in _colours(particles).items()},
                (labels[0], labels[1]),
            ),
            "The first two axes, coloured by nuisances.",
        )
    report.write(result.files.page)


def _colours(particles: ParticleSet) -> dict[str, Float[np.ndarray, " particles"]]:
    images = particles.first_images
    poses = images.require_poses()
    view, pixels = poses.rotations[:, 2], poses.shifts / images.pixel_sizes[:, None]
    found = {
        "longitude of the view (°)": np.rad2deg(np.arctan2(view[:, 1], view[:, 0])),
        "tilt of the view (°)": np.rad2deg(np.arccos(view[:, 2].clip(-1, 1))),
        "length of the shift (px)": np.linalg.norm(pixels, axis=1),
        "place in the file": np.arange(len(particles), dtype=np.float64),
    }
    if images.ctf is not None:
        mean = (images.ctf.defocus_u + images.ctf.defocus_v) / 2
        found["defocus (µm)"] = mean / ANGSTROM_PER_MICRON
    return found
