"""The check of a particle file: what it holds, whether it fits its images, on one page."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from cryodrgn.analysis.check_plots import (
    plot_comparisons,
    plot_defocus,
    plot_views,
)
from cryodrgn.analysis.image_plots import plot_slices
from cryodrgn.analysis.latent_plots import plot_view_directions
from cryodrgn.analysis.plots import plot_fsc
from cryodrgn.analysis.report import HtmlReport
from cryodrgn.diagnosis.convention_verdict import Verdict, judge
from cryodrgn.diagnosis.conventions import STATED
from cryodrgn.diagnosis.curvature import (
    CurvatureFit,
    fit_curvature,
    radius_of_curvature,
    sample_within_memory,
)
from cryodrgn.diagnosis.extent import density_radius
from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.diagnosis.image_state import as_multiplied
from cryodrgn.diagnosis.optics_terms import term_comparisons, with_terms
from cryodrgn.diagnosis.pixel_size import group_sizes, with_group_sizes
from cryodrgn.diagnosis.screening import Screening, screen_images
from cryodrgn.diagnosis.views import view_averages
from cryodrgn.errors import MetadataError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.mrc import write_volume
from cryodrgn.io.particle_files import ParticleFiles, open_images, open_metadata, open_particles
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.sampling import kinds_in_words
from cryodrgn.rundir import CheckFiles
from cryodrgn.units import ANGSTROM_PER_MICRON
from cryodrgn.workflow.options import CheckSettings

logger = logging.getLogger(__name__)

ROWS_NAMED = 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CheckResult:
    """Result of a check.

    Attributes:
        passed: Whether the file can be used as it stands.
        sentence: The verdict in words.
        files: Where it is written.
    """

    passed: bool
    sentence: str
    files: CheckFiles


def check_particles(
    files: ParticleFiles, output: Path, settings: CheckSettings | None = None
) -> CheckResult:
    """Check a particle file and write what was found as a page, as JSON, and a first map.

    Args:
        files: The files that describe the particles.
        output: Folder for ``check.html``, ``check.json`` and ``map.mrc``.
        settings: How thoroughly.

    Raises:
        CryodrgnError: A file cannot be used, or there are no poses.
    """
    settings = settings or CheckSettings()
    particles = open_particles(files)
    particles.images.require_poses()
    metadata = open_metadata(files.particles)
    stack = open_images(files.particles, metadata, files.datadir, of_any_shape=True)
    stack = stack.select(particles.images.rows)
    screening = screen_images(stack, _spread(len(stack), settings.num_screened))
    logger.info("%s", screening.in_words())
    sample = _spread(len(particles.images), settings.num_images)
    rows = np.setdiff1d(sample, screening.unusable)
    if len(rows) < 2:
        msg = f"{particles.source} has fewer than two images that can be computed with"
        raise MetadataError(msg)
    table, wrong_state = as_multiplied(particles.images, rows)
    images = QuickImages(table, rows, invert=settings.invert)
    verdict = judge(images, seed=settings.seed)
    terms = term_comparisons(table, rows, verdict.convention, invert=settings.invert)
    verdict = with_terms(verdict, terms, wrong_state)
    sizes = group_sizes(table, rows, verdict.convention, invert=settings.invert)
    verdict = with_group_sizes(verdict, sizes)
    curvature = _curvature(images, verdict, settings)
    summary = summarise(particles)
    if curvature is not None:
        summary["Ewald sphere"] = curvature.in_words()
    result = CheckFiles(output)
    _write_json(result.json, summary, screening, verdict, particles, curvature)
    _write_map(result.map, verdict, images.pixel_size)
    _write_page(result.page, summary, screening, verdict, images)
    logger.info("%s\nThe page is %s", verdict.sentence, result.page)
    return CheckResult(passed=verdict.passed, sentence=verdict.sentence, files=result)


def _curvature(
    images: QuickImages, verdict: Verdict, settings: CheckSettings
) -> CurvatureFit | None:
    """Hand of the Ewald sphere's curvature; None where resolution does not ask for it.

    Poses and CTF that do not fit the images would decide for neither.
    """
    table = images.table
    radius = radius_of_curvature(table, images.rows)
    if radius is None or not verdict.passed:
        return None
    rows = sample_within_memory(images.rows, radius)
    found = fit_curvature(QuickImages(table, rows, radius, invert=settings.invert))
    logger.info("%s", found.in_words())
    return found


def summarise(particles: ParticleSet) -> dict[str, str]:
    """Summary of the particles, with the source of each quantity."""
    images = particles.images
    poses, ctf = images.require_poses(), images.ctf
    sizes = f"{particles.require_pixel_size():.4g} Å/px"
    if images.sampling is not None:
        kinds = kinds_in_words(images.pixel_sizes_in_files, images.shapes)
        sizes = f"{kinds}, compared at {sizes}"
    pixels = poses.shifts / images.pixel_sizes[:, None]
    found = {
        "particles": f"{len(particles)} of {particles.source}",
        "box": f"{particles.box_size} px",
        "pixel size": sizes,
        "poses": f"from {poses.source}",
        "shifts": f"up to {np.abs(pixels).max(initial=0):.2f} px, from {poses.source}",
    }
    if particles.offsets is not None:
        found["images"] = _images_in_words(particles)
    if ctf is None:
        return found | {"CTF": "none: images are taken to carry no CTF"}
    microscopes = np.unique(
        np.stack([ctf.voltage_kv, ctf.spherical_aberration_mm, ctf.amplitude_contrast], axis=1),
        axis=0,
    )
    lines = [f"{kv:g} kV, Cs {cs:g} mm, amplitude contrast {w:g}" for kv, cs, w in microscopes]
    mean = (ctf.defocus_u + ctf.defocus_v) / 2 / ANGSTROM_PER_MICRON
    return found | {
        "CTF": f"from {ctf.source}",
        "optics": "; ".join(lines[:5]),
        "defocus": f"{mean.min():.2f} to {mean.max():.2f} µm",
        "phase shift": f"{np.rad2deg(ctf.phase_shift).min():.0f}° to "
        f"{np.rad2deg(ctf.phase_shift).max():.0f}°",
    }


def _images_in_words(particles: ParticleSet) -> str:
    """Numbers of images of the particles of tilt series, their doses and tomograms."""
    counts, images = particles.image_counts, particles.images
    words = f"{len(images)}, {counts.min()} to {counts.max()} of each particle"
    if images.doses is not None:
        words += f"; dose {images.doses.min():g} to {images.doses.max():g} e/Å²"
    if particles.tomograms is not None:
        words += f"; {len(np.unique(particles.tomograms))} tomograms"
    return words


def _spread(count: int, wanted: int) -> np.ndarray:
    """Rows spread evenly over a file."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


