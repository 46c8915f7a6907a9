"""Picture of the particles of a run that look like junk, and of those on the border."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.analysis.junk_plots import COLUMNS, plot_junk
from cryodrgn.analysis.plots import save_figure
from cryodrgn.data.config import DataConfig
from cryodrgn.data.preprocessing import (
    Preprocessing,
    ctf_parameters,
    prepare_images,
    spatial_frequencies,
)
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.imaging.ctf import contrast_transfer
from cryodrgn.io.mrc import read_volume
from cryodrgn.kernels.projection import VolumeSlicer
from cryodrgn.linear.particle_scores import ParticleScores
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.rundir import RunDirectory

# Images are shown up to this radius in cycles per box: a quarter of the box's details hide in
# noise what is seen without them.
RADIUS = 12


def draw_junk(
    scores: ParticleScores, particles: ParticleSet, data: DataConfig, run: RunDirectory
) -> None:
    """Write ``junk.png`` of a run.

    Of the particles named by every score the worst stand first. Images are shifted, multiplied
    by their CTF and low-pass filtered. Below each stands what the mean map of the run looks
    like from there, if the run has one.

    Args:
        scores: Scores of the particles.
        particles: The particles, with poses.
        data: What is done to their images.
        run: The run.
    """
    table = particles.first_images
    images, labels = {}, {}
    for title, (rows, words) in _chosen(scores).items():
        numbers = particles.original_rows[rows]
        images[title] = _images(table, rows, data)
        labels[title] = [
            f"row {number}\n{text}" for number, text in zip(numbers, words, strict=True)
        ]
        if run.linear.mean.is_file() and len(rows):
            images[f"{title}:\nmean map"] = _projections(table, rows, run)
            labels[f"{title}:\nmean map"] = [""] * len(rows)
    figure = plot_junk(scores.columns(), scores.is_junk(), images, labels, scores.sentence())
    save_figure(figure, run.judged.picture)


def _chosen(
    scores: ParticleScores,
) -> dict[str, tuple[Int[np.ndarray, " rows"], list[str]]]:
    """Rows of images by title, with the figures that they are sorted by.

    The worst by every score, those that were nearly named, and particles spread over the rest.
    """
    worst = {
        "contrast": (-scores.empty, lambda row: f"empty: {scores.empty[row]:.1%}"),
        "misfit": (-scores.misfit, lambda row: f"misfit {scores.misfit[row]:z.1f}"),
        "distance": (-scores.nearest, lambda row: f"distance {scores.nearest[row]:.1f}"),
    }
    named = []
    for name, is_named in scores.named().items():
        order, words = worst[name]
        rows = np.flatnonzero(is_named)
        rows = rows[np.argsort(order[rows], kind="stable")][:COLUMNS]
        if len(rows):
            named.append((name, rows, [words(row) for row in rows]))
    chosen = _in_few_rows(named)
    good = np.flatnonzero(~scores.is_junk())
    good = good[np.argsort(-scores.severity()[good], kind="stable")]
    places = np.linspace(len(good) // 2, max(len(good) - 1, 0), min(COLUMNS, len(good)))
    border = good[:COLUMNS]

    def described(rows: Int[np.ndarray, " rows"]) -> list[str]:
        return [
            f"contrast {scores.contrast[row]:.2f}\nmisfit {scores.misfit[row]:z.1f}"
            for row in rows
        ]

    if chosen:
        # A row of junk that is not full ends with particles that were nearly named.
        title, (rows, words) = chosen.popitem()
        room = COLUMNS - len(rows)
        if room >= COLUMNS // 2:
            title, first, border = f"{title};\nthen nearly", border[:room], border[:0]
            rows, words = np.concatenate([rows, first]), [*words, *described(first)]
        chosen[title] = rows, words
    for title, rows in {
        "particles,\nnearly junk": border,
        "particles": good[places.astype(int)],
    }.items():
        chosen[title] = rows, described(rows)
    return {title: shown for title, shown in chosen.items() if len(shown[0])}


def _in_few_rows(
    named: Sequence[tuple[str, Int[np.ndarray, " rows"], list[str]]],
) -> dict[str, tuple[Int[np.ndarray, " rows"], list[str]]]:
    """Junk by its scores; scores that name few share a row of the picture."""
    groups: list[tuple[list[str], Int[np.ndarray, " rows"], list[str]]] = []
    for name, rows, words in named:
        if groups and len(groups[-1][1]) + len(rows) <= COLUMNS:
            names, before, said = groups[-1]
            groups[-1] = [*names, name], np.concatenate([before, rows]), [*said, *words]
        else:
            groups.append(([name], rows, words))
    return {f"worst by\n{', '.join(names)}": (rows, words) for names, rows, words in groups}


def _images(
    table: ImageTable, rows: Int[np.ndarray, " rows"], data: DataConfig
) -> Float[np.ndarray, "rows box box"]:
    lattice = _lattice(table.box_size)
    settings = Preprocessing(window_radius=data.window_radius, invert=data.invert)
    values = prepare_images(table, rows, lattice, settings)
    if table.ctf is not None:
        frequencies = spatial_frequencies(table, rows, lattice)
        values = (
            values * contrast_transfer(frequencies, ctf_parameters(table.ctf, rows))[..., None]
        )
    return images_from_lattice(values, lattice).numpy()


def _projections(
    table: ImageTable, rows: Int[np.ndarray, " rows"], run: RunDirectory
) -> Float[np.ndarray, "rows box box"]:
    volume = torch.from_numpy(read_volume(run.linear.mean)[0])
    lattice = _lattice(table.box_size)
    rotations = torch.from_numpy(table.require_poses().rotations[rows])
    return images_from_lattice(VolumeSlicer(volume).slices(lattice, rotations), lattice).numpy()


def _lattice(box_size: int) -> HalfPlaneFrequencies:
    return HalfPlaneFrequencies.disc(box_size, min(RADIUS, box_size // 2))
