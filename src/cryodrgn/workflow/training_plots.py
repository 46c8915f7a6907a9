"""Figures of how a run was trained, beside those of its latents."""

import logging
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cryodrgn.analysis.convergence_plots import plot_convergence
from cryodrgn.analysis.latent_plots import plot_view_directions
from cryodrgn.analysis.plots import plot_learning_curve, save_figure
from cryodrgn.errors import CryodrgnError
from cryodrgn.rundir import AnalysisFiles
from cryodrgn.runs.run import Run
from cryodrgn.training.epoch_records import EpochRecord

logger = logging.getLogger(__name__)


def plot_training(run: Run, epoch: int | None, files: AnalysisFiles) -> None:
    """Learning curve, held-out evaluation and viewing directions, those that there are."""
    losses = run.losses()
    if len(losses):
        save_figure(plot_learning_curve(losses), files.plot("learning_curve"))
    records = run.convergence()
    if records:
        save_figure(draw_convergence(records), files.plot("convergence"))
    try:
        rotations = run.rotations(epoch)
    except CryodrgnError as error:
        logger.warning("no plot of the viewing directions: %s", error)
        return
    save_figure(plot_view_directions(rotations[:, 2]), files.plot("view_directions"))


def draw_convergence(records: Sequence[EpochRecord]) -> Figure:
    """The figure of the held-out evaluation."""
    exchanges = [record.exchange for record in records]
    gains = [(e.gain, e.error) for e in exchanges if e is not None]
    return plot_convergence(
        np.array([record.explained for record in records]),
        np.array([np.nan if r.map_change is None else r.map_change for r in records]),
        np.array(gains) if len(gains) == len(records) else None,
        np.array([record.shells for record in records]),
        [record.converged for record in records],
    )