def _write_json(
    path: Path,
    summary: dict[str, str],
    screening: Screening,
    verdict: Verdict,
    particles: ParticleSet,
    curvature: CurvatureFit | None,
) -> None:
    rows = particles.images.rows
    content: dict[str, Any] = {
        "passed": verdict.passed,
        "verdict": verdict.sentence,
        "changes": list(verdict.changes),
        "found": summary,
        "screened": screening.num_screened,
        "odd_images": {
            words: rows[found].tolist() for words, found in screening.findings().items()
        },
        "gain_per_image": {
            "as stated": verdict.stated_gain,
            "shuffled rows": verdict.control_gain,
            "best": verdict.fit.mean_gain,
        },
        "best_convention": asdict(verdict.convention),
        "map_skewness": verdict.skewness,
        "density_radius": density_radius(verdict.fit.half_maps),
        "conventions": [
            {
                "words": comparison.words,
                "gain": comparison.gain,
                "difference": comparison.difference,
                "standard_error": comparison.error,
            }
            for comparison in verdict.comparisons
        ],
        "ewald": None
        if curvature is None
        else {
            "hand": curvature.hand,
            "gain": {f"{sign:+d}": gain for sign, gain in curvature.gains.items()},
            "words": curvature.in_words(),
        },
        "fsc": {
            "cycles_per_pixel": verdict.fsc.frequencies.tolist(),
            "values": verdict.fsc.values.tolist(),
        },
    }
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _map(verdict: Verdict) -> Float[Tensor, "box box box"]:
    """The map of both halves, with its density positive."""
    sign = -1 if verdict.skewness is not None and verdict.skewness < 0 else 1
    return sign * (verdict.fit.half_maps[0] + verdict.fit.half_maps[1]) / 2


def _write_map(path: Path, verdict: Verdict, pixel_size: float) -> None:
    write_volume(path, _map(verdict).numpy(), pixel_size)
    logger.info("a first map of the sample is %s (%.3g Å per voxel)", path, pixel_size)


def _write_page(
    path: Path,
    summary: dict[str, str],
    screening: Screening,
    verdict: Verdict,
    images: QuickImages,
) -> None:
    report = HtmlReport("cryodrgn check")
    report.verdict(verdict.sentence)
    report.heading("What was found")
    report.commands([f"{name:12} {value}" for name, value in summary.items()])
    report.paragraph(screening.in_words())
    for words, rows in screening.findings().items():
        numbers = ", ".join(map(str, images.table.rows[rows][:ROWS_NAMED]))
        report.paragraph(f"Images with {words}, rows of the file from 0: {numbers}")
    _add_fit(report, verdict)
    _add_map(report, verdict, images)
    _add_distributions(report, images)
    report.write(path)


def _add_fit(report: HtmlReport, verdict: Verdict) -> None:
    report.heading("Which convention fits")
    report.figure(
        plot_comparisons(
            [comparison.words for comparison in verdict.comparisons],
            [comparison.gain for comparison in verdict.comparisons],
            verdict.stated_gain,
            verdict.control_gain,
        ),
        "How much better each image is predicted, by its pose and CTF, from a map of the other "
        "half of the images. Conventions right of the blue line fit better than the file as "
        "it stands.",
    )


def _add_map(report: HtmlReport, verdict: Verdict, images: QuickImages) -> None:
    sign = -1 if verdict.skewness is not None and verdict.skewness < 0 else 1
    volume = _map(verdict)
    as_stated = "as the file stands" if verdict.convention == STATED else "as it fits best"
    report.heading(f"The map, {as_stated}")
    report.figure(
        plot_slices(volume.numpy()),
        f"Sections and projections of the map of {len(images.rows)} images, at "
        f"{images.pixel_size:.3g} Å per voxel, without any filter.",
    )
    report.figure(
        plot_fsc({"half maps": verdict.fsc}, images.pixel_size),
        "Fourier shell correlation of the half maps.",
    )
    averages, projections, numbers = view_averages(images, verdict.convention, volume)
    report.figure(
        plot_views((sign * averages).numpy(), projections.numpy(), numbers),
        "Averages of images seen from nearly the same direction, and projections of the map "
        "in these directions.",
    )


def _add_distributions(report: HtmlReport, images: QuickImages) -> None:
    table = images.table
    report.heading("Views and defocus")
    report.figure(
        plot_view_directions(table.require_poses().rotations[:, 2]),
        "Directions of view of all particles.",
    )
    if table.ctf is not None:
        high, low = table.ctf.defocus_u, table.ctf.defocus_v
        report.figure(
            plot_defocus(
                (high + low) / 2 / ANGSTROM_PER_MICRON, (high - low) / ANGSTROM_PER_MICRON
            ),
            "Defocus and astigmatism of all particles.",
        )
