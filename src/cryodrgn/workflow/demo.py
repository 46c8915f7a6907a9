"""Demonstration on simulated particles: from a particle stack to volumes along a motion."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.analysis.agreement import first_component, rank_correlation
from cryodrgn.analysis.plots import (
    plot_fsc,
    plot_latent_against_truth,
    plot_volumes_beside_truth,
)
from cryodrgn.analysis.report import HtmlReport
from cryodrgn.analysis.run_report import add_analysis
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.fourier.shells import ShellCurve, fourier_shell_correlation
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.text import read_yaml
from cryodrgn.rundir import DemoFiles

logger = logging.getLogger(__name__)

NUM_IMAGES, NUM_STATES, BOX_SIZE, PIXEL_SIZE = 4000, 20, 64, 3
SMALL_BOX_SIZE = 32
STATES_SHOWN = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """Accuracy with which the demo's motion was recovered.

    Attributes:
        rank_correlation: Of the latent with the true hinge angle, over all particles.
        fsc_area: Area under the FSC of decoded volumes against the truth, mean over states.
        consensus_area: The same for the one volume backprojected from all particles.
        ceiling_area: The same for perfect agreement.
    """

    rank_correlation: float
    fsc_area: float
    consensus_area: float
    ceiling_area: float

    def in_words(self) -> str:
        """One sentence."""
        return (
            f"The latent follows the true hinge angle with rank correlation "
            f"{self.rank_correlation:.3f}, and the volumes along it agree with the truth to an "
            f"FSC area of {self.fsc_area:.3f}; a rigid average reaches "
            f"{self.consensus_area:.3f}, perfect agreement would be {self.ceiling_area:.3f}."
        )


def write_centres(files: DemoFiles) -> None:
    """Write the mean latent of every true state, one per line."""
    labels, latents = read_npy(files.simulation.labels), load_latents(files.run.latents())
    centres = np.stack([latents[labels == state].mean(0) for state in range(NUM_STATES)])
    with atomic_path(files.z_values) as partial:
        np.savetxt(partial, centres, fmt="%.6f")


def report_demo(files: DemoFiles, commands: list[str]) -> DemoResult:
    """Compare with the truth, write the report, and say the result."""
    labels, latents = read_npy(files.simulation.labels), load_latents(files.run.latents())
    shown = np.unique(np.linspace(0, NUM_STATES - 1, STATES_SHOWN).round().astype(int))
    description = read_yaml(files.simulation.settings)
    angles = np.array(description["hinge_angles_deg"])
    truths = [_small_truth(files, state) for state in range(NUM_STATES)]
    volumes = [
        torch.from_numpy(read_volume(files.volumes.volume(s))[0]) for s in range(NUM_STATES)
    ]
    consensus = torch.from_numpy(read_volume(files.consensus)[0])

    curves = [fourier_shell_correlation(v, t) for v, t in zip(volumes, truths, strict=True)]
    of_consensus = [fourier_shell_correlation(consensus, truth) for truth in truths]
    ones = ShellCurve(curves[0].frequencies, torch.ones_like(curves[0].values))
    result = DemoResult(
        rank_correlation=rank_correlation(latents, angles[labels]),
        fsc_area=float(np.mean([curve.area() for curve in curves])),
        consensus_area=float(np.mean([curve.area() for curve in of_consensus])),
        ceiling_area=ones.area(),
    )

    report = HtmlReport("cryodrgn demo: a molecule that opens and closes")
    report.verdict(result.in_words())
    report.paragraph(
        f"{NUM_IMAGES} images of a two-domain molecule were simulated at {NUM_STATES} hinge "
        f"angles from {angles[0]:.0f}° to {angles[-1]:.0f}°, with random orientations, shifts "
        "and defocus and ten times more noise than signal. The program saw none of the angles."
    )
    report.heading("The motion, against the truth")
    figure = plot_volumes_beside_truth(
        [volumes[state].numpy() for state in shown],
        [truths[state].numpy() for state in shown],
        [f"{angles[state]:.0f}°" for state in shown],
    )
    caption = "Volumes decoded at the mean latent of each state, under the true ones."
    report.figure(figure, caption)
    figure = plot_latent_against_truth(
        first_component(latents), angles[labels], "true hinge angle (°)"
    )
    caption = "The latent coordinate of every particle against its true hinge angle."
    report.figure(figure, caption)
    report.heading("Agreement with the truth")
    averages = {
        "decoded volumes against truth": _mean_curve(curves),
        "rigid average against truth": _mean_curve(of_consensus),
        "half maps of the backprojection": _half_map_curve(files),
    }
    figure = plot_fsc(averages, PIXEL_SIZE * BOX_SIZE / SMALL_BOX_SIZE)
    report.figure(figure, "Fourier shell correlation, averaged over the states.")
    add_analysis(report, files.run.analysis())
    report.heading("All commands of this demo")
    report.commands(commands)
    report.write(files.report)
    logger.info("\n%s\nThe report is %s", result.in_words(), files.report)
    logger.info("To explore the run in the browser: cryodrgn dashboard %s", files.run.path)
    return result


def _small_truth(files: DemoFiles, state: int) -> Float[torch.Tensor, "box box box"]:
    volume = torch.from_numpy(read_volume(files.simulation.state(state))[0])
    return downsample_volume(volume, SMALL_BOX_SIZE)


def _mean_curve(curves: list[ShellCurve]) -> ShellCurve:
    values = torch.stack([curve.values for curve in curves]).mean(0)
    return ShellCurve(curves[0].frequencies, values)


def _half_map_curve(files: DemoFiles) -> ShellCurve:
    table = torch.from_numpy(np.loadtxt(files.consensus_fsc, dtype=np.float32))
    return ShellCurve(table[:, 0].contiguous(), table[:, 1].contiguous())
