"""Picture of the particles of a run that look like junk, and of those on the border."""

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.analysis.junk_plots import COLUMNS, plot_junk
from cryodrgn.analysis.plots import save_figure
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
from cryodrgn.training.config import DataConfig

# Images are shown up to this radius in cycles per box: a quarter of the box's details hide in
# noise what is seen without them.
RADIUS = 12


def draw_junk(
    scores: ParticleScores, particles: ParticleSet, data: DataConfig, run: RunDirectory
) -> None:
    """Write ``junk.png`` of a run.

    Images are shifted, multiplied by their CTF and low-pass filtered. Below each stands what
    the mean map of the run looks like from there, if the run has one.

    Args:
        scores: Scores of the particles.
        particles: The particles, with poses.
        data: What is done to their images.
        run: The run.
    """
    shown = _chosen(scores)
    table = particles.first_images
    images, labels = {}, {}
    for title, rows in shown.items():
        words = [
            f"{particles.original_rows[row]}: a {scores.contrast[row]:.2f}, "
            f"m {scores.misfit[row]:.1f}"
            for row in rows
        ]
        images[title], labels[title] = _images(table, rows, data), words
        if run.linear.mean.is_file() and len(rows):
            images[f"{title}:\nmean map"] = _projections(table, rows, run)
            labels[f"{title}:\nmean map"] = [""] * len(rows)
    figure = plot_junk(scores.columns(), scores.is_junk(), images, labels, scores.sentence())
    save_figure(figure, run.judged.picture)


def _chosen(scores: ParticleScores) -> dict[str, Int[np.ndarray, " rows"]]:
    """The worst, those on either side of the border, and particles spread over the rest."""
    severity, is_junk = scores.severity(), scores.is_junk()
    junk = np.flatnonzero(is_junk)[np.argsort(-severity[is_junk], kind="stable")]
    good = np.flatnonzero(~is_junk)[np.argsort(-severity[~is_junk], kind="stable")]
    places = np.linspace(len(good) // 2, max(len(good) - 1, 0), min(COLUMNS, len(good)))
    rows = {
        "worst": junk[:COLUMNS],
        "junk, nearly\nparticles": junk[COLUMNS:][-COLUMNS:],
        "particles,\nnearly junk": good[:COLUMNS],
        "particles": good[places.astype(int)],
    }
    return {title: chosen for title, chosen in rows.items() if len(chosen)}


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
